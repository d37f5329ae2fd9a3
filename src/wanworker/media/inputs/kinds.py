"""Tell what base64 text holds, without decoding all of it."""

from __future__ import annotations

import base64

from wanworker.media._filetype import HEAD_BYTES, sniff

_HEAD_CHARS = HEAD_BYTES * 4 // 3 // 4 * 4


def is_film(text: str) -> bool:
    """Say whether *text*, base64 or a data URI, begins as a film does. The reader judges anything else. Pure."""
    head, comma, _ = text[:HEAD_BYTES].partition(",")
    start = text[len(head) + 1 :][:_HEAD_CHARS] if comma and head.lower().startswith("data:") else text[:_HEAD_CHARS]
    try:
        found = sniff(base64.b64decode(start[: len(start) // 4 * 4]))
    except ValueError:
        return False
    return found is not None and found.kind == "film"
