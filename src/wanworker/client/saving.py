"""Put finished files in their places, without overwriting others."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wanworker.client.errors import SaveFailed

_UNFIT = re.compile(r"[^\w.+-]+")


def fit_name(name: str, default: str) -> str:
    """Return a server's file *name* made safe for the current folder: no path, not hidden, at most 100 characters."""
    fit = _UNFIT.sub("_", re.split(r"[/\\]", name)[-1]).lstrip(".")
    return fit[-100:] or default


@contextmanager
def unfinished_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside *path*. It is removed unless it was put in place. Raises SaveFailed."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=".wanworker-", dir=path.parent)
    except OSError as error:
        raise SaveFailed(f"{path.parent} cannot be written ({error.strerror}).") from error
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
