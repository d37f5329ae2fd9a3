"""Volumes that are slow or refuse: a step before each call that changes them, over a real folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from wanworker.jobs.store.file_calls import PRIVATE_FILE, PRIVATE_FOLDER, FileCalls

#: The calls that change a volume; `unlink` too: nothing can be removed from one that is read-only.
CALLS = ("write", "rename", "make", "append", "overwrite", "unlink", "mkdir")


class Volume(FileCalls):
    """Do each call after *before* was told its name; that may wait, or raise."""

    def __init__(self, before: Callable[[str], object]) -> None:
        self._before = before

    def write(self, path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
        self._before("write")
        super().write(path, data, mode)

    def rename(self, source: Path, target: Path) -> None:
        self._before("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._before("rename")  # who may give no new name may give no second one
        super().link(source, target)

    def make(self, path: Path, data: bytes = b"", mode: int = PRIVATE_FILE) -> None:
        self._before("make")
        super().make(path, data, mode)

    def append(self, path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
        self._before("append")
        super().append(path, data, mode)

    def overwrite(self, path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
        self._before("overwrite")
        super().overwrite(path, data, mode)

    def unlink(self, path: Path) -> None:
        self._before("unlink")
        super().unlink(path)

    def mkdir(self, path: Path, mode: int = PRIVATE_FOLDER) -> None:
        self._before("mkdir")
        super().mkdir(path, mode)


class Refusals:
    """Say which calls a volume refuses, and with which errno; none at first."""

    def __init__(self) -> None:
        self.calls: tuple[str, ...] = ()
        self.error_number = 0

    def __call__(self, call: str) -> None:
        if call in self.calls:
            raise OSError(self.error_number, os.strerror(self.error_number))

    def refuse(self, error_number: int, *calls: str) -> None:
        """Refuse *calls* from now on; without any, nothing."""
        self.calls, self.error_number = calls, error_number
