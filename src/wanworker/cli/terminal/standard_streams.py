"""Let `-` stand for stdin and stdout."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import BinaryIO

from wanworker.cli._base import misused

#: How people name stdin and stdout.
STANDARD = Path("-")


def refuse_terminal(*, as_json: bool) -> None:
    """Raise CommandFailed if stdout cannot take a video: it is a terminal, or it gets JSON."""
    if as_json:
        raise misused("-o - and --json both write to stdout.", hint="Leave out one of them, or name a file with -o.")
    if sys.stdout.isatty():
        raise misused("-o - would write a video to the terminal.", hint="Send stdout into a file or a program.")


def copy_to_stdout(video: bytes | BinaryIO) -> None:
    """Write a video to stdout. Raises BrokenPipeError if nobody reads on."""
    if isinstance(video, bytes):
        sys.stdout.buffer.write(video)
    else:
        shutil.copyfileobj(video, sys.stdout.buffer)
    sys.stdout.buffer.flush()


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
