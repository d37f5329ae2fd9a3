"""Let one writer at a time look at a record and replace it, also between processes and hosts."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wanworker.jobs._owner import Owner, longest_wait_s
from wanworker.jobs.store.file_calls import FileCalls

# Who holds a lock looks once and renames once, which takes less than a millisecond. It may stand still meanwhile, on a
# busy machine; after so long, the others would wait for nothing.
_LOOK_AGAIN_S, _HELD_AT_MOST_S = 0.005, 10.0


class Lock:
    """
    Hold *path* as a lock: a file made with O_EXCL, because network volumes support other locks badly.

    The file names its holder. If that has died, or holds the lock for longer than 10 s, the lock is broken. The calls
    of *files* get *mode* for the file; *pause* waits some seconds.
    """

    def __init__(
        self,
        path: Path,
        files: FileCalls,
        mode: int,
        pause: Callable[[float], None],
        *,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._files = files
        self._mode = mode
        self._pause = pause
        self._elapsed = elapsed

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
                if self._read(self._path) == name:
                    self._files.unlink(self._path)

    def _take(self, name: bytes) -> None:
        seen: bytes | None = None
        since, paused_s = self._elapsed(), 0.0
        while not self._makes(name):
            holder = self._read(self._path)
            if holder != seen:
                seen, since, paused_s = holder, self._elapsed(), 0.0
            waited_s = max(paused_s, self._elapsed() - since)  # a slow volume takes its time for each look
            if holder is None or waited_s < longest_wait_s(holder, named_s=_HELD_AT_MOST_S):
                self._pause(_LOOK_AGAIN_S)
                paused_s += _LOOK_AGAIN_S
            else:
                self._break(holder)

    def _makes(self, name: bytes) -> bool:
        try:
            self._files.make(self._path, name, self._mode)
        except FileExistsError:
            return False
        return True

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def _break(self, holder: bytes) -> None:
        """Take the lock of *holder* away. Of all that try at once, the rename lets exactly one do it."""
        taken = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}.tmp")
        try:
            self._files.rename(self._path, taken)
        except FileNotFoundError:
            return
        found = self._read(taken)
        with contextlib.suppress(OSError):
            if found is not None and found != holder:
                # Another process broke the lock first, and this is the next holder's: it gets it back.
                self._files.make(self._path, found, self._mode)
        with contextlib.suppress(FileNotFoundError):  # a start that tidies up may have been quicker
            self._files.unlink(taken)
