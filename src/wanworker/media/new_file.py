"""Write a file whole or not at all, and report a disk that takes no more."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from wanworker.errors import DiskFull

#: A disk that takes no more bytes, whatever the reason. One code for all, since one thing helps: another volume.
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
    """Turn the OSError of a disk that takes no more of *what* into DiskFull. Other errors pass as they are."""
    try:
        yield
    except OSError as error:
        if full := disk_full(error, what):
            raise full from error
        raise


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Enclose the writing of *path*: it is gone unless the block ends well. Raises DiskFull when space runs out."""
    try:
        with full_disk_reported(f"{path.name} in {path.parent}"):
            yield path
    except BaseException:
        # A disk that turned read-only keeps the file; what happened first is what counts.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
