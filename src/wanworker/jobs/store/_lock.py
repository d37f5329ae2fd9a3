"""Let one writer at a time look at a record and replace it, also between processes and hosts."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wanworker.jobs._owner import Owner, longest_wait_s
from wanworker.jobs.store.file_calls import FileCalls

# Who holds a lock looks once and renames once, which takes less than a millisecond.
_LOOK_AGAIN_S = 0.005


class Lock:
    """
    Hold *path* as a lock: a file made with O_EXCL, because network volumes support other locks badly.

    The file names its holder. If that has died, or holds the lock for longer than `longest_wait_s`, the lock is broken.
    The calls of *files* get *mode* for the file; *pause* waits some seconds.
    """

    def __init__(self, path: Path, files: FileCalls, mode: int, pause: Callable[[float], None]) -> None:
        self._path = path
        self._files = files
        self._mode = mode
        self._pause = pause

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take the lock, and release it at the end. Raises OSError if the volume does not take the file."""
        # Each holding has its own token, so that nobody takes a new lock for an old one.
        name = Owner.of_this_process().to_json()
        self._take(name)
        try:
            yield
        finally:
            # What cannot be removed is broken later. The caller's step is done or has failed already.
            with contextlib.suppress(OSError):
                if self._read() == name:
                    self._files.unlink(self._path)

    def _take(self, name: bytes) -> None:
        seen: bytes | None = None
        waited_s = 0.0
        while not self._makes(name):
            holder = self._read()
            if holder != seen:
                seen, waited_s = holder, 0.0
            if holder is None or waited_s < longest_wait_s(holder):
                self._pause(_LOOK_AGAIN_S)
                waited_s += _LOOK_AGAIN_S
            else:
                self._break(holder)

    def _makes(self, name: bytes) -> bool:
        try:
            self._files.make(self._path, name, self._mode)
        except FileExistsError:
            return False
        return True

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def _break(self, holder: bytes) -> None:
        """Take the lock of *holder* away. Of all that try at once, the rename lets exactly one do it."""
        taken = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}.tmp")
        try:
            self._files.rename(self._path, taken)
        except FileNotFoundError:
            return
        if taken.read_bytes() != holder:
            # Another process broke the lock first, and this is the next holder's: it gets it back.
            with contextlib.suppress(OSError):
                self._path.hardlink_to(taken)
        self._files.unlink(taken)
