"""
Follow a link through nodes that exist only in the browser, to the node that feeds the input. Pure.

The rules are the frontend's (ComfyUI_frontend, ExecutableNodeDTO.ts and graphToPrompt): reroutes and Get/Set pairs are
followed, a primitive gives its value, a bypassed node passes on the input that fits, a muted one passes nothing, and a
subgraph's panels lead in and out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.graph.object_info import types_fit
from wanworker.comfyui.ui_workflow._document import BYPASSED, MUTED, PRIMITIVE, Sheet, Slot, UiLink, UiNode
from wanworker.comfyui.ui_workflow._subgraphs import OWN, SubgraphPath, Unfolded
from wanworker.errors import GraphRefused

_GETTER, _SETTER = "GetNode", "SetNode"
_PASS_THROUGH = frozenset({"Reroute", "Reroute (rgthree)", _SETTER})

#: Node types that never reach the server. If a pack adds others, they are reported as missing from the server.
FRONTEND_ONLY = _PASS_THROUGH | {
    PRIMITIVE,
    _GETTER,
    "Note",
    "MarkdownNote",
    "Label (rgthree)",
    "Bookmark (rgthree)",
    "Node Collector (rgthree)",
    "Fast Muter (rgthree)",
    "Fast Bypasser (rgthree)",
    "Fast Groups Muter (rgthree)",
    "Fast Groups Bypasser (rgthree)",
    "Fast Actions Button (rgthree)",
    "Mute / Bypass Relay (rgthree)",
    "Mute / Bypass Repeater (rgthree)",
    "Random Unmuter (rgthree)",
}


@dataclass(frozen=True, slots=True)
class LinkSource:
    """Output `slot` of the node with this id in the result feeds the input."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class Value:
    """The input has a value that a subgraph's instance holds."""

    value: Any


@dataclass(frozen=True, slots=True)
class SetValue:
    """The input's own widget has this value, because a primitive set it."""

    value: Any


@dataclass(frozen=True, slots=True)
class NoLink:
    """Nothing feeds the input. `why` tells the author the reason."""

    why: str


@dataclass(frozen=True, slots=True)
class OwnValue:
    """The input has the value that a widget of this node has: the first one that the subgraph's input ends on."""

    place: SubgraphPath
    node: UiNode
    widget: str


Source = LinkSource | Value | SetValue | OwnValue | NoLink
UNLINKED = NoLink("nothing is linked to it")


@dataclass(frozen=True, slots=True)
class _Input:
    """Stop of the walk: input number `at` of a node. `wanted` is the type of the input where the walk began."""

    place: SubgraphPath
    node: UiNode
    at: int
    wanted: str | None = None


@dataclass(frozen=True, slots=True)
class _Output:
    """Stop of the walk: output number `at` of a node."""

    place: SubgraphPath
    node: UiNode
    at: int
    wanted: str


_Step = _Input | _Output | Source


def source_of(unfolded: Unfolded, place: SubgraphPath, node: UiNode, at: int) -> Source:
    """
    Return what feeds input number *at* of *node*.

    Raises GraphRefused if reroutes, bypassed nodes or panels lead in a circle.
    """
    step: _Step = _primitive_of(place, node, at) or _Input(place, node, at)
    seen: set[tuple[type, str, int]] = set()
    while isinstance(step, _Input | _Output):
        stop = (type(step), step.place.id_of(step.node), step.at)
        if stop in seen:
            where = f"node {stop[1]} ({step.node.type})"
            raise GraphRefused(f"The links lead in a circle through {where}, where no node computes anything.")
        seen.add(stop)
        step = _before_input(unfolded, step) if isinstance(step, _Input) else _before_output(unfolded, step)
    return step


def _primitive_of(place: SubgraphPath, node: UiNode, at: int) -> SetValue | OwnValue | NoLink | None:
    """
    Return the value of the primitive that is linked to this widget itself.

    A primitive, even a muted one, sets its value into the widgets that it is linked to, before anything else happens.
    It reaches nothing through a reroute or into a subgraph. An instance that shows the widget itself cuts the link; one
    that shows the primitive, but holds no value for it, gives all of them the value of the first.
    """
    slot = node.inputs[at]
    origin = primitive_linked_to(place.sheet, slot)
    if origin is None or (node.id, slot.widget) in place.overrides:
        return None
    held = [value for (key, _), value in place.overrides.items() if key == origin.id]
    if held and held[0] is OWN:
        return _first_target(place, origin) or UNLINKED
    values = [*held, *(origin.values if isinstance(origin.values, tuple) else ())]
    return SetValue(values[0]) if values else None


def _first_target(place: SubgraphPath, primitive: UiNode) -> OwnValue | None:
    links = (link for link in place.sheet.links.values() if link.origin == primitive.id)
    found = (place.sheet.slot_fed_by(link) for link in links)
    return next((OwnValue(place, fed[0], fed[1].widget) for fed in found if fed and fed[1].widget is not None), None)


def primitive_linked_to(sheet: Sheet, slot: Slot) -> UiNode | None:
    """Return the primitive that is linked to the widget of *slot* without anything between, or None."""
    link = sheet.links.get(slot.link) if slot.link is not None else None
    origin = sheet.nodes.get(link.origin) if link else None
    return origin if origin is not None and origin.type == PRIMITIVE and slot.widget is not None else None


def _before_input(unfolded: Unfolded, step: _Input) -> _Step:
    if step.at >= len(step.node.inputs):
        return UNLINKED
    slot = step.node.inputs[step.at]
    if slot.widget is not None and (step.node.id, slot.widget) in step.place.overrides:
        value = step.place.overrides[step.node.id, slot.widget]
        return UNLINKED if value is OWN else Value(value)
    link = step.place.sheet.links.get(slot.link) if slot.link is not None else None
    return UNLINKED if link is None else _origin(unfolded, step.place, link, step.wanted or slot.type)


def _origin(unfolded: Unfolded, place: SubgraphPath, link: UiLink, wanted: str) -> _Step:
    if link.origin == place.sheet.input_panel:
        return _through_panel(unfolded, place, link.origin_slot)
    origin = place.sheet.nodes.get(link.origin)
    return UNLINKED if origin is None else _Output(place, origin, link.origin_slot, wanted)


def _through_panel(unfolded: Unfolded, place: SubgraphPath, at: int) -> _Step:
    """
    Leave a subgraph by its input panel: to the instance's link, or else to the value that the instance holds.

    An instance without a value has that of the first widget inside. One value goes to every place that the input feeds.
    """
    if place.outer is None or place.instance is None or at >= len(place.sheet.inputs):
        return UNLINKED
    name = place.sheet.inputs[at]
    is_cut = (place.instance.id, name) in place.outer.overrides
    for index, slot in enumerate(place.instance.inputs):
        if slot.name == name and slot.link is not None and not is_cut:
            return _Input(place.outer, place.instance, index)
    if name not in place.given:
        return _first_widget(unfolded, place, at) or UNLINKED
    return UNLINKED if place.given[name] is OWN else Value(place.given[name])


def shown_by_instance(unfolded: Unfolded, place: SubgraphPath, widget: str) -> Value | OwnValue | None:
    """Return what the instance of *place* shows as *widget*: the value that it holds, or that of the widget inside."""
    held = [value for (_, name), value in place.overrides.items() if name == widget]
    held += [place.given[widget]] if widget in place.given else []
    if held:
        return None if held[0] is OWN else Value(held[0])
    return _first_widget(unfolded, place, place.sheet.inputs.index(widget)) if widget in place.sheet.inputs else None


def _first_widget(unfolded: Unfolded, place: SubgraphPath, at: int) -> Value | OwnValue | None:
    for link in place.sheet.links_from_input(at):
        fed = place.sheet.slot_fed_by(link)
        inside = unfolded.inside(place, fed[0]) if fed else None
        if fed is None:
            continue
        node, slot = fed
        if inside is None and slot.widget is not None:
            return OwnValue(place, node, slot.widget)
        held = inside.given.get(slot.name) if inside is not None else None
        if held is not None and held is not OWN:
            return Value(held)
        if inside is not None and held is None and slot.name in inside.sheet.inputs:
            deeper = _first_widget(unfolded, inside, inside.sheet.inputs.index(slot.name))
            if deeper is not None:
                return deeper
    return None


def _before_output(unfolded: Unfolded, step: _Output) -> _Step:
    place, node = step.place, step.node
    if node.type == PRIMITIVE:
        return NoLink(f"node {place.id_of(node)} ({PRIMITIVE}) sets only the widgets that it is linked to directly")
    if node.mode == MUTED:
        return NoLink(f"its source, node {place.id_of(node)} ({node.type}), is muted")
    if node.mode == BYPASSED:
        return _past_bypassed(step)
    inside = unfolded.inside(place, node)
    if inside is not None:
        return _into_subgraph(unfolded, inside, step)
    if node.type in _PASS_THROUGH:
        return _Input(place, node, 0, step.wanted)
    if node.type == _GETTER:
        return _setter_of(place, node, step.wanted)
    if node.type in FRONTEND_ONLY:
        return UNLINKED
    return LinkSource(place.id_of(node), step.at)


def _into_subgraph(unfolded: Unfolded, inside: SubgraphPath, step: _Output) -> _Step:
    for link in inside.sheet.links.values():
        if link.target == inside.sheet.output_panel and link.target_slot == step.at:
            return _origin(unfolded, inside, link, step.wanted)
    return NoLink(f"output {step.at} of the subgraph {inside.sheet.name!r} is linked to nothing inside")


def _setter_of(place: SubgraphPath, getter: UiNode, wanted: str) -> _Step:
    """Find the SetNode with the getter's name, on the getter's sheet or on one around it."""
    name = getter.values[0] if getter.values and isinstance(getter.values, tuple) else getter.title
    around: SubgraphPath | None = place
    while around is not None:
        for node in around.sheet.nodes.values():
            if node.type == _SETTER and isinstance(node.values, tuple) and node.values[:1] == (name,):
                return _Input(around, node, 0, wanted)
        around = around.outer
    return NoLink(f"its source, node {place.id_of(getter)} ({_GETTER}), has no {_SETTER} named {name!r}")


def _past_bypassed(step: _Output) -> _Step:
    """
    Choose the input that a bypassed node passes on.

    For the type "any" it is any input. Otherwise it is the input of the same number if it fits, else the first of
    exactly the wanted type, else the first that fits.
    """
    node, at, wanted = step.node, step.at, step.wanted
    if wanted == "*":
        chosen = at if at < len(node.inputs) else 0
        return _Input(step.place, node, chosen)
    given = node.outputs[at] if at < len(node.outputs) else wanted
    fitting = [index for index, slot in enumerate(node.inputs) if _fit(slot.type, given) and _fit(slot.type, wanted)]
    exact = [index for index, slot in enumerate(node.inputs) if slot.type == wanted]
    if at in fitting:
        return _Input(step.place, node, at)
    if exact or fitting:
        return _Input(step.place, node, (exact or fitting)[0])
    where = f"node {step.place.id_of(node)} ({node.type})"
    return NoLink(f"its source, {where}, is bypassed and has no input of type {wanted} to pass on")


def _fit(left: str, right: str) -> bool:
    return types_fit(left.upper(), right.upper())
