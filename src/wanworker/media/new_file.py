"""Write a file whole or not at all, and report a full disk."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from wanworker.errors import DiskFull


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Enclose the writing of *path*: it is gone unless the block ends well. Raises DiskFull when space runs out."""
    try:
        yield path
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(f"No space left for {path.name} in {path.parent}.") from error
        raise
