"""Say in plain English what is wrong with a field: what was expected and what was given. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from wanworker.actions.request._names import Path, written
from wanworker.text.json_words import shown

#: Pydantic's kinds of error that bring their own full text.
OWN_TEXTS = frozenset({"out_of_range", "no_number"})

_WHOLE_NUMBER = "must be a whole number"
_NUMBER = "must be a number"
_YES_OR_NO = "must be true or false"
_OBJECT = "must be an object with named fields"

#: What was expected, for each of pydantic's kinds of error. A function is called with the error's context.
_EXPECTED: Mapping[str, str | Callable[[Mapping[str, Any]], str]] = {
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "int_parsing_size": "must be a whole number with fewer digits",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": _YES_OR_NO,
    "bool_parsing": _YES_OR_NO,
    "string_type": "must be text",
    "literal_error": lambda context: f"must be {context['expected']}",
    "enum": lambda context: f"must be {context['expected']}",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "string_pattern_mismatch": "must have the form that an earlier answer gave it",
}


def complaints(details: Sequence[ErrorDetails], as_written: Callable[[Path], Path] = lambda place: place) -> str:
    """Return one sentence about every wrong field. *as_written* turns a place into the caller's own spelling."""
    by_place: dict[str, list[ErrorDetails]] = {}
    for item in details:
        by_place.setdefault(_place(as_written(item["loc"])), []).append(item)
    return f"{'; '.join(_about(place, items) for place, items in by_place.items())}."


def _place(place: Path) -> str:
    """Write *place* as `loras[0].high`. Names that pydantic adds for the branches of a union are left out."""
    return written(tuple(part for part in place if isinstance(part, int) or not _is_branch(part))) or "input"


def _is_branch(part: str) -> bool:
    """Say whether *part* is the name that pydantic adds to the place for one branch of a union."""
    return part in {"str", "int", "float", "bool"} or part.startswith(("dict[", "list[", "tuple["))


def _about(place: str, items: Sequence[ErrorDetails]) -> str:
    if {item["type"] for item in items} == {"dict_type", "string_type"}:
        return f"{place} must be an object, or its JSON as text; got {shown(items[0]['input'])}"
    return f"{place} {_clause(items[0])}"


def _clause(item: ErrorDetails) -> str:
    kind, given, context = item["type"], item["input"], item.get("ctx", {})
    if kind in OWN_TEXTS:
        return item["msg"]
    if kind == "missing":
        return "is missing"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters; got {len(given)}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "too_long":
        return f"must have at most {context['max_length']} entries; got {len(given)}"
    expected = _EXPECTED.get(kind, "has a value that cannot be used")
    return f"{expected if isinstance(expected, str) else expected(context)}; got {shown(given)}"
