"""
Set inputs of a graph by "NODE.INPUT", and list the inputs that can be set so. Pure: a change returns a new graph.

NODE is the node's title or id; a node without a title has the name of its class as its title. An id comes before a
title of the same text. Titles and inputs may have dots of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.graph._values import as_read, check_value
from wanworker.comfyui.graph.api_format import Graph, inputs_of
from wanworker.comfyui.graph.object_info import (
    DYNAMIC_COMBO,
    NodeClass,
    NodeInput,
    ObjectInfo,
    expanded,
    nearest,
    read_class,
    with_every_choice,
)
from wanworker.errors import InvalidRequest
from wanworker.text.json_words import kind_of, shown

#: More slots than this are counted, not named.
_MOST_REFUSED = 5

#: More inputs of one key than this are counted, not named.
_MOST_WAYS = 8

#: Each dot of a key may be the end of its title, so a long key of dots alone would take all memory.
_MOST_KEY_CHARS = 300

_HINT = "`comfyui_models` lists the slots of the workflows that are called by name."

#: How types of JSON are called where no server says the type of an input.
_JSON_TYPES = ((bool, "BOOLEAN"), (int, "INT"), (float, "FLOAT"), (str, "STRING"))


@dataclass(frozen=True, slots=True)
class Slot:
    """
    Describe one input that can be set.

    `key` is the shortest text that names it alone: by the title, or by the id if others have that title too. `type` is
    the server's, or else that of its value. `default` is the value in the workflow.
    """

    key: str
    title: str
    node: str
    input: str
    type: str
    default: Any

    def to_json(self) -> dict[str, Any]:
        """Return the form in which answers list it."""
        names = {"slot": self.key, "title": self.title, "id": self.node, "input": self.input}
        return {**names, "type": self.type, "default": self.default}


@dataclass(frozen=True, slots=True)
class Filled:
    """Hold a graph with its slots set: the (node, input) of each, and a remark for each link that a value replaced."""

    graph: Graph
    places: frozenset[tuple[str, str]]
    remarks: tuple[str, ...]


class _Refused(Exception):
    """A slot cannot be set. The text says why."""


def with_slots(graph: Graph, slots: Mapping[str, Any], info: ObjectInfo) -> Filled:
    """
    Return *graph* with every slot of *slots* set to its value.

    *info* has the classes of the graph that the server knows: inputs that the graph leaves out can be set too. A value
    takes the place of a link, if the input can have a value. Choices and ranges are left to the preflight. Raises
    InvalidRequest that names every slot that cannot be set, with the nearest names.
    """
    nodes = _Nodes(graph, info)
    changed = dict(graph)
    places: dict[tuple[str, str], str] = {}
    refused: list[str] = []
    remarks: list[str] = []
    for key, value in slots.items():
        try:
            node, name = nodes.free_place(key, places)
            remarks += _remarks(nodes, node, name, value)
        except _Refused as fault:
            refused.append(f"slot {shown(key)} {fault}")
            continue
        places[node, name] = key
        changed[node] = {**changed[node], "inputs": {**inputs_of(changed[node]), name: value}}
    refused += _without_choice(_Nodes(changed, info), places)
    if refused:
        more = f"; {len(refused) - _MOST_REFUSED:,} more" if len(refused) > _MOST_REFUSED else ""
        told = "; ".join(refused[:_MOST_REFUSED])
        raise InvalidRequest(f"The workflow's slots cannot be set: {told}{more}.", hint=_HINT, field="slots")
    return Filled(changed, frozenset(places), tuple(remarks))


def _without_choice(nodes: _Nodes, places: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield the faults of slots inside a choice that is not chosen once all slots are set."""
    for (node, name), key in places.items():
        if combo := nodes.other_choice(node, name):
            chosen = nodes.value(node, combo)
            has = f"{combo}, which has no value" if chosen is None else f"the choice {shown(chosen)} that {combo} has"
            yield f"slot {shown(key)} is no input of {has}; set {combo} too"


def slots_of(graph: Mapping[str, Mapping[str, Any]], info: ObjectInfo) -> tuple[Slot, ...]:
    """Return every input of *graph* that has a value, in the graph's order. *info* may lack classes, even all."""
    nodes = _Nodes(graph, info)
    return tuple(
        Slot(nodes.key(node, name), nodes.titles[node], node, name, nodes.type_of(node, name, value), value)
        for node, body in graph.items()
        for name, value in inputs_of(body).items()
        if not isinstance(value, list)
    )


class _Nodes:
    """Find the nodes of a graph by title and id, and their inputs."""

    def __init__(self, graph: Mapping[str, Mapping[str, Any]], info: ObjectInfo) -> None:
        self._graph = graph
        names = {str(body["class_type"]) for body in graph.values()}
        self._classes = {name: read_class(name, info[name]) for name in names if name in info}
        self.titles = {node: _title(body) for node, body in graph.items()}
        self._by_title: dict[str, list[str]] = {}
        for node, title in self.titles.items():
            self._by_title.setdefault(title, []).append(node)

    def place(self, key: str) -> tuple[str, str]:
        """Return the (node, input) that *key* names. Raises _Refused."""
        if len(key) > _MOST_KEY_CHARS:
            raise _Refused(f"is too long: a slot has at most {_MOST_KEY_CHARS} characters; use the node's id")
        readings = [(key[:at].strip(), key[at + 1 :]) for at, sign in enumerate(key) if sign == "."]
        found = [(node, name) for holder, name in readings for node in self._named(holder)]
        places = [(node, name) for node, name in found if self._has(node, name)]
        if len(places) == 1:
            return places[0]
        if places:
            ways = ", ".join(repr(f"{node}.{name}") for node, name in places[:_MOST_WAYS])
            more = f" and {len(places) - _MOST_WAYS:,} more" if len(places) > _MOST_WAYS else ""
            raise _Refused(f"names {len(places)} inputs; write one of {ways}{more}")
        if found:
            node, name = found[-1]
            own = self._inputs(node)
            raise _Refused(f"names no input of node {node} ({self.titles[node]}){_near(name, own) or _of(own)}")
        if not readings:
            raise _Refused(f"has no dot: write TITLE.INPUT or ID.INPUT{_near(key, (*self._by_title, *self._graph))}")
        near = _near(readings[-1][0], (*self._by_title, *self._graph)) or _of(tuple(self._by_title))
        raise _Refused(f"names no node{near}")

    def free_place(self, key: str, taken: Mapping[tuple[str, str], str]) -> tuple[str, str]:
        """Return the (node, input) that *key* names, if no other slot did. Raises _Refused."""
        place = self.place(key)
        if place in taken:
            raise _Refused(f"is the same input as {taken[place]!r}")
        return place

    def key(self, node: str, name: str) -> str:
        """Return the key of an input: by title where that names it alone."""
        by_title = f"{self.titles[node]}.{name}"
        try:
            return by_title if self.place(by_title) == (node, name) else f"{node}.{name}"
        except _Refused:
            return f"{node}.{name}"

    def item(self, node: str, name: str) -> NodeInput | None:
        """Return how the server describes an input, or None if it does not."""
        its_class = self._class(node)
        if its_class is None or name in its_class.inputs:
            return its_class.inputs[name] if its_class else None
        chosen = expanded(its_class.inputs.values(), inputs_of(self._graph[node]))
        every = with_every_choice(its_class.inputs.values())
        return next((item for item in (*chosen, *every) if item.name == name), None)

    def other_choice(self, node: str, name: str) -> str | None:
        """Return the dynamic combo that has the input only for another choice than the graph's, or None."""
        its_class = self._class(node)
        combo = its_class.inputs.get(name.partition(".")[0]) if its_class and "." in name else None
        if combo is None or combo.type != DYNAMIC_COMBO:
            return None
        chosen = {item.name: item for item in expanded([combo], inputs_of(self._graph[node]))}
        outer = name.rpartition(".")[0]
        while outer not in chosen:
            outer = outer.rpartition(".")[0]
        return None if name in chosen or chosen[outer].is_dynamic else outer

    def value(self, node: str, name: str) -> Any:
        """Return the value or link of an input, or None if the graph has none."""
        return inputs_of(self._graph[node]).get(name)

    def type_of(self, node: str, name: str, value: Any) -> str:
        """Return the type of an input, by the server or else by its value."""
        if item := self.item(node, name):
            return item.type
        return next((word for kind, word in _JSON_TYPES if isinstance(value, kind)), "*")

    def _class(self, node: str) -> NodeClass | None:
        return self._classes.get(str(self._graph[node]["class_type"]))

    def _named(self, holder: str) -> list[str]:
        return [holder] if holder in self._graph else self._by_title.get(holder, [])

    def _inputs(self, node: str) -> tuple[str, ...]:
        its_class = self._class(node)
        own = with_every_choice(its_class.inputs.values()) if its_class else ()
        return tuple(dict.fromkeys((*inputs_of(self._graph[node]), *(item.name for item in own))))

    def _has(self, node: str, name: str) -> bool:
        """Say whether a node has an input. Those inside a dynamic one (`format.codec`) depend on its value."""
        outer = self.item(node, name.partition(".")[0])
        return name in self._inputs(node) or (outer is not None and outer.is_dynamic and not name.endswith("."))


def _title(body: Mapping[str, Any]) -> str:
    about = body.get("_meta")
    title = about.get("title") if isinstance(about, dict) else None
    return title.strip() if isinstance(title, str) and title.strip() else str(body["class_type"])


def _remarks(nodes: _Nodes, node: str, name: str, value: Any) -> Iterator[str]:
    """Check that an input takes values like *value*, and report a link that goes. Raises _Refused."""
    item, old = nodes.item(node, name), nodes.value(node, name)
    if value is None or isinstance(value, list):
        how = '; a list value is written {"__value__": [...]}' if isinstance(value, list) else ""
        raise _Refused(f"takes a value; got {kind_of(value)}{how}")
    takes_values = item is not None and (item.is_widget or item.is_dynamic)
    if not takes_values and (old is None or isinstance(old, list)):
        kind = f" of type {item.type}" if item else ""
        raise _Refused(f"takes a link to an output{kind}, not a value")
    fault = check_value(item, as_read(item, value)) if item is not None and item.type == "BOOLEAN" else None
    if fault is not None:
        raise _Refused(fault.text)
    if isinstance(old, list):
        yield f"node {node} ({nodes.titles[node]}): the slot's value of {name} takes the place of its link"


def _near(name: str, names: tuple[str, ...]) -> str:
    alike = nearest(name, names)
    return f"; nearest: {', '.join(map(repr, alike))}" if alike else ""


def _of(names: tuple[str, ...]) -> str:
    return f"; it has: {', '.join(map(repr, names[:8]))}" if names else ""
