"""
Parse a workflow as the browser saves it. Pure.

A workflow is a sheet of nodes and links. A subgraph is another sheet; a node whose type is the subgraph's id is an
instance of it. Every id is read as text, because some versions of the format have whole numbers and others text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from wanworker.comfyui.graph.problems import shown
from wanworker.errors import GraphRefused
from wanworker.text.json_words import kind_of

#: The modes of nodes that do not run (LGraphEventMode of the frontend).
MUTED, BYPASSED = 2, 4

#: A node that exists in the browser only, and sets its value into the widgets that it is linked to.
PRIMITIVE = "PrimitiveNode"

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")

#: Ids of a subgraph's own input and output panels, for files that do not have them.
_INPUT_PANEL, _OUTPUT_PANEL = "-10", "-20"


#: More levels of subgraphs than anybody draws.
_MOST_LEVELS = 100


@dataclass(frozen=True, slots=True)
class Slot:
    """Hold one input of a node as drawn. `widget` names the widget that the input replaces, if it replaces one."""

    name: str
    type: str
    link: str | None
    widget: str | None


@dataclass(frozen=True, slots=True)
class UiNode:
    """Hold one node as drawn. `outputs` are types, `values` those of its widgets, by place (in some packs by name)."""

    id: str
    type: str
    title: str
    mode: int
    inputs: tuple[Slot, ...] = ()
    outputs: tuple[str, ...] = ()
    values: tuple[Any, ...] | Mapping[str, Any] = ()
    named_values: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Say whether the node is neither muted nor bypassed."""
        return self.mode not in {MUTED, BYPASSED}


@dataclass(frozen=True, slots=True)
class UiLink:
    """Output `origin_slot` of node `origin` feeds input `target_slot` of node `target`."""

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """
    Hold the workflow itself, or one subgraph.

    `inputs` and `outputs` are the names on a subgraph's panels, with their types. `input_links` are the ids of the
    links that leave each input, in the order in which the browser looks at them.
    """

    name: str
    nodes: Mapping[str, UiNode]
    links: Mapping[str, UiLink]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    input_panel: str = _INPUT_PANEL
    output_panel: str = _OUTPUT_PANEL
    input_types: tuple[str, ...] = ()
    output_types: tuple[str, ...] = ()
    input_links: tuple[tuple[str, ...], ...] = ()

    def links_from_input(self, at: int) -> tuple[UiLink, ...]:
        """Return the links that leave input number *at* of the panel, those of the file's list first."""
        found = [link for link in self.links.values() if link.origin == self.input_panel and link.origin_slot == at]
        listed = self.input_links[at] if at < len(self.input_links) else ()
        rank = {key: place for place, key in enumerate(listed)}
        return tuple(sorted(found, key=lambda link: rank.get(link.id, len(rank))))

    def slot_fed_by(self, link: UiLink) -> tuple[UiNode, Slot] | None:
        """Return the node and its input where *link* ends, or None if nothing is there."""
        target = self.nodes.get(link.target)
        slot = next((slot for slot in target.inputs if slot.link == link.id), None) if target else None
        return (target, slot) if target and slot else None


@dataclass(frozen=True, slots=True)
class Document:
    """
    Hold a workflow file: the top sheet, and the subgraphs by id.

    `frontend` is the version (major, minor) that wrote the file, or None if the file does not say it.
    """

    top: Sheet
    subgraphs: Mapping[str, Sheet]
    frontend: tuple[int, int] | None = None


def read_document(ui: Mapping[str, Any]) -> Document:
    """
    Read a file of the browser's format, version 0.4 (links are lists) or 1 (links are objects).

    Raises GraphRefused for any other file, and for subgraphs that contain themselves or lie more than 100 levels deep.
    """
    subgraphs = {_text(one.get("id")): _read_sheet(one) for one in _definitions(ui)}
    document = Document(_read_sheet(ui), subgraphs, _frontend(_mapping(ui.get("extra")).get("frontendVersion")))
    _check_depth(subgraphs)
    return document


def _frontend(version: object) -> tuple[int, int] | None:
    found = _VERSION.match(version) if isinstance(version, str) else None
    return (int(found[1]), int(found[2])) if found else None


def _definitions(holder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    listed = _mapping(holder.get("definitions")).get("subgraphs")
    for one in _listed(listed):
        if isinstance(one, Mapping):
            yield one
            yield from _definitions(one)


def _check_depth(subgraphs: Mapping[str, Sheet]) -> None:
    """Refuse subgraphs that contain themselves, and more levels than what follows them can walk."""
    inside = {key: {node.type for node in sheet.nodes.values()} & set(subgraphs) for key, sheet in subgraphs.items()}
    try:
        order = tuple(TopologicalSorter(inside).static_order())
    except CycleError as error:
        names = " in ".join(repr(subgraphs[key].name) for key in error.args[1])
        raise GraphRefused(f"The workflow's subgraphs contain each other in a circle: {names}.") from error
    levels: dict[str, int] = {}
    for key in order:
        levels[key] = 1 + max((levels[inner] for inner in inside[key]), default=0)
        if levels[key] > _MOST_LEVELS:
            raise GraphRefused(f"The workflow's subgraphs are nested more than {_MOST_LEVELS} levels deep.")


def _read_sheet(sheet: Mapping[str, Any]) -> Sheet:
    nodes, links = sheet.get("nodes"), sheet.get("links") or []
    name = str(sheet.get("name") or "the workflow")
    if not isinstance(nodes, list):
        raise GraphRefused(f"{name}: 'nodes' must be a list; got {kind_of(nodes)}.", field="workflow")
    read = [_read_node(node) for node in nodes]
    found = [_read_link(link) for link in (links.values() if isinstance(links, Mapping) else _listed(links)) if link]
    return Sheet(
        name,
        {node.id: node for node in read},
        # A slot below 0 remains of a link that was cut.
        {link.id: link for link in found if link.origin_slot >= 0},
        tuple(_text(_mapping(slot).get("name")) for slot in _listed(sheet.get("inputs"))),
        tuple(_text(_mapping(slot).get("name")) for slot in _listed(sheet.get("outputs"))),
        _text(_mapping(sheet.get("inputNode")).get("id", _INPUT_PANEL)),
        _text(_mapping(sheet.get("outputNode")).get("id", _OUTPUT_PANEL)),
        tuple(_type(_mapping(slot)) for slot in _listed(sheet.get("inputs"))),
        tuple(_type(_mapping(slot)) for slot in _listed(sheet.get("outputs"))),
        tuple(tuple(map(_text, _listed(_mapping(slot).get("linkIds")))) for slot in _listed(sheet.get("inputs"))),
    )


def _read_node(node: object) -> UiNode:
    body = _mapping(node)
    if "id" not in body or not isinstance(body.get("type"), str):
        raise GraphRefused(f"A node of the workflow lacks 'id' or 'type': {shown(node)}.", field="workflow")
    values, mode = body.get("widgets_values"), body.get("mode")
    return UiNode(
        id=_text(body["id"]),
        type=body["type"],
        title=body["title"] if isinstance(body.get("title"), str) else "",
        mode=mode if isinstance(mode, int) else 0,
        inputs=tuple(_read_slot(slot) for slot in _listed(body.get("inputs"))),
        outputs=tuple(_type(_mapping(slot)) for slot in _listed(body.get("outputs"))),
        values=values if isinstance(values, Mapping) else tuple(values) if isinstance(values, list) else (),
        named_values=_mapping(body.get("widgets_values_named")),
        properties=_mapping(body.get("properties")),
    )


def _read_slot(slot: object) -> Slot:
    body = _mapping(slot)
    link, widget = body.get("link"), _mapping(body.get("widget")).get("name")
    name = _text(body.get("name"))
    return Slot(name, _type(body), None if link is None else _text(link), None if widget is None else _text(widget))


def _read_link(link: object) -> UiLink:
    try:
        if isinstance(link, Mapping):
            parts = [link[key] for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
        else:
            parts = list(link)[:5]  # type: ignore[call-overload]  # what is no list raises TypeError, as it should
        key, origin, origin_slot, target, target_slot = parts
        return UiLink(_text(key), _text(origin), int(origin_slot), _text(target), int(target_slot))
    except (KeyError, TypeError, ValueError) as error:
        raise GraphRefused(f"A link of the workflow cannot be read: {shown(link)}.", field="workflow") from error


def _type(slot: Mapping[str, Any]) -> str:
    # Old files have the choices of a combo, or 0 and -1 for "any", instead of a type's name.
    kind = slot.get("type")
    return kind if isinstance(kind, str) and kind else "COMBO" if isinstance(kind, list) else "*"


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)
