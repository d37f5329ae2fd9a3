"""Recognise a URL, base64 text or a path that was sent in the field for another of the three. Pure."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["url", "base64", "path"]

_URL = re.compile(r"(?:(?:blob:)?https?:/|[a-z][a-z0-9+.-]{1,20}://)", re.IGNORECASE)
#: Base64 text is long, or begins as a PNG, GIF, JPEG, WebP, WAV, Ogg, FLAC, MP3, mp4 or WebM file does.
_BASE64 = re.compile(
    r"(?:[A-Za-z0-9+/_\s-]{100,}"
    r"|(?:iVBORw0K|R0lGOD|/9j/|UklGR|T2dnUw|ZkxhQw|SUQz|AAAA..Z0eXB|GkXfo)[A-Za-z0-9+/_\s-]{32,})={0,2}"
)
#: A JPEG in base64 begins with "/9j/", as a path may. But no path without a dot is this long.
_LONG_PATH_CHARS = 300
_PATH = re.compile(
    r"(?:(?:/|\.\.?/|~/|[a-z]:\\)[^\n]{1,300}"
    r"|[^\n/:]{1,100}(?:/[^\n/:]{1,100}){0,8}\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic|wav|mp3|flac|ogg|m4a|aac"
    r"|mp4|mov|webm|mkv|avi))",
    re.IGNORECASE,
)

_NAMES: dict[Kind, str] = {"url": "a URL", "base64": "base64 text", "path": "a path"}
_FIELDS: dict[Kind, str] = {
    "url": "Send a URL in the field whose name ends in `url`.",
    "base64": "Send base64 text in the field whose name ends in `base64` (`data` in a list of files, `image` in REST).",
    "path": "Send the file itself as base64 text, or a path of the worker in a field whose name ends in `path`.",
}


def kind_of_source(text: str) -> Kind | None:
    """Return what *text* looks like, or None if that is unclear. Only its first 2,000 characters are looked at."""
    text = text[:2000].strip()  # the patterns match no blanks around it: two runs of blanks would be tried in every way
    if _URL.match(text):
        return "url"
    may_be_path = text.startswith("/") and len(text) < _LONG_PATH_CHARS
    if not may_be_path and _BASE64.fullmatch(text):
        return "base64"
    return "path" if len(text) < 1000 and _PATH.fullmatch(text) else None


def mixed_up(text: str, expected: Kind) -> tuple[str, str] | None:
    """Return a message and a hint if *text* looks like another kind than *expected*, else None."""
    given = kind_of_source(text)
    if given is None or given == expected:
        return None
    wanted = _NAMES[expected]
    return f"{_NAMES[given]} was given where {wanted} is expected.", _FIELDS[given]
