"""Encode and decode base64 text and data URIs. Pure."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

from wanworker.errors import InputRefused, InputUnavailable

_HEADER = re.compile(r"\s*data:([^,]{0,256}),", re.IGNORECASE)
_WHITESPACE = re.compile(r"\s+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\s-]*")
#: Spaces that fold no lines.
_LOST = re.compile(r"(?<!\s) +(?!\s)")
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


def plain_base64(text: str) -> str:
    """
    Return *text*, raw base64 or a base64 data URI, as everybody writes it: the digits alone, with padding.

    Two texts of the same bytes give the same. Text that is broken, or of which no digit is left, stays as it is.
    """
    try:
        digits = _digits(_payload(text))
    except InputUnavailable:
        return text
    return digits + "=" * (-len(digits) % 4) if digits else text


def with_lost_plus(text: str) -> str:
    """
    Return *text* of a URL-encoded form with each `+` that its sender did not escape, and that so became a space.

    Only base64 text and data URIs are changed. White space that folds lines stays. Spaces at the ends are a `+` where
    the text has a whole number of bytes only with them.
    """
    header = _HEADER.match(text)
    if header is not None and not _is_base64(header):
        return text
    at = header.end() if header else 0
    payload = text[at:]
    if " " not in payload or not _BASE64.fullmatch(payload):
        return text
    inner = payload.strip(" ")
    digits, at_ends = len(_WHITESPACE.sub("", _LOST.sub(_as_plus, inner))), len(payload) - len(inner)
    if digits % 4 and (digits + at_ends) % 4 == 0:
        before = len(payload) - len(payload.lstrip(" "))
        inner = "+" * before + inner + "+" * (at_ends - before)
    return text[:at] + _LOST.sub(_as_plus, inner)


def _as_plus(spaces: re.Match[str]) -> str:
    return "+" * len(spaces[0])


def _is_base64(header: re.Match[str]) -> bool:
    return header[1].rstrip().lower().endswith(";base64")


def _payload(text: str) -> str:
    """Remove a data URI's header."""
    if not is_data_url(text):
        return text
    header = _HEADER.match(text)
    if header is None or not _is_base64(header):
        raise InputUnavailable("the data URI is not base64: it must begin like 'data:image/png;base64,'.")
    payload = text[header.end() :]
    return unquote(payload) if "%" in payload else payload


def _digits(payload: str) -> str:
    """Strip white space and padding, and map the URL-safe alphabet to the common one."""
    digits = "".join(payload.split()).rstrip("=")  # a search for white space takes ten times as long
    return digits.translate(_URL_SAFE) if "-" in digits or "_" in digits else digits


def _fault(digits: str) -> str:
    """Say what is wrong with text that does not decode."""
    if re.match(r"https?:", digits, re.IGNORECASE):
        return "a URL was given where base64 text is expected."
    foreign = _FOREIGN.search(digits)
    if foreign is None:
        return f"the base64 text is cut off: {len(digits):,} characters are no whole number of bytes."
    return f"the base64 text is broken: {foreign[0]!r} at character {foreign.start() + 1:,} is not base64."
