"""Keep a ComfyUI server's output: a file of bounded size, its last lines, and the time of the last one."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from wanworker.text.printable import one_line
from wanworker.text.secrets import without_secrets

log = logging.getLogger(__name__)

_TAIL_LINES = 80
#: How much of a line a message quotes, and how much of it the log has.
_WORDS_CHARACTERS, _LINE_CHARACTERS = 300, 2000
#: This much more is searched for secrets, so that none is cut before it is found.
_SEARCHED_CHARACTERS = _LINE_CHARACTERS + 500
_BAR = re.compile(r"\d%\|")


class ServerLog:
    """
    Keep the lines in the file at *path*, and older ones beside it as `NAME.1`, together at most 2 * *limit_bytes*.

    Progress bars count as a sign of life, but are not kept. If the log cannot be written (a full disk), the server goes
    on: this is logged once, and the last lines are kept in memory. *clock* is monotonic, in seconds.
    """

    def __init__(self, path: Path, *, limit_bytes: int = 4 << 20, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._file: BinaryIO | None = None
        self._size_bytes = 0
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.moved_at = clock()

    def begin(self, what: str) -> None:
        """Open the file for a new server, which *what* describes. Forget the last lines of the server before."""
        self._tail.clear()
        self.moved_at = self._clock()
        self.close()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            self._give_up(error)
        self._write(f"--- {what}")

    def add(self, line: str) -> None:
        """Keep one line."""
        self.moved_at = self._clock()
        if _BAR.search(line):
            return
        self._tail.append(line)
        self._write(line)

    def close(self) -> None:
        """Close the file. The last lines are still known."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def tail(self) -> tuple[str, ...]:
        """Return the last lines of the current server, or of the last one."""
        return tuple(self._tail)

    def last_words(self, count: int = 3) -> str:
        """Return the last useful lines, joined on one line. The frames of a traceback are left out."""
        said = [line for line in self._tail if not line.startswith((" ", "\t", "Traceback", "---"))]
        return " | ".join(line[:_WORDS_CHARACTERS] for line in said[-count:])

    def _open(self) -> None:
        self._file = self.path.open("ab", buffering=0)
        self._size_bytes = self._file.tell()

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        shown = one_line(_shortened(line))
        data = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {shown}\n".encode("ascii")
        try:
            if self._size_bytes + len(data) > self._limit_bytes:
                self._rotate()
            self._size_bytes += self._file.write(data)
        except OSError as error:
            self._give_up(error)

    def _rotate(self) -> None:
        self.close()
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self._open()

    def _give_up(self, error: OSError) -> None:
        log.warning("the log of the ComfyUI server is no longer written: %s", error)
        self.close()


def _shortened(line: str) -> str:
    """Return *line* without secrets. Of a long one only the beginning is searched: a node may print whole pictures."""
    shown = without_secrets(line[:_SEARCHED_CHARACTERS])
    return shown if len(line) <= _LINE_CHARACTERS else f"{shown[:_LINE_CHARACTERS]}... ({len(line):,} characters)"
