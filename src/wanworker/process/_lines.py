"""Split a program's output into lines while it is written. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Longer lines are cut: a program that writes no line end must not fill our memory.
MAX_LINE_BYTES = 16 * 1024

_BREAK = re.compile(rb"[\r\n]")


class Lines:
    r"""
    Cut bytes into lines at \r and \n.

    A bar is rewritten in place: its text follows a \r and is ended only by the next one, seconds or minutes later.
    Such text is therefore given as soon as it is there, and not again when its end arrives.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._given = b""
        self._after_return = False

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that *data* completes; empty ones are left out, long ones cut to MAX_LINE_BYTES."""
        buffer = self._pending + data
        *ended, rest = _BREAK.split(buffer)
        if ended:
            self._after_return = buffer[-len(rest) - 1 :][:1] == b"\r"
            if ended[0] == self._given:
                del ended[0]
            self._given = b""
        self._pending = rest[:MAX_LINE_BYTES]
        if self._after_return and self._pending and self._pending != self._given:
            self._given = self._pending
            ended.append(self._pending)
        return _texts(ended)

    def end(self) -> list[str]:
        """Return the last line if nothing ended it."""
        return _texts([self._pending] if self._pending != self._given else [])


def _texts(lines: Sequence[bytes]) -> list[str]:
    texts = (line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip() for line in lines)
    return [text for text in texts if text]
