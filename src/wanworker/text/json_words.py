"""Say in words what a JSON value is, for people who do not know Python. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

_SHOWN_CHARS = 60


def kind_of(value: object) -> str:
    """Return the kind of *value* in JSON's own words: null, a boolean, a number, a string, a list or an object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, Mapping) else "a list"


def shown(value: object) -> str:
    """Return *value* for a message: numbers and short text as they are, lists and objects by their kind alone."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN_CHARS else f"{value[:_SHOWN_CHARS]!r}..."
    if isinstance(value, int | float):
        return repr(value)[:_SHOWN_CHARS]
    if isinstance(value, Sequence) and not value:
        return "an empty list"
    if isinstance(value, Mapping) and not value:
        return "an empty object"
    return kind_of(value)


def why_unreadable(error: ValueError) -> str:
    """Return why a text is no JSON, from the error of json.loads or of the text's decoding."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1:,} is not UTF-8"
    text = str(error)
    return "a number has more than 4,300 digits" if "integer string conversion" in text else text[:200]


def place_of_non_finite(value: object) -> str | None:
    """
    Return where in *value* a number is NaN or infinite, which JSON cannot write: `1.inputs.width`; None if none is.

    *value* is nested at most some hundred levels deep.
    """
    way = _way_to_non_finite(value)
    if way is None:
        return None
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in reversed(way)).lstrip(".")


def _way_to_non_finite(value: object) -> list[object] | None:
    """Return the keys that lead to the number, from the inside out, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else []
    entries: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        entries = value.items()
    elif isinstance(value, list | tuple):
        entries = enumerate(value)
    for key, item in entries:
        if isinstance(item, float | Mapping | list | tuple) and (way := _way_to_non_finite(item)) is not None:
            return [*way, key]
    return None
