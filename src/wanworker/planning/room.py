"""Check that the disk has room for a render, and make the folder of its temporary files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from wanworker.errors import DiskFull
from wanworker.media.new_file import full_disk_reported
from wanworker.media.scratch import scratch_folder
from wanworker.media.threads import entered


def make_room(folder: Path, needed_bytes: int) -> None:
    """Make *folder* if it is not there. Raises DiskFull if it cannot be made or has too little room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    check_room(folder, needed_bytes)


def check_room(folder: Path, needed_bytes: int) -> None:
    """Raise DiskFull if there is too little room where *folder* is or will be. Makes nothing."""
    place = next(there for there in (folder, *folder.absolute().parents) if there.exists())
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise _unwritable(folder, error) from error
    if free < needed_bytes:
        wanted = needed_bytes // 1024**2
        raise DiskFull(f"Only {free // 1024**2} MiB are free in {folder}; a render needs {wanted} MiB.")


def _unwritable(folder: Path, error: OSError) -> DiskFull:
    return DiskFull(f"The output folder {folder} cannot be written: {error.strerror}.")


@contextlib.asynccontextmanager
async def work_folder(what: str) -> AsyncIterator[Path]:
    """Make a scratch folder for *what*, and remove it after the block. Raises DiskFull, whichever write met it."""
    with full_disk_reported(what):
        async with entered(scratch_folder()) as folder:
            yield folder
