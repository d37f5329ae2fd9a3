"""
Convert a workflow in the browser's own format into a graph in API format. Pure.

The browser does this when one presses Run (ComfyUI_frontend, graphToPrompt), but a pasted workflow may never have been
in a browser. The result is what the browser would send, with two differences, each reported in a warning. A node that
lacks a required input is left out, together with all nodes that need it, as long as an output remains. A node of
unknown class without links is left out too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.object_info import NodeClass, ObjectInfo, read_class
from wanworker.comfyui.graph.problems import shown
from wanworker.comfyui.ui_workflow._document import UiNode, read_document
from wanworker.comfyui.ui_workflow._incomplete_nodes import lacking, without_broken
from wanworker.comfyui.ui_workflow._links import FRONTEND_ONLY, UNLINKED, LinkSource, NoLink, Source, Value, source_of
from wanworker.comfyui.ui_workflow._missing_nodes import refuse_missing
from wanworker.comfyui.ui_workflow._subgraphs import SubgraphPath, Unfolded, unfold
from wanworker.comfyui.ui_workflow._widgets import is_widget, named_values

#: A choice such as `{red|blue}`: the browser picks one at random before it sends a text.
_WILDCARD = re.compile(r"\{[^{}]*\|[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Converted:
    """Hold a graph in API format, and one sentence for each change that its author may not expect."""

    graph: Graph
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    """Hold the graph while it grows. `broken` are nodes that lack required inputs, with the reasons."""

    graph: Graph = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=dict)


def node_classes(ui: Mapping[str, Any]) -> frozenset[str]:
    """
    Return the classes that *ui* needs. Ask object_info for them before `api_graph`.

    Raises GraphRefused if *ui* is not a workflow in the browser's format.
    """
    return frozenset(node.type for _, node in _live(unfold(read_document(ui))))


def api_graph(ui: Mapping[str, Any], object_info: ObjectInfo) -> Converted:
    """
    Convert *ui*, in the browser's format, with the classes of *object_info* (all classes make better suggestions).

    Node ids are text, `12:3` inside a subgraph. Nodes keep the file's order, and titles go to `_meta.title`.
    `preflight.check` judges the rest: choices, ranges and types.

    Raises GraphRefused for a file that cannot be read, for classes that the server lacks (all at once), and if no
    output has everything that it needs.
    """
    unfolded = unfold(read_document(ui))
    live = list(_live(unfolded))
    draft = _Draft(warnings=list(refuse_missing(live, object_info)))
    for place, node in live:
        if node.type in object_info:
            _add(draft, unfolded, place, node, object_info)
    graph, warnings = without_broken(draft.graph, draft.broken, object_info)
    return Converted(graph, (*draft.warnings, *warnings))


def _live(unfolded: Unfolded) -> Iterator[tuple[SubgraphPath, UiNode]]:
    for place, node in unfolded.nodes:
        if node.is_live and node.type not in FRONTEND_ONLY:
            yield place, node


def _add(draft: _Draft, unfolded: Unfolded, place: SubgraphPath, node: UiNode, info: ObjectInfo) -> None:
    key, its_class = place.id_of(node), read_class(node.type, info[node.type])
    sources = {slot.widget or slot.name: source_of(unfolded, place, node, at) for at, slot in enumerate(node.inputs)}
    linked = {name: source for name, source in sources.items() if not isinstance(source, NoLink)}
    inputs, warnings = _widget_inputs(place, node, its_class, frozenset(linked))
    inputs |= {name: _as_input(source) for name, source in linked.items()}
    title = node.title or info[node.type].get("display_name") or node.type
    draft.graph[key] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": title}}
    warnings += [*_cut_off(its_class, sources), *_unknown_inputs(its_class, linked)]
    draft.warnings += [f"node {key} ({node.type}): {text}" for text in warnings]
    reasons = list(lacking(its_class, inputs, sources))
    if reasons:
        draft.broken[key] = reasons


def _cut_off(its_class: NodeClass, sources: Mapping[str, Source]) -> Iterator[str]:
    """Report links that led to a muted or bypassed node, if the node can run without them."""
    for name, source in sources.items():
        item = its_class.inputs.get(name)
        if item is None or not isinstance(source, NoLink) or source == UNLINKED:
            continue
        if is_widget(item):
            yield f"{name} keeps its own value: {source.why}"
        elif not item.required:
            yield f"{name} is left out: {source.why}"


def _unknown_inputs(its_class: NodeClass, linked: Mapping[str, object]) -> Iterator[str]:
    """
    Report linked inputs that the class does not list. They are sent all the same, because some packs take any name.
    """
    names = [name for name in linked if name.partition(".")[0] not in its_class.inputs]
    if names:
        yield f"the server's version of this class does not list the linked input {', '.join(map(repr, names))}"


def _widget_inputs(
    place: SubgraphPath, node: UiNode, its_class: NodeClass, linked: frozenset[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the widgets that no link feeds, in the class's order, and remarks about them."""
    named = named_values(node, its_class)
    held = {widget: value for (inside, widget), value in place.overrides.items() if inside == node.id}
    defaults = {item.name: item.default for item in named.missing if item.default is not None}
    values = {name: value for name, value in {**defaults, **named.values, **held}.items() if name not in linked}
    order = [name for name in its_class.inputs if name in values]
    inputs = {name: _wrapped(values[name]) for name in [*order, *(name for name in values if name not in order)]}
    warnings = []
    filled = [f"{name} = {shown(value)}" for name, value in defaults.items() if name in values and name not in held]
    if filled:
        warnings.append(f"the file has no value for {', '.join(filled)}: the server's default")
    if named.left_over:
        left = ", ".join(shown(value) for value in named.left_over)
        warnings.append(f"the server's version of this class has no widget for the saved value {left}")
    return inputs, warnings + [text for name in inputs for text in _wildcards(name, values[name], its_class)]


def _wildcards(name: str, value: object, its_class: NodeClass) -> Iterator[str]:
    item = its_class.inputs.get(name)
    found = _WILDCARD.search(value) if isinstance(value, str) and item and item.options.get("dynamicPrompts") else None
    if found:
        yield f"{name} has {shown(found[0])}, of which the browser would pick one at random; it is sent as written"


def _as_input(source: LinkSource | Value) -> Any:
    return [source.node, source.slot] if isinstance(source, LinkSource) else _wrapped(source.value)


def _wrapped(value: Any) -> Any:
    return {"__value__": list(value)} if isinstance(value, list | tuple) else value
