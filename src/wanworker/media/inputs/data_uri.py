"""Encode and decode base64 text and data URIs. Pure."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

from wanworker.errors import InputRefused, InputUnavailable

_HEADER = re.compile(r"\s*data:([^,]{0,256}),", re.IGNORECASE)
_WHITESPACE = re.compile(r"\s+")
_FOREIGN = re.compile(r"[^A-Za-z0-9+/]")
_URL_SAFE = str.maketrans("-_", "+/")


def is_data_url(text: str) -> bool:
    """Say whether *text* begins like a data URI."""
    return text[:64].lstrip()[:5].lower() == "data:"


def decode(text: str, *, max_bytes: int) -> bytes:
    """
    Decode raw base64 or a base64 data URI of at most *max_bytes* bytes.

    White space, the URL-safe alphabet and missing padding are accepted. The size is computed from the length of the
    text, so too much is refused before anything is decoded.

    Raises InputRefused if it is too large, InputUnavailable if it is empty, cut off or not base64.
    """
    digits = _digits(_payload(text))
    size_bytes = len(digits) * 3 // 4
    if size_bytes > max_bytes:
        raise InputRefused(
            f"the base64 text holds {size_bytes:,} bytes; at most {max_bytes:,} are taken.",
            hint="Send a smaller file, or a URL.",
        )
    if not digits:
        raise InputUnavailable("the base64 text is empty.")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError as error:  # binascii.Error, or the error for text that is not ASCII.
        raise InputUnavailable(_fault(digits)) from error


def _payload(text: str) -> str:
    """Remove a data URI's header."""
    if not is_data_url(text):
        return text
    header = _HEADER.match(text)
    if header is None or not header[1].rstrip().lower().endswith(";base64"):
        raise InputUnavailable("the data URI is not base64: it must begin like 'data:image/png;base64,'.")
    payload = text[header.end() :]
    return unquote(payload) if "%" in payload else payload


def _digits(payload: str) -> str:
    """Strip white space and padding, and map the URL-safe alphabet to the common one."""
    return _WHITESPACE.sub("", payload).rstrip("=").translate(_URL_SAFE)


def _fault(digits: str) -> str:
    """Say what is wrong with text that does not decode."""
    if re.match(r"https?:", digits, re.IGNORECASE):
        return "a URL was given where base64 text is expected."
    foreign = _FOREIGN.search(digits)
    if foreign is None:
        return f"the base64 text is cut off: {len(digits):,} characters are no whole number of bytes."
    return f"the base64 text is broken: {foreign[0]!r} at character {foreign.start() + 1:,} is not base64."
