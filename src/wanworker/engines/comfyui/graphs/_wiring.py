"""Add, remove and link nodes of a graph by their titles. Pure: every change returns a new graph."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.graph.api_format import Graph, as_link, inputs_of, needed, titled, with_slot
from wanworker.errors import GraphRefused

Source = tuple[str, int]

_SEEDS = 2**64
#: How many outputs of a node a segment may carry from clip to clip. No class in our graphs has more.
_SLOTS = range(8)


@dataclass(frozen=True, slots=True)
class Segment:
    """
    Describe the part of a graph that renders one more clip of a long video.

    `titles` are its nodes. `carries` maps a title outside to a title inside: the segment takes the first from the clip
    before, and gives the second to the clip after. `length` and `sampler` are the nodes whose `length` and `seed`
    differ from clip to clip; `first_length` and `first_sampler` are those of the first clip, which is not part of the
    segment.
    """

    titles: tuple[str, ...]
    carries: Mapping[str, str]
    length: str
    sampler: str
    first_length: str
    first_sampler: str


def node_titled(graph: Graph, title: str) -> str:
    """Return the id of the one node titled *title*. Raises GraphRefused if there is none, or more than one."""
    found = titled(graph, title)
    if len(found) != 1:
        raise GraphRefused(f"The graph has {len(found)} nodes titled {title!r}; a title must name one node.")
    return found[0]


def without_unused(graph: Graph, saver: str) -> Graph:
    """Return the graph with only what the node titled *saver* needs."""
    used = needed(graph, (node_titled(graph, saver),))
    return {node: copy.deepcopy(body) for node, body in graph.items() if node in used}


def cut(graph: Graph, titles: Iterable[str]) -> Graph:
    """Return the graph without the nodes of these *titles*. Inputs that were linked to them are left out."""
    gone = {node_titled(graph, title) for title in titles}
    left = {node: copy.deepcopy(body) for node, body in graph.items() if node not in gone}
    for body in left.values():
        body["inputs"] = {name: value for name, value in inputs_of(body).items() if _source_node(value) not in gone}
    return left


def bypassed(graph: Graph, title: str, through: str) -> Graph:
    """Return the graph with the links to the node *title* moved to the source of its input *through*."""
    node = node_titled(graph, title)
    source = as_link(inputs_of(graph[node]).get(through))
    if source is None:
        raise GraphRefused(f"Node {node} ({title!r}) has no link in {through!r}.")
    return _relinked(graph, {(node, 0): source}, graph)


def inserted(graph: Graph, after: str, title: str, class_type: str, through: str, inputs: Mapping[str, Any]) -> Graph:
    """
    Return the graph with a new node *title* between the node *after* and all nodes that took its first output.

    *through* is the new node's input that takes that output. *inputs* are its other inputs.
    """
    source = node_titled(graph, after)
    new = next_id(graph)
    changed = _relinked(graph, {(source, 0): (new, 0)}, graph)
    body = {"class_type": class_type, "inputs": {through: [source, 0], **inputs}, "_meta": {"title": title}}
    return {**changed, new: body}


def repeated(graph: Graph, segment: Segment, times: int) -> Graph:
    """
    Return the graph with *segment* (once in *graph*) *times* times in a row.

    The titles of the copies end in the clip's number, `Next clip (3)`. With *times* 0, the nodes that took the
    segment's results take those of the first clip.
    """
    inside = {title: node_titled(graph, title) for title in segment.titles}
    outside = {node_titled(graph, before): inside[after] for before, after in segment.carries.items()}
    rest = [node for node in graph if node not in inside.values()]
    if times == 0:
        results = {(last, slot): (first, slot) for first, last in outside.items() for slot in _SLOTS}
        return cut(_relinked(graph, results, rest), segment.titles)
    changed, before = copy.deepcopy(graph), outside
    for number in range(3, times + 2):
        changed, copied = _with_copy(changed, inside, before, number)
        before = {first: copied[last] for first, last in outside.items()}
    results = {(last, slot): (before[first], slot) for first, last in outside.items() for slot in _SLOTS}
    return _relinked(changed, results, rest)


def with_clips(graph: Graph, segment: Segment, lengths: Sequence[int], seed: int) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph with a part for each clip of these *lengths*, and the titles of its samplers. Seeds count up."""
    graph = repeated(graph, segment, len(lengths) - 1)
    graph = with_slot(graph, segment.first_length, "length", lengths[0])
    samplers = [segment.first_sampler]
    for number, length in enumerate(lengths[1:], 2):
        samplers.append(_clip_title(segment.sampler, number))
        graph = with_slot(graph, _clip_title(segment.length, number), "length", length)
        graph = with_slot(graph, samplers[-1], "seed", (seed + number - 1) % _SEEDS)
    return graph, tuple(samplers)


def _clip_title(title: str, clip: int) -> str:
    """Return the title of a segment's node in clip number *clip*, counted from 1. The segment itself is clip 2."""
    return title if clip <= 2 else f"{title} ({clip})"


def next_id(graph: Graph) -> str:
    """Return an unused node id: one more than the highest number."""
    return str(max((int(node) for node in graph if node.isdecimal()), default=0) + 1)


def _with_copy(
    graph: Graph, inside: Mapping[str, str], before: Mapping[str, str], number: int
) -> tuple[Graph, Mapping[str, str]]:
    """
    Return the graph with a copy of the nodes *inside* for clip *number*, and a map of original id -> id of the copy.
    """
    first = int(next_id(graph))
    copied = {node: str(first + index) for index, node in enumerate(inside.values())}
    moves = {(old, slot): (new, slot) for old, new in {**copied, **before}.items() for slot in _SLOTS}
    clones: Graph = {}
    for title, node in inside.items():
        clones[copied[node]] = copy.deepcopy(graph[node]) | {"_meta": {"title": _clip_title(title, number)}}
    return {**graph, **_relinked(clones, moves, clones)}, copied


def _relinked(graph: Graph, moves: Mapping[Source, Source], nodes: Iterable[str]) -> Graph:
    """Return the graph with every link of *nodes* that is a key of *moves* leading to its value."""
    changed = copy.deepcopy(graph)
    for node in nodes:
        for name, value in inputs_of(graph[node]).items():
            source = as_link(value)
            if source is not None and source in moves:
                changed[node]["inputs"][name] = list(moves[source])
    return changed


def _source_node(value: object) -> str | None:
    link = as_link(value)
    return link[0] if link else None
