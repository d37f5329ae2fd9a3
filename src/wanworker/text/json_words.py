"""Say in words what a JSON value is, for people who do not know Python. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
