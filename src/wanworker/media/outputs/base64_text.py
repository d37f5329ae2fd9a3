"""Encode a file as base64 text with little extra memory."""

from __future__ import annotations

import binascii
from functools import partial
from pathlib import Path

#: A multiple of 3, so that chunks join without padding. It is small because CPython grows the text in place only after
#: a few rounds, and copies it in each round before.
_CHUNK_BYTES = 3 * 16 * 1024


def base64_text(path: Path, *, prefix: str = "") -> str:
    """
    Return *prefix* and the file's base64 as one str. At the peak this holds about 1.34 times the file's size.

    It matters that there is only one local name for the text: while nothing else refers to it, CPython grows it in
    place (realloc moves pages, not bytes). Joining a list or decoding bytes would hold it twice. Raises OSError.
    """
    text = prefix
    with path.open("rb") as file:
        # The odd piece comes first. At the end, its buffers would not fit into the holes that the others left in the
        # heap, and would lie behind the text, where it grows.
        text += _encoded(file.read(path.stat().st_size % _CHUNK_BYTES // 3 * 3))
        # A `for` is used because only its jump warms up CPython 3.11's specialiser. With `while`, each round copies.
        for chunk in iter(partial(file.read, _CHUNK_BYTES), b""):
            text += _encoded(chunk)
    return text


def text_of(data: bytes, *, prefix: str = "") -> str:
    """Return *prefix* and the base64 of *data*, which is small."""
    return prefix + _encoded(data)


def _encoded(chunk: bytes) -> str:
    return binascii.b2a_base64(chunk, newline=False).decode("ascii")


def encoded_chars(size_bytes: int, *, prefix: str = "") -> int:
    """Return the length of the text of a file of *size_bytes*, without making it. Pure."""
    return len(prefix) + 4 * -(-size_bytes // 3)


def largest_file(chars: int, *, prefix: str = "") -> int:
    """Return how many bytes a file may have so that its text has at most *chars* characters, 0 for none. Pure."""
    return max(0, (chars - len(prefix)) // 4 * 3)
