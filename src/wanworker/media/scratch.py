"""Folders for one job's files, which the next start removes when this process could not."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

#: What no folder that people make begins with.
_PREFIX = "wanworker-scratch-"


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """
    Enclose the use of a new folder below *parent* (the system's temporary folder if None); it is gone afterwards.

    This process holds a lock on it for as long. The kernel takes the lock from a process that dies, however it dies,
    and in whichever container: by that `remove_abandoned` tells a folder in use from one that was left.
    """
    while True:
        folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True)
        held = os.open(folder.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Between its making and its locking another worker's start may have taken it for an abandoned one.
        if _locked(held) is not False and Path(folder.name).is_dir():
            break
        os.close(held)
        folder.cleanup()
    try:
        with folder:
            yield Path(folder.name)
    finally:
        os.close(held)


def remove_abandoned(parent: Path | None = None) -> int:
    """Remove the scratch folders below *parent* that no living process holds, and return how many. Blocks."""
    place = Path(tempfile.gettempdir()) if parent is None else parent
    return sum(_removed(folder) for folder in place.glob(f"{_PREFIX}*"))


def _removed(folder: Path) -> bool:
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # gone meanwhile, another user's, or a link
    try:
        if not _locked(held):
            return False
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(held)
    log.info("removed %s, which a worker left that was killed", folder)
    return True


def _locked(descriptor: int) -> bool | None:
    """Lock the folder; False when another process holds it, None when this file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
