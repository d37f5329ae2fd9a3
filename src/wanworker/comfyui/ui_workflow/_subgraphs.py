"""
Expand subgraphs: list every node of a workflow with the path to it. Pure.

A node's id in the result is the path to it: `12:3` is node 3 of the subgraph that node 12 is an instance of, as in the
frontend (ComfyUI_frontend, ExecutableNodeDTO.ts).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wanworker.comfyui.ui_workflow._document import Document, Sheet, UiNode
from wanworker.errors import GraphRefused

#: The values that say what the browser does with a seed after each run. They are saved after the seed, and never sent.
CONTROL_WORDS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})

#: Nested subgraphs multiply, so a file of a few kilobytes could expand to any number of nodes.
MOST_NODES = 10_000

#: The key of a saved widget inside a subgraph: (node, widget).
Widget = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class SubgraphPath:
    """
    Hold one sheet at the place where it is used: the workflow, or a subgraph inside one of its instances.

    `given` are the values that the instance holds for the names on its input panel, `overrides` those that it holds for
    widgets inside.
    """

    path: str
    sheet: Sheet
    instance: UiNode | None = None
    outer: SubgraphPath | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[Widget, Any] = field(default_factory=dict)

    def id_of(self, node: UiNode) -> str:
        """Return the id that *node* of this place has in the result."""
        return f"{self.path}{node.id}"


@dataclass(frozen=True, slots=True)
class Unfolded:
    """Hold every live place by its path, and its nodes in the file's order. Instances are places, not nodes."""

    places: Mapping[str, SubgraphPath]
    nodes: tuple[tuple[SubgraphPath, UiNode], ...]

    def inside(self, place: SubgraphPath, node: UiNode) -> SubgraphPath | None:
        """Return the place inside *node*, or None if the node is not a live instance of a subgraph."""
        return self.places.get(f"{place.id_of(node)}:")


def unfold(document: Document) -> Unfolded:
    """
    Expand the subgraphs of *document*. As in the browser, the inside of a muted or bypassed instance is left out.

    Raises GraphRefused for more than 10,000 nodes.
    """
    places: dict[str, SubgraphPath] = {}
    nodes: list[tuple[SubgraphPath, UiNode]] = []
    _unfold_into(SubgraphPath("", document.top), document, places, nodes)
    return Unfolded(places, tuple(nodes))


def _unfold_into(
    place: SubgraphPath, document: Document, places: dict[str, SubgraphPath], nodes: list[tuple[SubgraphPath, UiNode]]
) -> None:
    places[place.path] = place
    for node in place.sheet.nodes.values():
        sheet = document.subgraphs.get(node.type)
        if sheet is None:
            nodes.append((place, node))
        elif node.is_live:
            _unfold_into(_place_inside(place, node, sheet, document), document, places, nodes)
        if len(nodes) > MOST_NODES:
            raise GraphRefused(f"The workflow has more than {MOST_NODES} nodes once its subgraphs are expanded.")


def _place_inside(place: SubgraphPath, instance: UiNode, sheet: Sheet, document: Document) -> SubgraphPath:
    given, overrides = _held_values(instance, sheet, document)
    given |= {widget: value for (node, widget), value in place.overrides.items() if node == instance.id}
    return SubgraphPath(f"{place.id_of(instance)}:", sheet, instance, place, given, overrides)


def _held_values(instance: UiNode, sheet: Sheet, document: Document) -> tuple[dict[str, Any], dict[Widget, Any]]:
    """
    Return the values that an instance holds: for its inputs, and for widgets inside.

    There are three generations of files. Frontends up to 1.27 and from about 1.45 write one value for each input that
    ends on a widget, in the definition's order. Those between list the widgets in `properties.proxyWidgets` as (node,
    widget), with node -1 for the instance's own, and write a value only if it differs from the one inside.
    """
    values = instance.values if isinstance(instance.values, tuple) else ()
    proxies = _proxies(instance.properties.get("proxyWidgets"))
    if proxies:
        held = {proxy: value for proxy, value in zip(proxies, values, strict=False) if value is not None}
        inside = {proxy: value for proxy, value in held.items() if proxy[0] != "-1"}
        return {name: value for (node, name), value in held.items() if node == "-1"}, inside
    promoted = [name for at, name in enumerate(sheet.inputs) if _ends_on_widget(sheet, at, document)]
    if len(values) > len(promoted):
        values = tuple(value for value in values if not (isinstance(value, str) and value in CONTROL_WORDS))
    if len(values) != len(promoted) and instance.named_values:
        return {name: instance.named_values[name] for name in promoted if name in instance.named_values}, {}
    return {name: value for name, value in zip(promoted, values, strict=False) if value is not None}, {}


def _proxies(listed: object) -> list[Widget]:
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except (ValueError, RecursionError):
            return []
    entries = listed if isinstance(listed, list) else []
    return [(str(entry[0]), str(entry[1])) for entry in entries if isinstance(entry, list) and len(entry) > 1]


def _ends_on_widget(sheet: Sheet, at: int, document: Document) -> bool:
    for link in sheet.links.values():
        target = sheet.nodes.get(link.target)
        if link.origin != sheet.input_panel or link.origin_slot != at or target is None:
            continue
        slot = next((slot for slot in target.inputs if slot.link == link.id), None)
        inner = document.subgraphs.get(target.type)
        if slot is not None and slot.widget is not None:
            return True
        if slot and inner and slot.name in inner.inputs:
            return _ends_on_widget(inner, inner.inputs.index(slot.name), document)
    return False
