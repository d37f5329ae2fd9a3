"""Write a file completely or not at all, and report a full or read-only disk."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from wanworker.errors import DiskFull

#: The reasons why a disk takes no more bytes. They share one error code, because another volume helps in each case.
_TAKES_NO_MORE = {
    errno.ENOSPC: "No space left for {what}: the disk is full.",
    errno.EDQUOT: "No space left for {what}: the disk quota is used up.",
    errno.EROFS: "Cannot write {what}: the disk is read-only.",
}


def disk_full(error: OSError, what: str) -> DiskFull | None:
    """Return the error to raise if the disk takes no more of *what*, with the reason; None for another *error*."""
    text = _TAKES_NO_MORE.get(error.errno or 0)
    return DiskFull(text.format(what=what)) if text else None


@contextlib.contextmanager
def full_disk_reported(what: str) -> Iterator[None]:
    """Turn the OSError of a full or read-only disk into DiskFull, about *what*. Other errors pass unchanged."""
    try:
        yield
    except OSError as error:
        if full := disk_full(error, what):
            raise full from error
        raise


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Write *path* in the block. It is removed unless the block ends well. Raises DiskFull."""
    try:
        with full_disk_reported(f"{path.name} in {path.parent}"):
            yield path
    except BaseException:
        # A disk that has become read-only keeps the file. The first error is the one to raise.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
