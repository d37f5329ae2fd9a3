"""
Replace group nodes, the kind before subgraphs, by the nodes that they hold. Pure.

A file keeps the nodes of a group in `extra.groupNodes`; a node of the type `workflow>NAME` is an instance. It has the
widgets of all its nodes, one after another, and those of their sockets that nothing inside feeds. The rules are those
of the frontend (ComfyUI_frontend, groupNode.ts), which replaces the instances when it opens a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wanworker.comfyui.graph.browser_widgets import is_widget
from wanworker.comfyui.graph.object_info import NodeClass, NodeInput
from wanworker.comfyui.ui_workflow._document import PRIMITIVE, UiNode
from wanworker.comfyui.ui_workflow._subgraphs import MOST_NODES
from wanworker.comfyui.ui_workflow._widgets import named_values
from wanworker.errors import GraphRefused

_PREFIXES = ("workflow>", "workflow/")
_SEEDS = frozenset({"seed", "noise_seed"})
_REROUTE = "Reroute"

#: The least length of a link: its id, and both ends with their slots.
_LINK_PARTS = 5

#: The links inside the groups multiply with the instances, as the nodes do.
_MOST_LINKS = 10 * MOST_NODES

#: A number of a node or slot with more digits is none.
_MOST_DIGITS = 9

#: Gives the class of a node, or None if the server lacks it.
ClassOf = Callable[[UiNode], NodeClass | None]

_Raw = Mapping[str, Any]


def without_group_nodes(ui: _Raw, class_of: ClassOf) -> _Raw:
    """
    Return *ui* with every group node replaced whose definition can be read and whose classes the server has.

    Others stay, and are refused by name later. Node 3 of the instance 12 gets the id `12:3`.

    Raises GraphRefused for more than 10,000 nodes, and for more than 100,000 links inside the groups.
    """
    groups = _mapping(_mapping(ui.get("extra")).get("groupNodes"))
    nodes = ui.get("nodes")
    if not groups or not isinstance(nodes, list):
        return ui
    links = ui.get("links")
    draft = _Draft([], [_as_list(link) for link in (links.values() if isinstance(links, Mapping) else _listed(links))])
    ends, most_links = _ends(draft.links), len(draft.links) + _MOST_LINKS
    read: dict[str, _Group | None] = {}
    for node in nodes:
        name = _group_name(node)
        if name is not None and name not in read:
            read[name] = _read_group(_mapping(groups.get(name)), class_of)
        group = None if name is None else read[name]
        if group is None:
            draft.nodes.append(node)
        else:
            draft.unfold(node, group, ends.pop(_text(node["id"]), []))
        for most, found, what in ((MOST_NODES, draft.nodes, "nodes"), (most_links, draft.links, "links")):
            if len(found) > most:
                raise GraphRefused(f"The workflow has more than {most} {what} once its group nodes are replaced.")
    return {**ui, "nodes": draft.nodes, "links": draft.links}


def _ends(links: list[Any]) -> dict[str, list[list[Any]]]:
    """Return the links that begin or end at each node."""
    found: dict[str, list[list[Any]]] = {}
    for link in links:
        for key in {_text(link[1]), _text(link[3])} if isinstance(link, list) and len(link) >= _LINK_PARTS else ():
            found.setdefault(key, []).append(link)
    return found


@dataclass(slots=True)
class _Group:
    """
    Hold a definition. Numbers are those of its nodes. `slots`, `widgets` and `outputs` are the instance's, in order;
    `sockets` are the names of each node's inputs as its links count them.
    """

    nodes: list[_Raw]
    links: list[tuple[int, int, int, int]]
    classes: list[NodeClass]
    sockets: list[list[str]] = field(default_factory=list)
    slots: list[tuple[int, str]] = field(default_factory=list)
    widgets: list[tuple[int, NodeInput]] = field(default_factory=list)
    outputs: list[tuple[int, int]] = field(default_factory=list)


def _group_name(node: object) -> str | None:
    """Return the name of the group that *node* is an instance of, or None."""
    kind = _mapping(node).get("type") if "id" in _mapping(node) else None
    prefix = next((one for one in _PREFIXES if isinstance(kind, str) and kind.startswith(one)), None)
    return kind[len(prefix) :] if prefix and isinstance(kind, str) else None


def _read_group(body: _Raw, class_of: ClassOf) -> _Group | None:
    inner = [_mapping(one) for one in _listed(body.get("nodes"))]
    links = [
        link for link in map(_inner_link, _listed(body.get("links"))) if link and max(link[0], link[2]) < len(inner)
    ]
    classes = [_class_of(one, class_of) for one in inner]
    known = [one for one in classes if one is not None]
    if not inner or len(known) < len(inner):
        return None
    # The last of several links into one input counts.
    group = _Group(
        inner, list({(target, at): (origin, slot, target, at) for origin, slot, target, at in links}.values()), known
    )
    late = [slot for at in range(len(inner)) for slot in _add_inputs(group, at, body)]
    group.slots += late
    group.links = [link for link in group.links if link[3] < len(group.sockets[link[2]])]
    external = {(one[0], one[1]) for one in _listed(body.get("external")) if isinstance(one, list) and len(one) > 1}
    for at, its_class in enumerate(known):
        shown = _mapping(_config(body, at).get("output"))
        fed = {slot for origin, slot, _, _ in links if origin == at}
        for slot in range(len(its_class.outputs)):
            is_hidden = slot in fed and (at, slot) not in external
            if _mapping(shown.get(str(slot))).get("visible", not is_hidden):
                group.outputs.append((at, slot))
    return group


def _add_inputs(group: _Group, at: int, body: _Raw) -> Iterator[tuple[int, str]]:
    """Add a node's widgets and sockets to *group*. Yield its widgets that are sockets: they come after all others."""
    its_class, linked = group.classes[at], {slot for _, _, target, slot in group.links if target == at}
    saved = [_mapping(slot) for slot in _listed(group.nodes[at].get("inputs"))]
    turned = [_text(slot.get("name")) for slot in saved if _mapping(slot.get("widget")).get("name") == slot.get("name")]
    turned = [name for name in dict.fromkeys(turned) if name in its_class.inputs and is_widget(its_class.inputs[name])]
    plain = [name for name, item in its_class.inputs.items() if not is_widget(item)]
    group.widgets += [(at, item) for name, item in its_class.inputs.items() if is_widget(item) and name not in turned]
    group.sockets.append([*plain, *turned])
    shown = _mapping(_config(body, at).get("input"))
    for number, name in enumerate(plain):
        if number not in linked and _mapping(shown.get(name)).get("visible") is not False:
            group.slots.append((at, name))
    yield from ((at, name) for number, name in enumerate(turned, start=len(plain)) if number not in linked)


def _class_of(node: _Raw, class_of: ClassOf) -> NodeClass | None:
    kind = node.get("type")
    if kind == PRIMITIVE:
        value = NodeInput("value", "INT", required=True, options={"control_after_generate": True})
        return NodeClass(PRIMITIVE, {"value": value}, ("*",), is_output=False)
    if kind == _REROUTE:
        return NodeClass(_REROUTE, {"": NodeInput("", "*", required=True)}, ("*",), is_output=False)
    return class_of(UiNode("", kind, "", 0)) if isinstance(kind, str) else None


@dataclass(slots=True)
class _Draft:
    """Hold the nodes and links of the workflow while its group nodes are replaced."""

    nodes: list[Any]
    links: list[Any]

    def unfold(self, instance: _Raw, group: _Group, ends: list[list[Any]]) -> None:
        """Add the nodes of *instance* in its place. *ends* are the links that it has."""
        key, values = _text(instance.get("id")), _values(instance, group)
        fed: dict[tuple[int, str], Any] = {}
        for number, (origin, slot, target, at) in enumerate(group.links):
            fed[target, group.sockets[target][at]] = f"{key}:{number}"
            self.links.append([f"{key}:{number}", f"{key}:{origin}", slot, f"{key}:{target}", at, "*"])
        for number, slot in enumerate(_listed(instance.get("inputs"))):
            link = _mapping(slot).get("link")
            if link is not None and number < len(group.slots):
                fed[group.slots[number]] = link
        _rewire(key, group, ends)
        for at, node in enumerate(group.nodes):
            inputs = [_input(group.classes[at], name, fed.get((at, name))) for name in group.sockets[at]]
            mode = instance.get("mode") or node.get("mode")
            self.nodes.append(
                {**node, "id": f"{key}:{at}", "mode": mode, "inputs": inputs, "widgets_values": values[at]}
            )


def _rewire(key: str, group: _Group, ends: list[list[Any]]) -> None:
    """Lead the links of the instance *key* to the nodes inside."""
    for link in ends:
        if _text(link[1]) == key and isinstance(link[2], int) and 0 <= link[2] < len(group.outputs):
            at, link[2] = group.outputs[link[2]]
            link[1] = f"{key}:{at}"
        if _text(link[3]) == key and isinstance(link[4], int) and 0 <= link[4] < len(group.slots):
            at, name = group.slots[link[4]]
            link[3], link[4] = f"{key}:{at}", group.sockets[at].index(name)


def _values(instance: _Raw, group: _Group) -> list[Any]:
    """Return the widget values of each node: its own, and over them those of the instance."""
    found: list[dict[str, Any]] = []
    for node, its_class in zip(group.nodes, group.classes, strict=True):
        saved = node.get("widgets_values")
        own = UiNode("", its_class.name, "", 0, values=tuple(saved) if isinstance(saved, list) else ())
        found.append(dict(named_values(own, its_class).values))
    inputs = {f"{at}/{item.name}": _renamed(at, item) for at, item in group.widgets}
    held = instance.get("widgets_values")
    shown = UiNode("", "", "", 0, values=tuple(held) if isinstance(held, list) else ())
    for name, value in named_values(shown, NodeClass("", inputs, (), is_output=False)).values.items():
        at, _, widget = name.partition("/")
        found[int(at)][widget] = value
    return [
        [values["value"]] if its_class.name == PRIMITIVE and "value" in values else values
        for its_class, values in zip(group.classes, found, strict=True)
    ]


def _renamed(at: int, item: NodeInput) -> NodeInput:
    more = {"control_after_generate": True} if item.name in _SEEDS else {}
    return replace(item, name=f"{at}/{item.name}", options={**item.options, **more})


def _input(its_class: NodeClass, name: str, link: object) -> _Raw:
    item = its_class.inputs[name]
    widget = {"widget": {"name": name}} if is_widget(item) else {}
    return {"name": name, "type": item.type, "link": link, **widget}


def _inner_link(link: object) -> tuple[int, int, int, int] | None:
    ends = [_number(end) for end in link[:4]] if isinstance(link, list) else []
    return tuple(ends) if len(ends) == 4 and None not in ends else None  # type: ignore[return-value]


def _number(end: object) -> int | None:
    """Return the number of a node or slot. Some versions of the format write it as text."""
    text = str(end)[: _MOST_DIGITS + 1]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _as_list(link: object) -> object:
    """Return a copy of *link* as a list; what is no link stays as it is, and is refused later."""
    if isinstance(link, Mapping):
        return [link.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")]
    return [*link] if isinstance(link, list) else link


def _config(body: _Raw, at: int) -> _Raw:
    return _mapping(_mapping(body.get("config")).get(str(at)))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> _Raw:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)
