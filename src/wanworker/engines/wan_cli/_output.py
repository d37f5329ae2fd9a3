"""Check the file that generate.py leaves, and move it into place."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from wanworker.errors import EngineFailed, NoOutput
from wanworker.media.new_file import new_file
from wanworker.media.threads import in_thread


class Verified(Protocol):
    """Define what the check of a finished file returns."""

    @property
    def has_audio(self) -> bool:
        """Say whether the file has sound."""


Verify = Callable[[Path], Awaitable[Verified]]


async def check(made: Path, verify: Verify, *, needs_sound: bool, told: str) -> None:
    """
    Return if *made* exists, decodes and has its sound. generate.py may end with 0 although it failed to save.

    *told* is what it logged about that. Raises NoOutput.
    """
    if made.is_symlink():  # it may lead to any file of this machine
        raise NoOutput(f"generate.py ended with code 0, but left a link in place of its video.{told}")
    if not made.is_file() or not made.stat().st_size:
        raise NoOutput(f"generate.py ended with code 0, but wrote no video.{told}")
    try:
        facts = await verify(made)
    except NoOutput as error:
        raise NoOutput(f"generate.py ended with code 0, but its video is damaged: {error}{told}") from error
    if needs_sound and not facts.has_audio:
        raise NoOutput(f"generate.py ended with code 0, but its video has no sound.{told}")


async def move(made: Path, out_path: Path) -> None:
    """
    Move *made* to *out_path*, which may be on another disk. On failure, no part of it stays there.

    Raises DiskFull, or EngineFailed if the place cannot be written.
    """
    try:
        with new_file(out_path):
            await _replace(made, out_path)
    except OSError as error:
        raise EngineFailed(f"The video could not be put into {out_path.parent}: {error.strerror}.") from error


async def _replace(made: Path, out_path: Path) -> None:
    try:
        made.replace(out_path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        await in_thread(shutil.copyfile, made, out_path)
