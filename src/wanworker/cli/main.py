"""The table of commands, and the exit code of each failure."""

from __future__ import annotations

import logging
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from wanworker import __version__
from wanworker.cli._base import EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE, Command, CommandFailed, failed_by, misused
from wanworker.cli._render_options import with_bare_lora
from wanworker.cli.commands import doctor, fetch, plan, render, serve
from wanworker.cli.commands.remote import cancel, download, jobs, status, submit
from wanworker.cli.terminal.console import complain, say_json
from wanworker.cli.terminal.standard_streams import is_full, open_closed_streams, silence_stdout, stdout_failed
from wanworker.client.errors import ClientError
from wanworker.errors import RequestError, WorkerError

#: To add a command, write one module that defines COMMAND, one row here and one test.
COMMANDS: tuple[Command, ...] = (
    render.COMMAND,
    plan.COMMAND,
    serve.COMMAND,
    submit.COMMAND,
    jobs.COMMAND,
    status.COMMAND,
    cancel.COMMAND,
    download.COMMAND,
    fetch.COMMAND,
    doctor.COMMAND,
)

#: A command that a signal ended exits with this plus the signal's number.
_SIGNAL_BASE = 128

#: What a shell reports for a program whose reader went away, as in `wanworker jobs | head -1`.
_EXIT_PIPE = _SIGNAL_BASE + int(getattr(signal, "SIGPIPE", 13))

#: On a narrower terminal, typer's tables would cut off the names of options, so its plain pages are used.
_WIDE = 80

#: What typer makes of a BrokenPipeError, and of nothing else that it does not raise.
_PIPE_OF_TYPER = 1

#: What typer's parser says of a value, and how a person would say it.
_PLAIN = (
    ("Value error, ", ""),
    ("Input should be a valid integer.*", "It must be a whole number"),
    ("Input should be a (valid|finite) number.*", "It must be a number"),
    (r"Input should be greater than or equal to (\S+)", r"It must be \1 or more"),
    (r"Input should be less than or equal to (\S+)", r"It must be \1 or less"),
)

#: The width of help pages. Longer lines are hard to read.
_WIDEST = 100


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command that *argv* (default: the process's own) names, and return its exit code.

    0: done. 1: it failed. 2: it cannot run as asked. 130: stopped by Ctrl-C (128 plus the number of any signal). 141:
    nobody reads its output any more.
    """
    open_closed_streams()
    # What a worker remarks is in its answer. Only `render` keeps a log, and replaces this.
    logging.basicConfig(handlers=[logging.NullHandler()])
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # no character of a server's text may end the command
    words = with_bare_lora(sys.argv[1:] if argv is None else argv)
    try:
        exit_code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
        return _EXIT_PIPE
    except OSError as error:
        if not is_full(error):
            raise
        return _failed(stdout_failed(error), as_json=False)
    if exit_code > _SIGNAL_BASE:
        print("Stopped.", file=sys.stderr)
    return exit_code


def _run(words: Sequence[str]) -> int:
    try:
        return int(_app()(args=words, prog_name="wanworker", standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):  # before the command began
        return EXIT_STOPPED
    except typer.TyperException as error:
        return _failed(_misuse(error, words), as_json=False)
    except SystemExit as ended:
        if ended.code != _PIPE_OF_TYPER:
            raise
        raise BrokenPipeError from ended


def _app() -> typer.Typer:
    columns = shutil.get_terminal_size().columns
    app = typer.Typer(
        callback=_about,
        result_callback=_perform,
        context_settings={"help_option_names": ["-h", "--help"], "terminal_width": min(columns, _WIDEST)},
        rich_markup_mode="rich" if sys.stdout.isatty() and columns >= _WIDE else None,
        pretty_exceptions_enable=False,
    )
    for command in COMMANDS:
        app.command(command.name, help=command.summary, short_help=command.summary)(command.options)
    return app


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(f"wanworker {__version__}")
        raise typer.Exit


def _about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, expose_value=False, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Render Wan 2.2 video on this machine or on another one."""


def _perform(options: Any) -> int:
    """Run the command of *options*, typer's result. Print why it failed, and return the exit code."""
    as_json = getattr(options, "json", False)
    (command,) = [command for command in COMMANDS if isinstance(options, command.options)]
    try:
        return command.run(options)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except CommandFailed as error:
        return _failed(error, as_json=as_json)
    except ClientError as error:
        return _failed(failed_by(error), as_json=as_json)
    except WorkerError as error:
        exit_code = EXIT_USAGE if isinstance(error, RequestError) else EXIT_FAILED
        failure = CommandFailed(str(error), hint=error.hint, code=error.code, exit_code=exit_code)
        return _failed(failure, as_json=as_json)


def _misuse(error: typer.TyperException, words: Sequence[str]) -> CommandFailed:
    """Return what typer found wrong with *words*, in the form of every other failure."""
    names = [command.name for command in COMMANDS]
    named = " ".join(["wanworker", *(word for word in words[:1] if word in names)])
    listed = "options" if " " in named else "commands"
    text = _plain(error.format_message())
    advice = "Put a text with spaces in quotes. " if "extra argument" in text else ""  # such as: render a red star
    if "'PROMPT'" in text and "--lora" in words:
        advice = "What follows --lora is its name: put the prompt first. "
    return misused(text, hint=f"{advice}{named} --help lists the {listed}.")


def _plain(text: str) -> str:
    """Return a message of typer's, which quotes its parser, as a sentence for a person. Pure."""
    for words, plain in _PLAIN:
        text = re.sub(words, plain, text)
    return text if text.endswith((".", ")", "?")) else f"{text}."


def _failed(error: CommandFailed, *, as_json: bool) -> int:
    if as_json:
        names = {"request_id": error.request_id, "error": str(error), "code": error.code, "hint": error.hint}
        values: dict[str, Any] = {**names, "warnings": [*error.warnings]}
        say_json({name: value for name, value in values.items() if value})
        return error.exit_code
    for line in error.warnings:
        complain("note", line)
    complain("failed", str(error))
    if error.hint:
        complain("hint", error.hint)
    if error.log:
        complain("log", str(error.log))
    return error.exit_code
