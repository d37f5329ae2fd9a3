"""
Answers as the bytes that are posted.

runpod 1.12.0 (serverless/modules/rp_http.py) writes an answer with `json.dumps`, which looks at each character of a
video as base64 and holds it three times: as the text, as the JSON, as the JSON's bytes. Here it is held once besides
the text, and most of the time goes too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

#: Longer texts are written piece by piece; a piece stays in the processor's cache.
_PIECE_CHARS = 16_384

#: What stands in JSON as it is: ASCII that can be printed, but for the quote and the backslash.
_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')


def dumps(value: object, *, ensure_ascii: bool = False) -> memoryview:
    """
    Return *value* as the bytes of the JSON that `json.dumps` makes of it with `ensure_ascii=False`.

    A view, because asyncio cuts off what the socket has taken, and only a view is cut without a copy of the rest.
    Raises ValueError for a lone surrogate or where *ensure_ascii* is asked for, TypeError for what JSON does not know.
    """
    if ensure_ascii:
        raise ValueError("answers are written as UTF-8")
    out = bytearray()
    _write(value, out)
    return memoryview(out)


def _write(value: object, out: bytearray) -> None:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        _write_all(value.items(), out, b"{}")
    elif isinstance(value, (list, tuple)):
        _write_all((("", each) for each in value), out, b"[]")
    elif isinstance(value, str) and len(value) > _PIECE_CHARS:
        _write_long(value, out)
    else:
        out += json.dumps(value, ensure_ascii=False).encode()


def _write_all(entries: Iterable[tuple[str, Any]], out: bytearray, brackets: bytes) -> None:
    """Write *entries* between *brackets*, which tell whether the keys belong to them."""
    out += brackets[:1]
    between = b""
    for key, each in entries:
        out += between
        between = b", "
        if brackets == b"{}":
            _write(key, out)
            out += b": "
        _write(each, out)
    out += brackets[1:]


def _write_long(text: str, out: bytearray) -> None:
    out += b'"'
    for start in range(0, len(text), _PIECE_CHARS):
        piece = text[start : start + _PIECE_CHARS]
        plain = piece.encode()
        is_plain = not plain.translate(None, _PLAIN)
        out += plain if is_plain else json.dumps(piece, ensure_ascii=False)[1:-1].encode()
    out += b'"'
