"""Read a job's `input`: find the action and flatten the fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wanworker.actions.base import Action
from wanworker.actions.request.json_value import check_field_count, check_json
from wanworker.errors import InvalidRequest, UnknownAction
from wanworker.text.json_words import kind_of, shown
from wanworker.text.nearest import nearest_names

#: The older wrapped form puts the fields inside one of these.
_WRAPPERS = ("inputs", "params")

#: Of the fields of a job that means nothing, this many are told, each with this many characters.
_MOST_TOLD = 8
_NAME_CHARS = 60


def flat(payload: object) -> dict[str, Any]:
    """
    Return the job's fields, including those of the older wrapped form. A flat field wins over a wrapped one.

    Fields that are null count as left out. Raises InvalidRequest for a payload that is not an object, and for JSON that
    no engine could take (see json_value.py).
    """
    return _merged(_levels(payload), {})


def resolve(payload: object, actions: Sequence[Action]) -> tuple[Action, dict[str, Any]]:
    """
    Return the action that *payload* asks for and its flat fields.

    A flat field wins over a wrapped one also where the two are spellings of one field. Raises InvalidRequest as `flat`
    does, and UnknownAction, naming the known actions.
    """
    levels = _levels(payload)
    action = _meant(_merged(levels, {}), actions)
    fields = _merged(levels, action.fields.aliases())
    fields.pop("action", None)
    return action, fields


def _levels(payload: object) -> list[dict[str, Any]]:
    """Return the fields of each wrapper, then the flat ones: the later win."""
    if not isinstance(payload, Mapping):
        raise InvalidRequest(
            f"input must be an object with fields such as action and prompt; got {kind_of(payload)}.", field="input"
        )
    check_json(payload)
    inner = [payload[wrapper] for wrapper in _WRAPPERS if isinstance(payload.get(wrapper), Mapping)]
    outer = {key: value for key, value in payload.items() if not (key in _WRAPPERS and isinstance(value, Mapping))}
    for fields in (*inner, payload):
        check_field_count(fields)
    return [{str(key): value for key, value in fields.items() if value is not None} for fields in (*inner, outer)]


def _merged(levels: Sequence[Mapping[str, Any]], aliases: Mapping[str, str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for level in levels:
        names = {aliases.get(key, key) for key in level}
        merged = {key: value for key, value in merged.items() if aliases.get(key, key) not in names} | dict(level)
    return merged


def _meant(fields: Mapping[str, Any], actions: Sequence[Action]) -> Action:
    """Return the action that *fields* name, or else the first that they imply."""
    if (asked := fields.get("action")) is not None:
        return _named(asked, actions)
    names = sorted({name for action in actions for name in (*action.fields.model_fields, *action.fields.aliases())})
    known = {name: value for name, value in fields.items() if name in names}  # a misspelled field decides nothing
    for action in actions:
        if action.implied_by(known):
            return action
    received = _received(fields, names)
    message = f"The job names no action and has neither a prompt nor an image; known: {_known(actions)}.{received}"
    raise UnknownAction(message, hint=_misplaced(fields))


def _received(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return a sentence about the fields that the job has, each with the *names* that it may mean."""
    if not fields:
        return ""
    told = [_with_nearest(name, names) for name in sorted(fields)[:_MOST_TOLD]]
    more = len(fields) - _MOST_TOLD
    return f" The job has these fields: {', '.join(told)}{f' and {more} more' if more > 0 else ''}."


def _with_nearest(name: str, names: Sequence[str]) -> str:
    near = [] if name in names else nearest_names(name, names, cutoff=0.6)
    told = repr(name[:_NAME_CHARS])
    return f"{told} (did you mean {' or '.join(map(repr, near))}?)" if near else told


def _misplaced(fields: Mapping[str, Any]) -> str | None:
    """Return where the fields may be instead, if a wrapper that does not count tells it."""
    if isinstance(fields.get("input"), Mapping):
        return "`input` has another `input` in it; send the fields directly in the outer one."
    for name in _WRAPPERS:
        if isinstance(fields.get(name), Mapping):  # the outer object of that name was taken out
            return f"`{name}` lies in another wrapper; send the fields directly in `input`, or in one wrapper."
        if name in fields:
            return f"{name} must be an object with the job's fields; got {kind_of(fields[name])}."
    return None


def _named(asked: object, actions: Sequence[Action]) -> Action:
    name = asked.strip().lower() if isinstance(asked, str) else asked
    for action in actions:
        if name == action.name or name in action.aliases:
            return action
    if not isinstance(asked, str):
        raise UnknownAction(f"action must be text; got {shown(asked)}; known: {_known(actions)}.")
    raise UnknownAction(f"Unknown action {shown(asked)}; known: {_known(actions)}.")


def _known(actions: Sequence[Action]) -> str:
    return ", ".join(sorted(action.name for action in actions))
