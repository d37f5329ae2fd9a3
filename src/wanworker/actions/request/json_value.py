"""Refuse a request's JSON that no engine could take: nested too deeply, too many fields, NUL, half characters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wanworker.errors import InvalidRequest
from wanworker.text.json_text import RepeatedKey, read_json

#: A graph with nested subgraphs has about thirty levels.
MAX_DEPTH = 100
#: A graph of 10,000 nodes has about 300,000 values.
MAX_VALUES = 500_000
#: No action has more than a few dozen fields.
MAX_FIELDS = 1000

_PATH_CHARS = 200

#: The keys and indexes that lead to a value, from the outside in.
_Way = Sequence[str | int]


def check_json(value: object) -> None:
    """
    Check that every text in *value* (plain JSON values), keys included, can be written and passed on.

    Raises InvalidRequest for the first text with a NUL character or a lone surrogate, with its path; for a value more
    than MAX_DEPTH levels deep; and for more than MAX_VALUES values in all. Works without recursion.
    """
    way: list[str | int] = []
    levels: list[Iterator[tuple[str | int, Any]]] = [iter([("input", value)])]
    count = 0
    while levels:
        found = _next_holder(levels[-1], way)
        if found is None:
            levels.pop()
            del way[len(levels) - 1 :]
            continue
        key, holder = found
        way = [*way[: len(levels) - 1], key]
        count += len(holder)
        _check_measures(way[1:], len(levels), count)
        levels.append(_entries(holder, way[1:]))


def check_field_count(fields: Mapping[Any, Any]) -> None:
    """Raise InvalidRequest if there are more fields than any request has."""
    if len(fields) > MAX_FIELDS:
        raise InvalidRequest(
            f"The request has {len(fields):,} fields; at most {MAX_FIELDS:,} are read.",
            hint="Send only the fields of the action.",
        )


def from_text(text: str, field: str) -> Any:
    """
    Return the list or object that *text* is as JSON, which is how forms send one, or the text itself.

    Raises InvalidRequest for JSON that cannot be read.
    """
    if text.lstrip()[:1] not in {"{", "["}:
        return text
    try:
        value = read_json(text)
    except RepeatedKey as error:
        raise InvalidRequest(f"{field} cannot be read as JSON: {error}.", field=field) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{field} cannot be read as JSON.", field=field) from error
    check_json({field: value})
    return value


def _next_holder(entries: Iterator[tuple[str | int, Any]], way: _Way) -> tuple[str | int, Any] | None:
    """Check the texts of *entries* up to the next list or object that is not empty. Return that one with its key."""
    for key, item in entries:
        if isinstance(item, str):
            if "\x00" in item or not item.isascii():
                _check_text(item, [*way[1:], key])
        elif item and isinstance(item, dict | list | tuple):
            return key, item
    return None


def _entries(holder: Any, way: _Way) -> Iterator[tuple[str | int, Any]]:
    if not isinstance(holder, dict):
        return enumerate(holder)
    for key in holder:
        if isinstance(key, str) and ("\x00" in key or not key.isascii()):
            _check_text(key, way, is_key=True)
    return iter(holder.items())


def _check_measures(way: _Way, depth: int, count: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidRequest(
            f"{_top(way)} is nested too deeply: lists and objects may lie at most {MAX_DEPTH} levels deep.",
            field=_top(way),
        )
    if count > MAX_VALUES:
        raise InvalidRequest(f"The request has more than {MAX_VALUES:,} values.", hint="Send a smaller request.")


def _check_text(text: str, way: _Way, *, is_key: bool = False) -> None:
    where = f"A key in {_named(way)}" if is_key else _named(way)
    if "\x00" in text:
        raise InvalidRequest(
            f"{where} has a NUL character (U+0000) at position {text.index(chr(0)) + 1:,}, which no engine can read.",
            hint="Remove the character; files are sent as base64 text.",
            field=_top(way),
        )
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise InvalidRequest(
            f"{where} has half a character (the lone surrogate {code}) at position {error.start + 1:,}.",
            hint="Send whole characters. A program that shortens text may have split one.",
            field=_top(way),
        ) from None


def _named(way: _Way) -> str:
    """Write the way as `workflow.3.inputs.text` or `loras[0].high`. A long one is shortened in the middle."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in way]
    path = "".join(parts).lstrip(".")
    if len(path) > _PATH_CHARS:
        path = f"{path[: _PATH_CHARS // 2]}...{path[-_PATH_CHARS // 4 :]}"
    return path or "input"


def _top(way: _Way) -> str:
    return str(way[0])[:_PATH_CHARS] if way else "input"
