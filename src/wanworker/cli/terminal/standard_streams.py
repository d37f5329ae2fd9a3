"""Let `-` stand for stdin and stdout."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

from wanworker.cli._base import CommandFailed, misused

#: How people name stdin and stdout.
STANDARD = Path("-")

#: Why a stream that is open takes no more: its disk is full or broken.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def open_closed_streams() -> None:
    """Let each standard stream that the caller has closed (`>&-`) lead nowhere. Python makes None of it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def silence_stdout() -> None:
    """Send what stdout still holds nowhere: Python flushes it once more at its end, and would complain then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_full(error: OSError) -> bool:
    """Say whether *error* came from a stream whose disk is full or broken, and not from a file that has a name."""
    return error.errno in _FULL and error.filename is None


def stdout_failed(error: OSError) -> CommandFailed:
    """Return the failure of a command whose stdout takes no more. Nothing more is written there."""
    silence_stdout()
    return CommandFailed(f"stdout cannot be written ({error.strerror}).", hint="Free some space, or name another file.")


def refuse_terminal(*, as_json: bool) -> None:
    """Raise CommandFailed if stdout cannot take a video: it is a terminal, or it gets JSON."""
    if as_json:
        raise misused("-o - and --json both write to stdout.", hint="Leave out one of them, or name a file with -o.")
    if sys.stdout.isatty():
        raise misused("-o - would write a video to the terminal.", hint="Send stdout into a file or a program.")


def copy_to_stdout(video: bytes | BinaryIO) -> None:
    """Write a video to stdout. Raises BrokenPipeError if nobody reads on, and CommandFailed if it cannot be written."""
    try:
        if isinstance(video, bytes):
            sys.stdout.buffer.write(video)
        else:
            shutil.copyfileobj(video, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        if not is_full(error):
            raise
        raise stdout_failed(error) from error


def text_of_stdin(what: str) -> str:
    """Return all of stdin as text. Raises CommandFailed if it is empty or no UTF-8."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise misused(f"{what} from stdin is not UTF-8 text.") from error
    if not text.strip():
        raise misused(f"{what} was to come from stdin (-), and stdin is empty.")
    return text


def prompt_of(typed: str | None) -> str | None:
    """Return the prompt that was typed, or stdin's text for -. Raises CommandFailed."""
    return text_of_stdin("The prompt").strip() if typed == "-" else typed
