"""Make folders for one job's files. The next start removes them if this process could not."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

#: The beginning of the folders' names, which no other folder has.
_PREFIX = "wanworker-scratch-"


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None, *, open_folder: Callable[[str, int], int] = os.open) -> Iterator[Path]:
    """
    Make a new folder below *parent* (None: the system's temporary folder) for the block, and remove it afterwards.

    This process locks the folder meanwhile. The kernel releases the lock of a process that dies, however it dies and in
    whichever container, so `remove_abandoned` can tell a folder in use from an abandoned one.
    """
    while True:
        folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True)
        # Until it is locked, another worker's start may remove it as an abandoned one.
        try:
            held = open_folder(folder.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            folder.cleanup()
            continue
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
    """Remove the scratch folders below *parent* that no living process has locked, and return how many. Blocks."""
    place = Path(tempfile.gettempdir()) if parent is None else parent
    return sum(_removed(folder) for folder in place.glob(f"{_PREFIX}*"))


def _removed(folder: Path) -> bool:
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # removed meanwhile, another user's, or a link
    try:
        if not _locked(held):
            return False
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(held)
    log.info("removed %s, left by a worker that was killed", folder)
    return True


def _locked(descriptor: int) -> bool | None:
    """Lock the folder. Return False if another process has locked it, None if this file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
