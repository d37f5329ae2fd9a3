"""Map the fields of a request, and of the objects inside it, to their documented names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr

from wanworker.actions.request.json_value import check_field_count, from_text
from wanworker.errors import InvalidRequest
from wanworker.text.nearest import misspelt

#: The place of a value in a request: names of fields and numbers in lists.
Path = tuple[str | int, ...]

_NAME_CHARS = 60

#: Fields that hold the name of one thing. Blanks around it do not count, and empty text means left out.
_OF_ONE_NAME = frozenset(
    {
        "task", "engine", "profile", "sample_solver", "diffusion_model", "diffusion_model_2", "vae_model", "lora_name",
        "size", "resolution", "aspect_ratio", "prepared_path",
    }
)  # fmt: skip

#: This many unknown fields get a warning each; one more line counts the rest.
_MOST_NAMED = 5


class Request(BaseModel):
    """Define the fields of one action, or of an object inside it. A subclass lists other spellings in `aliases`."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    _spelled: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings of the fields, each with its documented name."""
        return {}

    @classmethod
    def field_of_text(cls) -> str | None:
        """Return the field that a bare text fills, or None where an entry must be an object."""
        return None

    @classmethod
    def needless(cls, given: Mapping[Any, Any]) -> Collection[str]:  # noqa: ARG003 - a subclass looks at it
        """Return the keys of *given* that are known and say nothing here: no field has them, and no warning is due."""
        return ()

    def note_spelling(self, read: Named) -> None:
        """Remember how the caller spelled each field of *read*, for messages about two fields that disagree."""
        self._spelled.update({name: written(read.as_written((name,))) for name in read.fields})

    def spelled(self, field: str) -> str:
        """Return the name by which the caller sent *field*, else its documented name."""
        return self._spelled.get(field, field)


@dataclass(slots=True)
class Named:
    """Hold a request's fields by their documented names, how each was spelled, and which are unknown."""

    fields: dict[str, Any] = field(default_factory=dict)
    unknown: list[tuple[Path, list[str]]] = field(default_factory=list)
    spelled: dict[Path, Path] = field(default_factory=dict)

    def as_written(self, place: Path) -> Path:
        """Return *place* as the caller wrote it, for example (loras, 0, weight) for the strength of the first LoRA."""
        for depth in range(len(place), 0, -1):
            if place[:depth] in self.spelled:
                return (*self.spelled[place[:depth]], *place[depth:])
        return place

    def warnings(self) -> list[str]:
        """Return lines about the unknown fields."""
        lines = [_unknown(place, known) for place, known in self.unknown[:_MOST_NAMED]]
        if (more := len(self.unknown) - _MOST_NAMED) > 0:
            lines.append(f"{more} more unknown {'field was' if more == 1 else 'fields were'} ignored.")
        return lines


def named(model: type[Request], fields: Mapping[Any, Any], *, within: Path = ()) -> Named:
    """
    Return *fields* by the names of *model*, with a warning for each that is unknown.

    *within* is the place of the object itself. Objects inside it are read by the models of their fields. Null means
    left out at every level. A single object counts as a list of one where a list of objects is expected; its place has
    no number then, as the caller wrote none. Raises InvalidRequest for two spellings of one field whose values differ.
    """
    found = Named()
    found.fields = _named(model, fields, (), within, found)
    return found


def written(place: Path) -> str:
    """Write a place as most languages do: `loras[0].high`."""
    text = ""
    for part in place:
        shown = str(part)[:_NAME_CHARS]
        text += f"[{shown}]" if isinstance(part, int) else f".{shown}" if text else shown
    return text


def _named(model: type[Request], given: Mapping[Any, Any], place: Path, spelled: Path, found: Named) -> dict[str, Any]:
    """Read one object. *place* is its place by documented names, *spelled* its place as the caller wrote it."""
    check_field_count(given)
    aliases, needless = model.aliases(), model.needless(given)
    fields: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key in sorted((str(key) for key in given if key not in needless), key=lambda key: key in aliases):
        name = aliases.get(key, key)
        value = _trimmed(model, name, given.get(key))
        here = (*spelled, key)
        if value is None and (spelled or given.get(key) is not None):
            continue
        if name not in model.model_fields:
            found.unknown.append((here, [*model.model_fields, *aliases]))
        elif name in fields and _is_empty(value):
            continue
        elif name in fields and not _is_empty(fields[name]):
            _check_agree(written((*spelled, sources[name])), given.get(sources[name]), written(here), value)
        else:
            sources[name] = key
            found.spelled[(*place, name)] = here
            fields[name] = _inside(model, name, value, (*place, name), here, found)
    return fields


def _trimmed(model: type[Request], name: str, value: Any) -> Any:
    """Return *value* without the blanks around the name that it is, None if nothing is left of it."""
    is_name = name in _OF_ONE_NAME and name in model.model_fields and isinstance(value, str)
    return value.strip() or None if is_name else value


def _check_agree(first: str, one: Any, second: str, other: Any) -> None:
    """
    Raise InvalidRequest if two spellings of one field differ. Their values may be secrets, so the message has none.
    """
    if one != other and _as_text(one) != _as_text(other):
        message = f"{first} and {second} mean the same, but their values differ."
        raise InvalidRequest(message, hint="Send one of the two.", field=second)


def _is_empty(value: Any) -> bool:
    """Say whether *value* means left out: null, or a text without a letter, which is what a form sends."""
    return value is None or (isinstance(value, str) and not value.strip())


def _as_text(value: Any) -> str:
    """Return a value as text that is equal for equal numbers: `5`, `5.0` and `"5"` mean the same."""
    text = str(value).strip()
    try:
        return repr(float(text))
    except ValueError:
        return text


def _inside(model: type[Request], name: str, value: Any, place: Path, spelled: Path, found: Named) -> Any:
    """Read the objects that field *name* holds, if it holds any. A form has them as JSON text."""
    entry_model = _entry_model(model.model_fields[name].annotation)
    if entry_model is None:
        return value
    text_field = entry_model.field_of_text()
    if isinstance(value, str):
        value = from_text(value, written(spelled)) if value.strip() else []
    is_list = isinstance(value, list | tuple)
    entries = value if is_list else [value]
    if not all(isinstance(entry, Mapping) or (text_field and isinstance(entry, str)) for entry in entries):
        return value  # the model reports what is wrong with it
    read: list[dict[str, Any]] = []
    for number, entry in enumerate(entries):
        here = (*spelled, number) if is_list else spelled
        found.spelled[(*place, number)] = here
        if isinstance(entry, str):
            read.append({str(text_field): entry})
        else:
            read.append(_named(entry_model, entry, (*place, number), here, found))
    return read


def _entry_model(annotation: Any) -> type[Request] | None:
    """Return the model of the objects in a list of them."""
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, Request):
            return part
    return None


def _unknown(place: Path, known: list[str]) -> str:
    near = misspelt(str(place[-1]), known)
    hint = f"; did you mean {near!r}?" if near else "."
    return f"unknown field {written(place)!r} was ignored{hint}"
