"""
Expand subgraphs: list every node of a workflow with the path to it. Pure.

A node's id in the result is the path to it: `12:3` is node 3 of the subgraph that node 12 is an instance of, as in the
frontend (ComfyUI_frontend, ExecutableNodeDTO.ts).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wanworker.comfyui.ui_workflow._document import PRIMITIVE, Document, Sheet, UiNode
from wanworker.errors import GraphRefused

#: The values that say what the browser does with a seed after each run. They are saved after the seed, and never sent.
CONTROL_WORDS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})

#: Nested subgraphs multiply, so a file of a few kilobytes could expand to any number of nodes.
MOST_NODES = 10_000

#: The key of a saved widget inside a subgraph: (node, widget).
Widget = tuple[str, str]

#: Stands for the value that a widget inside has itself.
OWN = object()

#: From this version of the frontend on, an instance holds the values of all widgets that it shows.
_VALUES_IN_THE_INSTANCE = (1, 41)

#: The node of an entry of `proxyWidgets` that means the instance itself.
_OWN_WIDGET = "-1"

#: Some frontends wrote the id of the node deeper inside in front of a widget's name, others behind it in the entry.
_FORMER_PREFIX = re.compile(r"^(\s*\d+\s*:\s*)+")


@dataclass(frozen=True, slots=True, eq=False)
class SubgraphPath:
    """
    Hold one sheet at the place where it is used: the workflow, or a subgraph inside one of its instances.

    `given` are the values that the instance holds for the names on its input panel; OWN leaves every widget that the
    input feeds its own value. `overrides` are those that it holds
    for widgets inside; OWN leaves a widget its own value, and cuts a link to it.
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
    """
    Hold every live place by its path, and its nodes in the file's order. Instances are places, not nodes.

    `opened` makes the place inside a node, or None for what is no instance.
    """

    places: Mapping[str, SubgraphPath]
    nodes: tuple[tuple[SubgraphPath, UiNode], ...]
    opened: Callable[[SubgraphPath, UiNode], SubgraphPath | None]

    def inside(self, place: SubgraphPath, node: UiNode) -> SubgraphPath | None:
        """Return the place inside *node*, also a muted one, or None if the node is not an instance of a subgraph."""
        return self.places.get(f"{place.id_of(node)}:") or self.opened(place, node)


def unfold(document: Document) -> Unfolded:
    """
    Expand the subgraphs of *document*. As in the browser, the inside of a muted or bypassed instance is left out.

    Raises GraphRefused for more than 10,000 nodes or instances.
    """
    draft = _Draft(document)
    draft.add(SubgraphPath("", document.top))
    return Unfolded(draft.places, tuple(draft.nodes), draft.opened)


@dataclass(slots=True)
class _Draft:
    """Hold what is unfolded so far. `promoted` are the inputs of each subgraph that end on a widget, found once."""

    document: Document
    places: dict[str, SubgraphPath] = field(default_factory=dict)
    nodes: list[tuple[SubgraphPath, UiNode]] = field(default_factory=list)
    promoted: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: SubgraphPath) -> None:
        """Add *place* with its nodes and all places inside."""
        self.places[place.path] = place
        for node in place.sheet.nodes.values():
            if node.type not in self.document.subgraphs:
                self.nodes.append((place, node))
            elif node.is_live and (inside := self.opened(place, node)):
                self.add(inside)
            # Instances of an empty subgraph multiply too.
            if max(len(self.nodes), len(self.places)) > MOST_NODES:
                raise GraphRefused(f"The workflow has more than {MOST_NODES} nodes once its subgraphs are expanded.")

    def opened(self, place: SubgraphPath, node: UiNode) -> SubgraphPath | None:
        """Return the place inside *node*, or None if it is no instance."""
        sheet = self.document.subgraphs.get(node.type)
        return None if sheet is None else _place_inside(place, node, sheet, self)

    def promoted_of(self, kind: str) -> list[str]:
        """Return the inputs of the subgraph *kind* that end on a widget, of it or of a subgraph inside."""
        if kind not in self.promoted:
            sheet = self.document.subgraphs[kind]
            self.promoted[kind] = [name for at, name in enumerate(sheet.inputs) if self._ends_on_widget(sheet, at)]
        return self.promoted[kind]

    def _ends_on_widget(self, sheet: Sheet, at: int) -> bool:
        for link in sheet.links_from_input(at):
            fed = sheet.slot_fed_by(link)
            if fed is None:
                continue
            target, slot = fed
            is_instance = target.type in self.document.subgraphs
            if slot.name in self.promoted_of(target.type) if is_instance else slot.widget is not None:
                return True
        return False


def _place_inside(place: SubgraphPath, instance: UiNode, sheet: Sheet, draft: _Draft) -> SubgraphPath:
    given, overrides = _held_values(instance, sheet, draft)
    for (node, widget), value in place.overrides.items():
        if node != instance.id or value is OWN:
            continue
        name = _input_ending_on(sheet, widget)
        if name is not None:
            given[name] = value
        else:
            overrides |= dict.fromkeys(_shown_as(instance, sheet, widget), value)
    return SubgraphPath(f"{place.id_of(instance)}:", sheet, instance, place, given, overrides)


def _held_values(instance: UiNode, sheet: Sheet, draft: _Draft) -> tuple[dict[str, Any], dict[Widget, Any]]:
    """
    Return the values that an instance holds: for its inputs, and for widgets inside that no input ends on.

    There are three generations of files. Frontends up to 1.27 and from about 1.45 write one value for each input that
    ends on a widget, in the definition's order. Those between list the widgets in `properties.proxyWidgets` as (node,
    widget), with node -1 for the instance's own, and write a value only if it differs from the one inside. The browser
    of today reads a list by order first and then by its entries. That mixes up lists of before 1.41, so these are read
    as the frontend that wrote them read them.
    """
    proxies = _proxies(instance.properties.get("proxyWidgets"))
    document, promoted = draft.document, draft.promoted_of(instance.type)
    if isinstance(instance.values, Mapping):
        return {name: instance.values[name] for name in promoted if instance.values.get(name) is not None}, {}
    values = instance.values
    if proxies and document.frontend is not None and document.frontend < _VALUES_IN_THE_INSTANCE:
        return _held_by_entries(promoted, values, proxies), {}
    if not proxies and len(values) > len(promoted):
        values = tuple(value for value in values if not (isinstance(value, str) and value in CONTROL_WORDS))
    if len(values) != len(promoted) and instance.named_values and not proxies:
        return {name: instance.named_values[name] for name in promoted if name in instance.named_values}, {}
    given = {name: value for name, value in zip(promoted, values, strict=False) if value is not None}
    overrides: dict[Widget, Any] = {}
    primitives, mixed = _primitives_shown(sheet, proxies)
    for at, (node, listed) in enumerate(proxies):
        widget = _FORMER_PREFIX.sub("", listed)
        value = values[at] if at < len(values) and values[at] is not None else OWN
        held = overrides.get((node, listed), OWN)
        if node in mixed or (held is not OWN and (value is OWN or node in primitives)):
            continue
        name = widget if node == _OWN_WIDGET else _input_of(sheet, node, widget, document)
        if name is None:
            is_deeper = node in sheet.nodes and sheet.nodes[node].type in document.subgraphs
            overrides[node, listed if is_deeper else widget] = value
        elif value is not OWN:
            given[name] = value
    return given, overrides


def _primitives_shown(sheet: Sheet, proxies: list[Widget]) -> tuple[set[str], set[str]]:
    """
    Return the primitives that an instance shows, and those that it shows with two of their widgets.

    The latter keep their own value. Of one that is shown twice with the same widget, the first value counts.
    """
    shown = {pair for pair in proxies if pair[0] in sheet.nodes and sheet.nodes[pair[0]].type == PRIMITIVE}
    times = Counter(node for node, _ in shown)
    return set(times), {node for node, count in times.items() if count > 1}


def _shown_as(instance: UiNode, sheet: Sheet, widget: str) -> list[Widget]:
    """
    Return the widget inside *instance* that the instance shows as *widget*, or nothing.

    If the name begins with the id of a node, it is a widget of that node. Otherwise the first of that name is meant. A
    primitive takes no value from further out than its own instance.
    """
    primitives = {key for key, node in sheet.nodes.items() if node.type == PRIMITIVE}
    prefix, plain = _FORMER_PREFIX.match(widget), _FORMER_PREFIX.sub("", widget)
    owner = prefix[0].split(":")[0].strip() if prefix else None
    shown = _proxies(instance.properties.get("proxyWidgets"))
    found = [pair for pair in shown if _FORMER_PREFIX.sub("", pair[1]) == plain and owner in (None, pair[0])]
    return [pair for pair in found[:1] if pair[0] not in primitives]


def _held_by_entries(promoted: list[str], values: tuple[Any, ...], proxies: list[Widget]) -> dict[str, Any]:
    """
    Read the values of an instance as frontends 1.28 to 1.40 did.

    A value counts only for an entry of the instance's own. Any other entry shows the widget inside, which keeps its
    value. If it has the name of an input, it took the place of that input's widget, so the input passes nothing on.
    """
    given = {name: value for name, value in zip(promoted, values, strict=False) if value is not None}
    for (node, widget), value in zip(proxies, values, strict=False):
        if node == _OWN_WIDGET and widget in promoted and value is not None:
            given[widget] = value
    return given | {widget: OWN for node, widget in proxies if node != _OWN_WIDGET and widget in promoted}


def _proxies(listed: object) -> list[Widget]:
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except (ValueError, RecursionError):
            return []
    entries = listed if isinstance(listed, list) else []
    return [_proxy(*map(str, entry)) for entry in entries if isinstance(entry, list) and len(entry) > 1]


def _proxy(node: str, widget: str, deeper: str = "", *_: str) -> Widget:
    return node, widget if not deeper or _FORMER_PREFIX.match(widget) else f"{deeper}: {widget}"


def _input_of(sheet: Sheet, node: str, widget: str, document: Document) -> str | None:
    """Return the input of *sheet* whose first widget is this one. An input that feeds it too, but later, is none."""
    for at, name in enumerate(sheet.inputs):
        for link in sheet.links_from_input(at):
            fed = sheet.slot_fed_by(link)
            if fed is None or (fed[1].widget is None and fed[0].type not in document.subgraphs):
                continue
            if (fed[0].id, fed[1].widget or fed[1].name) == (node, widget):
                return name
            break
    return None


def _input_ending_on(sheet: Sheet, listed: str) -> str | None:
    """
    Return the input of that name, or else the one whose first widget has that name.

    The id of a node in front of the name asks for that node's widget, and after it only for an input of that name.
    """
    prefix, widget = _FORMER_PREFIX.match(listed), _FORMER_PREFIX.sub("", listed)
    owner = prefix[0].split(":")[-2].strip() if prefix else None
    if owner is None and widget in sheet.inputs:
        return widget
    for at, name in enumerate(sheet.inputs):
        fed = [sheet.slot_fed_by(link) for link in sheet.links_from_input(at)]
        if any(one and widget in (one[1].widget, one[1].name) and owner in (None, one[0].id) for one in fed[:1]):
            return name
    return widget if widget in sheet.inputs else None
