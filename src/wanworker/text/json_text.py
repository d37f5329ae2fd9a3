"""Read a caller's JSON text. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

_SHOWN_CHARS = 60


class RepeatedKey(ValueError):
    """An object of the text has one key twice. JSON does not say which counts, so neither is dropped in silence."""


def read_json(text: str | bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """
    Return the value of *text* as `json.loads` does. *parse_constant* is called for NaN and infinities.

    Raises RepeatedKey for an object with one key twice; ValueError and RecursionError as `json.loads` does.
    """
    return json.loads(text, parse_constant=parse_constant, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        raise RepeatedKey(f"an object in it has the key {key[:_SHOWN_CHARS]!r} {times} times")
    return value
