"""Remove nodes that lack a required input from a converted graph, as long as an output remains. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wanworker.comfyui.graph.api_format import Graph, links, needed, output_nodes
from wanworker.comfyui.graph.browser_widgets import is_widget
from wanworker.comfyui.graph.object_info import NodeClass, NodeInput, ObjectInfo
from wanworker.comfyui.ui_workflow._links import UNLINKED, NoLink, Source
from wanworker.errors import GraphRefused

#: Types of inputs whose names depend on what is linked to them. It may be right that there are none.
_GROWING = frozenset({"COMFY_AUTOGROW_V3", "COMFY_DYNAMICSLOT_V3"})

_MOST_SHOWN = 8


def lacking(its_class: NodeClass, inputs: Mapping[str, object], sources: Mapping[str, Source]) -> Iterator[str]:
    """Yield, for every required link that a node lacks, its name and the reason."""
    for item in its_class.inputs.values():
        if _must_be_linked(item) and item.name not in inputs:
            source = sources.get(item.name, UNLINKED)
            yield f"input {item.name!r}: {(source if isinstance(source, NoLink) else UNLINKED).why}"


def _must_be_linked(item: NodeInput) -> bool:
    return item.required and not is_widget(item) and item.type not in _GROWING


def without_broken(graph: Graph, broken: Mapping[str, list[str]], info: ObjectInfo) -> tuple[Graph, tuple[str, ...]]:
    """
    Return *graph* without the *broken* nodes and all nodes that need them, and a warning for what was removed.

    The server would run the other outputs too, and fail the broken ones. *broken* maps node ids to what they lack.
    Raises GraphRefused if no output would be left.
    """
    gone = _with_what_needs_them(graph, broken)
    left = {node: body for node, body in graph.items() if node not in gone}
    outputs = output_nodes(graph, info)
    lost = [node for node in outputs if node in gone]
    if lost and len(lost) == len(outputs):
        raise _nothing_left(graph, broken, outputs)
    warnings = [
        f"output {_named(graph, node)} is left out: {'; '.join(_reasons(graph, broken, (node,)))}" for node in lost
    ]
    unused = [_named(graph, node) for node in broken if not any(node in needed(graph, (out,)) for out in lost)]
    if unused:
        warnings.append(f"left out, because they lack inputs and no output needs them: {', '.join(unused)}")
    return left, tuple(warnings)


def _with_what_needs_them(graph: Graph, broken: Mapping[str, list[str]]) -> frozenset[str]:
    fed: dict[str, list[str]] = {}
    for link in links(graph):
        fed.setdefault(link.source, []).append(link.node)
    gone: set[str] = set()
    left = list(broken)
    while left:
        node = left.pop()
        if node not in gone:
            gone.add(node)
            left += fed.get(node, [])
    return frozenset(gone)


def _reasons(graph: Graph, broken: Mapping[str, list[str]], outputs: tuple[str, ...]) -> list[str]:
    used = needed(graph, outputs)
    return [f"{_named(graph, node)}, {reason}" for node in broken if node in used for reason in broken[node]]


def _nothing_left(graph: Graph, broken: Mapping[str, list[str]], outputs: tuple[str, ...]) -> GraphRefused:
    reasons = _reasons(graph, broken, outputs)
    more = f"; and {len(reasons) - _MOST_SHOWN} more" if len(reasons) > _MOST_SHOWN else ""
    message = f"No output of the workflow has all that it needs: {'; '.join(reasons[:_MOST_SHOWN])}{more}."
    hint = None
    if any("Everywhere" in body["class_type"] for body in graph.values()):
        hint = "'Anything Everywhere' links exist in the browser only: convert them to real links there, and save."
    return GraphRefused(message, hint=hint, field="workflow")


def _named(graph: Graph, node: str) -> str:
    name, title = graph[node]["class_type"], graph[node]["_meta"]["title"]
    return f"node {node} ({name})" if title == name else f"node {node} ({name} {title!r})"
