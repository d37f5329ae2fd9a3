"""
Write large answers as JSON in pieces.

runpod 1.12.0 (serverless/modules/rp_http.py) writes an answer with `json.dumps`, which scans every character of a video
in base64, and then gives the text to aiohttp, which copies it for the socket. Together the video is in memory more than
four times. Here it is in memory once besides the answer itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

#: Longer texts are written in pieces that fit into the processor's cache.
_PIECE_CHARS = 16_384

#: How much is given to the socket at once: the size of aiohttp's own buffer.
_PIECE_BYTES = 65_536

#: Characters that JSON does not escape: printable ASCII without the quote and the backslash.
_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')

_encode = json.JSONEncoder(ensure_ascii=False).encode


class Body(Payload):
    """Hold the JSON of an answer and write it to a socket in pieces. The SDK may post it again after an error."""

    _autoclose = True  # nothing to close

    def __init__(self, value: bytearray) -> None:
        super().__init__(value, content_type="application/json")
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the JSON."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write at most *content_length* bytes, waiting for the socket after each piece."""
        view = memoryview(self._value)[:content_length]
        for start in range(0, len(view), _PIECE_BYTES):
            await writer.write(view[start : start + _PIECE_BYTES])


def dumps(value: object, *, ensure_ascii: bool = False) -> Body:
    """
    Return a body with the JSON that `json.dumps` makes of *value* with `ensure_ascii=False`.

    Raises ValueError for a lone surrogate or if *ensure_ascii* is true, and TypeError for a value that JSON cannot
    hold.
    """
    if ensure_ascii:
        raise ValueError("answers are written as UTF-8")
    out = bytearray()
    _write(value, out)
    return Body(out)


def _write(value: Any, out: bytearray) -> None:
    if not _has_long(value):
        out += _encode(value).encode()
    elif isinstance(value, str):
        _write_long(value, out)
    elif isinstance(value, dict):
        _write_entries(value, out)
    else:
        _write_items(value, out)


def _has_long(value: object) -> bool:
    """Say whether *value* holds a long text. A dict with keys that are not text is left to `json.dumps`."""
    if isinstance(value, str):
        return len(value) > _PIECE_CHARS
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and any(map(_has_long, (*value, *value.values())))
    return isinstance(value, (list, tuple)) and any(map(_has_long, value))


def _write_entries(entries: dict[str, Any], out: bytearray) -> None:
    for number, (key, value) in enumerate(entries.items()):
        out += b", " if number else b"{"
        _write(key, out)
        out += b": "
        _write(value, out)
    out += b"}"


def _write_items(items: Iterable[Any], out: bytearray) -> None:
    for number, value in enumerate(items):
        out += b", " if number else b"["
        _write(value, out)
    out += b"]"


def _write_long(text: str, out: bytearray) -> None:
    out += b'"'
    for start in range(0, len(text), _PIECE_CHARS):
        piece = text[start : start + _PIECE_CHARS]
        plain = piece.encode()
        is_plain = not plain.translate(None, _PLAIN)
        out += plain if is_plain else _encode(piece)[1:-1].encode()
    out += b'"'
