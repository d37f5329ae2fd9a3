"""Read what a ComfyUI server says about its node classes (`GET /object_info`). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from wanworker.text.nearest import nearest_names
from wanworker.text.weight_names import MODEL_SUFFIXES

#: The answer of `GET /object_info`: class name to class, as the server wrote it.
ObjectInfo = Mapping[str, Mapping[str, Any]]

#: A choice that brings inputs of its own, which are named `combo.input`.
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"

#: A row of inputs that grows, named `row.image0`, and an input that takes the type of what is linked to its like.
GROWING, MATCHING = "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"

#: Types whose values are written into the graph. All others need a link.
_WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC_COMBO})

#: The most inputs of a growing row that are looked at.
_MOST_IN_ROW = 1000

#: A longer value is not a name, so no similar name is looked for.
_NAME_CHARS = 300


@dataclass(frozen=True, slots=True)
class NodeInput:
    """
    Describe one input of a node class.

    `type` is COMBO for both ways of writing a choice. `choices` is None for an input that is not a choice; those of a
    dynamic combo are its keys. `options` are the server's own: default, min, max, image_upload ...
    """

    name: str
    type: str
    required: bool
    choices: tuple[Any, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The choices that are text, as a set: a list of files may be long, and each node of a graph is looked up in it.
    _texts: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        texts = frozenset(choice for choice in self.choices or () if isinstance(choice, str))
        object.__setattr__(self, "_texts", texts)

    def allows(self, value: object) -> bool:
        """Say whether *value* is one of the choices."""
        return value in self._texts if isinstance(value, str) else value in (self.choices or ())

    @property
    def is_widget(self) -> bool:
        """Say whether its value may be written into the graph."""
        return self.type in _WIDGET_TYPES

    @property
    def takes_uploads(self) -> bool:
        """
        Say whether it names a file of the input folder. The server's list has only the top level of that folder, so the
        server itself has to check the file.
        """
        return any(name.endswith("_upload") for name in self.options)

    @property
    def is_dynamic(self) -> bool:
        """Say whether its type or the names of its inputs depend on what is linked to it (`values.a`)."""
        return self.type.startswith("COMFY_") and self.type != DYNAMIC_COMBO

    @property
    def is_model(self) -> bool:
        """Say whether it chooses among weight files."""
        return any(is_model_name(choice) for choice in self.choices or ())

    @property
    def default(self) -> Any:
        """
        Return its value for a graph that gives none, or None if there is no safe one.

        It is the server's default, else (as in the browser) the first choice, but never the first model file of a list.
        """
        if "default" in self.options:
            return self.options["default"]
        return self.choices[0] if self.choices and not self.is_model and not self.takes_uploads else None


@dataclass(frozen=True, slots=True)
class Choices:
    """
    Hold the values that one input of a class may have.

    `when` are the values of other inputs that it has these choices with; it is not empty inside a dynamic combo only.
    `others` says that another value may be right too: the list of a loader lacks the files in subfolders.
    """

    input: str
    values: tuple[Any, ...]
    when: Mapping[str, Any] = field(default_factory=dict)
    others: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the form in which answers list it, without what is empty or false."""
        more = {name: value for name, value in (("when", dict(self.when)), ("others", self.others)) if value}
        return {"input": self.input, "choices": list(self.values), **more}


@dataclass(frozen=True, slots=True)
class NodeClass:
    """
    Describe one node class: its inputs by name in the server's order, the types of its outputs, and whether it saves.
    """

    name: str
    inputs: Mapping[str, NodeInput]
    outputs: tuple[Any, ...]
    is_output: bool


def read_class(name: str, info: Mapping[str, Any]) -> NodeClass:
    """Read one class of object_info. Parts that cannot be read are left out."""
    inputs: dict[str, NodeInput] = {}
    order = info.get("input_order") or {}
    for group in ("required", "optional"):
        specs = (info.get("input") or {}).get(group) or {}
        for key in [*(key for key in order.get(group) or () if key in specs), *specs]:
            inputs.setdefault(key, _read_input(key, specs[key], required=group == "required"))
    return NodeClass(name, inputs, tuple(info.get("output") or ()), info.get("output_node") is True)


def _read_input(name: str, spec: object, *, required: bool) -> NodeInput:
    parts = spec if isinstance(spec, list) and spec else ["*"]
    options = parts[1] if len(parts) > 1 and isinstance(parts[1], dict) else {}
    if isinstance(parts[0], list):
        return NodeInput(name, "COMBO", required, tuple(parts[0]), options)
    return NodeInput(name, str(parts[0]), required, _choices(str(parts[0]), options.get("options")), options)


def _choices(kind: str, listed: object) -> tuple[Any, ...] | None:
    if not isinstance(listed, list) or kind not in {"COMBO", DYNAMIC_COMBO}:
        return None
    if kind == DYNAMIC_COMBO:
        return tuple(option["key"] for option in listed if isinstance(option, dict) and "key" in option)
    return tuple(listed)


def inner_inputs(item: NodeInput, value: object) -> tuple[NodeInput, ...]:
    """Return the inputs that the dynamic combo *item* has for *value*; none for any other input or value."""
    if item.type != DYNAMIC_COMBO:
        return ()
    for option in item.options.get("options") or ():
        if isinstance(option, Mapping) and option.get("key") == value:
            inner = read_class(item.name, {"input": option.get("inputs")}).inputs.values()
            return tuple(replace(one, name=f"{item.name}.{one.name}") for one in inner)
    return ()


def with_every_choice(items: Iterable[NodeInput]) -> Iterator[NodeInput]:
    """Yield *items*, and behind each dynamic combo the inputs of all its choices, at every depth."""
    for item in items:
        yield item
        for choice in item.choices or () if item.type == DYNAMIC_COMBO else ():
            yield from with_every_choice(inner_inputs(item, choice))


def choices_of(items: Iterable[NodeInput], when: Mapping[str, Any] = MappingProxyType({})) -> Iterator[Choices]:
    """Yield the choices of *items*, and of what each choice of a dynamic combo brings, at every depth."""
    for item in items:
        # object_info lacks a list that the server fills in only on demand.
        if item.choices or (item.choices is not None and "remote" not in item.options):
            yield Choices(item.name, item.choices, when, item.takes_uploads)
        for choice in item.choices or () if item.type == DYNAMIC_COMBO else ():
            yield from choices_of(inner_inputs(item, choice), {**when, item.name: choice})


def expanded(items: Iterable[NodeInput], given: Mapping[str, Any]) -> Iterator[NodeInput]:
    """
    Yield *items*, and behind each dynamic combo the inputs of the choice that *given* has for it, at every depth.

    *given* is read as late as possible: a value that is added for an input that was just yielded counts.
    """
    for item in items:
        yield item
        if item.type == DYNAMIC_COMBO:
            yield from expanded(inner_inputs(item, given.get(item.name)), given)


def unknown_inside(given: Mapping[str, Any], its_class: NodeClass) -> Iterator[str]:
    """
    Yield the names in *given* that no choice of a dynamic combo has.

    Those of another choice than the chosen one are the browser's remains.
    """
    for combo in its_class.inputs.values():
        inside = [name for name in given if name.startswith(f"{combo.name}.")] if combo.type == DYNAMIC_COMBO else []
        known = {item.name: item for item in with_every_choice([combo])} if inside else {}
        rows = {name for name, item in known.items() if item.is_dynamic}
        yield from (name for name in inside if name not in known and name.rpartition(".")[0] not in rows)


def judged(items: Iterable[NodeInput], given: Mapping[str, Any]) -> Iterator[NodeInput]:
    """
    Yield what the server checks of *items* (see `expanded`): the inputs of a growing row in its place, and a matching
    one with the types that its class allows.
    """
    for item in expanded(items, given):
        template = item.options.get("template")
        template = template if isinstance(template, Mapping) else {}
        allowed = template.get("allowed_types")
        if item.type == GROWING:
            yield from _row(item, template)
        else:
            yield replace(item, type=allowed) if item.type == MATCHING and isinstance(allowed, str) else item


def _row(item: NodeInput, template: Mapping[str, Any]) -> Iterator[NodeInput]:
    """Yield the inputs of a growing row: named or numbered, and the first ones required."""
    inner = read_class(item.name, {"input": template.get("input")}).inputs.values()
    least, most, names = template.get("min", 0), template.get("max", 0), template.get("names")
    if not isinstance(least, int) or not isinstance(most, int) or len(inner) != 1:
        return
    numbered = (f"{template.get('prefix', '')}{number}" for number in range(min(most, _MOST_IN_ROW)))
    for number, name in enumerate(names if isinstance(names, list) else numbered):
        for one in judged(inner, {}):
            yield replace(one, name=f"{item.name}.{name}", required=item.required and number < least)


def is_model_name(value: object) -> bool:
    """Say whether *value* is named like a weight file."""
    return isinstance(value, str) and PurePosixPath(value.replace("\\", "/")).suffix.lower() in MODEL_SUFFIXES


def types_fit(given: object, wanted: object) -> bool:
    """
    Say whether an output of type *given* may be linked to an input of type *wanted*.

    The rule is the server's (ComfyUI comfy_execution/validation.py): the types are equal, one of them is `*`, or
    two lists `A,B` have a type in common. Types that only the browser decides (COMFY_...) fit everything.
    """
    if given == wanted or (isinstance(given, list) and wanted == "COMBO"):
        return True
    if not isinstance(given, str) or not isinstance(wanted, str):
        return False
    if given.startswith("COMFY_") or wanted.startswith("COMFY_"):
        return True
    left, right = ({part.strip() for part in types.split(",")} for types in (given, wanted))
    return "*" in left | right or bool(left & right)


def nearest(value: object, choices: Sequence[Any], most: int = 3) -> tuple[str, ...]:
    """
    Return the *choices* most like *value*, best first, at most *most*.

    The same file in another folder or without its ending comes first, then names that contain it, then names that are
    spelt alike.
    """
    if not isinstance(value, str) or len(value) > _NAME_CHARS:
        return ()
    bare_names = [(_bare(choice), choice) for choice in choices if isinstance(choice, str)]
    wanted = _bare(value)
    same = [name for bare, name in bare_names if bare == wanted]
    within = [name for bare, name in bare_names if wanted and _is_within(wanted, bare)]
    by_bare = dict(reversed(bare_names))
    alike = [by_bare[bare] for bare in nearest_names(wanted, by_bare, most=most)]
    return tuple(dict.fromkeys([*same, *within, *alike]))[:most]


def _is_within(wanted: str, bare: str) -> bool:
    # A choice of only a few letters may be part of a long name by chance.
    return wanted in bare or (len(bare) > 3 and bare in wanted)


def _bare(name: str) -> str:
    """
    Return the last part of a path in lower case, without a weight file's ending. Fast: a server may list 50,000 files.
    """
    last = name.replace("\\", "/").lower().rstrip("/").rpartition("/")[2]
    stem, dot, ending = last.rpartition(".")
    return stem if stem and dot + ending in MODEL_SUFFIXES else last
