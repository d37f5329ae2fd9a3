"""Name the files that the command line writes, and move them into place without overwriting others."""

from __future__ import annotations

import itertools
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wanworker.cli._base import CommandFailed, misused

_UNFIT = re.compile(r"[^\w.+-]+")


def new_request_id(prefix: str) -> str:
    """Return a new id that sorts by time: `run-20260101-120000-1a2b`."""
    return f"{prefix}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def check_output(path: Path, *, force: bool) -> None:
    """Raise CommandFailed, before anything is rendered, if *path* could not be written."""
    if not path.parent.is_dir():
        raise misused(
            f"The folder {path.parent} does not exist.", hint="Create it first, or choose another folder with -o."
        )
    if path.is_dir():
        raise misused(f"{path} is a folder.", hint="Give the name of a file with -o.")
    if path.exists() and not force:
        raise misused(f"{path} already exists.", hint="Choose another file with -o, or replace this one with --force.")


def fit_name(name: str, default: str) -> str:
    """Return a server's file *name* made safe for the current folder: no path, not hidden, at most 100 characters."""
    fit = _UNFIT.sub("_", re.split(r"[/\\]", name)[-1]).lstrip(".")
    return fit[-100:] or default


@contextmanager
def unfinished_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside *path*. It is removed unless it was put in place. Raises CommandFailed."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=".wanworker-", dir=path.parent)
    except OSError as error:
        raise CommandFailed(f"{path.parent} cannot be written ({error.strerror}).") from error
    with folder as name:
        yield Path(name) / "part"


def put_in_place(part: Path, path: Path, *, force: bool) -> Path:
    """
    Move *part* to *path* and return where it is.

    A file that exists there by now is replaced only with *force*. Otherwise the new file is called `name-2.mp4`,
    because a finished video is worth more than its name.
    """
    if not force:
        path = _claimed(path)
    return part.replace(path)


def _claimed(path: Path) -> Path:
    """Make the first of `name`, `name-2`, `name-3` ... that is free, in one step, so that no other process gets it."""
    for number in itertools.count(1):
        candidate = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            candidate.open("xb").close()
        except FileExistsError:
            continue
        return candidate
    raise AssertionError("every number is taken")
