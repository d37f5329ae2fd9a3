"""Make the folders of records with the permissions of their volume, and tell when that volume is gone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from wanworker.errors import DiskFull
from wanworker.jobs.store.file_calls import PRIVATE_FOLDER, FileCalls


class Folders:
    """
    Make *root* and the folders in it, and watch *volume*, which is *root*'s parent or further up.

    Folders and files get the permissions of *volume*, or with *is_private* those of their owner alone. A root that was
    there and is missing now, together with its volume, was unmounted or moved away. Nothing is made in its place then,
    because it would land on another disk.
    """

    def __init__(self, root: Path, volume: Path, files: FileCalls, *, is_private: bool) -> None:
        self._root = root
        self._volume = volume
        self._files = files
        self._is_private = is_private
        self._mode = PRIVATE_FOLDER
        self._shaped: set[Path] = set()
        self._seen: tuple[int, int] | None = None

    @property
    def file_mode(self) -> int:
        """Return the permissions of a file."""
        return self._mode & 0o666

    def make(self, folder: Path) -> None:
        """
        Make *folder* and the root. Once in a process, also correct the permissions of those that are there.

        Raises DiskFull if the volume is gone, and OSError.
        """
        self.check()
        if folder in self._shaped and folder.is_dir():
            return
        self._files.mkdir(self._root)
        self._note(self._volume.stat())
        for each in dict.fromkeys((self._root, folder)):
            self._files.mkdir(each, self._mode)
            now = each.stat().st_mode
            if now & 0o777 != self._mode:
                with contextlib.suppress(PermissionError):  # another user's folder, or a volume without permissions
                    each.chmod(now & 0o7000 | self._mode)
        self._shaped.add(folder)

    def check(self) -> None:
        """Raise DiskFull if the root was there and its volume is gone."""
        seen = self._seen  # before the look: another thread may make the folder and note it right after
        volume = _stat(self._volume)
        if volume is not None and (seen is None or self._root.is_dir()):
            self._note(volume)
        elif seen is not None and (volume is None or (volume.st_dev, volume.st_ino) != seen):
            raise DiskFull(
                f"The folder {self._root} is gone: its volume was unmounted or moved away.",
                hint="Bring the volume back, or restart the worker to begin with an empty one.",
            )

    def _note(self, volume: os.stat_result) -> None:
        self._seen = volume.st_dev, volume.st_ino
        if not self._is_private:
            self._mode = volume.st_mode & 0o777 | PRIVATE_FOLDER


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
