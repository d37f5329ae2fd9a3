"""The table of commands, and the exit code of each failure."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from wanworker import __version__
from wanworker.cli._base import EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE, Command, CommandFailed
from wanworker.cli.commands import doctor, fetch, render, serve, submit
from wanworker.cli.terminal.console import complain, say_json
from wanworker.errors import RequestError, WorkerError

#: To add a command: one module that defines COMMAND, one row here, one test.
COMMANDS: tuple[Command, ...] = (
    render.COMMAND,
    serve.COMMAND,
    submit.COMMAND,
    fetch.COMMAND,
    doctor.COMMAND,
)

#: A command that a signal ended exits with this and the signal's number.
_SIGNAL_BASE = 128


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command that *argv* (default: the process's own) names and return its exit code.

    0: done. 1: it failed. 2: it cannot be done as asked. 130: stopped by Ctrl-C (128 and the number of any signal).
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a server's text never ends a command
    args = _parser().parse_args(argv)
    try:
        exit_code = int(args.run(args))
    except KeyboardInterrupt:
        exit_code = EXIT_STOPPED
    except CommandFailed as error:
        return _failed(error, as_json=getattr(args, "json", False))
    except WorkerError as error:
        exit_code = EXIT_USAGE if isinstance(error, RequestError) else EXIT_FAILED
        failure = CommandFailed(str(error), hint=error.hint, code=error.code, exit_code=exit_code)
        return _failed(failure, as_json=getattr(args, "json", False))
    if exit_code > _SIGNAL_BASE:
        print("Stopped.", file=sys.stderr)
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wanworker", description="Wan 2.2 video on this machine or on another.")
    parser.add_argument("--version", action="version", version=f"wanworker {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        its_own = commands.add_parser(command.name, help=command.summary, description=command.summary)
        command.add_arguments(its_own)
        its_own.set_defaults(run=command.run)
    return parser


def _failed(error: CommandFailed, *, as_json: bool) -> int:
    if as_json:
        values = {"request_id": error.request_id, "error": str(error), "code": error.code, "hint": error.hint}
        say_json({name: value for name, value in values.items() if value})
        return error.exit_code
    complain("failed", str(error))
    if error.hint:
        complain("hint", error.hint)
    if error.log:
        complain("log", str(error.log))
    return error.exit_code
