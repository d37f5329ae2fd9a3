"""
Convert a workflow in the browser's own format into a graph in API format. Pure.

The browser does this when one presses Run (ComfyUI_frontend, graphToPrompt), but a pasted workflow may never have been
in a browser. The result is what the browser would send, with two differences, each reported in a warning. A node that
lacks a required input is left out, together with all nodes that need it, as long as an output remains. A node of
unknown class without links is left out too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.browser_widgets import is_widget
from wanworker.comfyui.graph.dynamic_prompt import Prompt, sent_prompt
from wanworker.comfyui.graph.object_info import NodeClass, ObjectInfo
from wanworker.comfyui.graph.problems import shown
from wanworker.comfyui.ui_workflow._document import UiNode, read_document
from wanworker.comfyui.ui_workflow._incomplete_nodes import lacking, without_broken
from wanworker.comfyui.ui_workflow._links import (
    FRONTEND_ONLY,
    UNLINKED,
    LinkSource,
    NoLink,
    OwnValue,
    SetValue,
    Source,
    Value,
    source_of,
)
from wanworker.comfyui.ui_workflow._missing_nodes import MissingClasses, is_linked, refuse_missing
from wanworker.comfyui.ui_workflow._own_values import WidgetReader, after_setting
from wanworker.comfyui.ui_workflow._replacements import Replacements
from wanworker.comfyui.ui_workflow._slots import with_class_slots
from wanworker.comfyui.ui_workflow._subgraphs import SubgraphPath, Unfolded, unfold
from wanworker.comfyui.ui_workflow.former.group_nodes import without_group_nodes

__all__ = ["Converted", "MissingClasses", "api_graph", "node_classes"]

#: The input that names files. Only in it does the browser replace `%date:...%` and `%Node.widget%`.
_PREFIX = "filename_prefix"

_CURVE = "CURVE"


@dataclass(frozen=True, slots=True)
class Converted:
    """Hold a graph in API format, and one sentence for each change that its author may not expect."""

    graph: Graph
    warnings: tuple[str, ...]


def node_classes(ui: Mapping[str, Any]) -> frozenset[str]:
    """
    Return the classes that *ui* needs. Ask object_info for them before `api_graph`.

    Raises GraphRefused if *ui* is not a workflow in the browser's format.
    """
    return frozenset(node.type for _, node in _live(unfold(read_document(ui))))


def api_graph(ui: Mapping[str, Any], object_info: ObjectInfo, *, now: datetime) -> Converted:
    """
    Convert *ui*, in the browser's format, with the classes of *object_info* (all classes make better suggestions).

    Node ids are text, `12:3` inside a subgraph. Nodes keep the file's order, and titles go to `_meta.title`. *now* is
    the local time that stands for `%date:...%` in a file name. `preflight.check` judges the rest: choices, ranges and
    types.

    Raises GraphRefused for a file that cannot be read and if no output has everything that it needs, and MissingClasses
    for classes that the server lacks (all at once).
    """
    reader = WidgetReader(object_info)
    document = with_class_slots(read_document(without_group_nodes(ui, reader.class_of)), reader)
    unfolded = unfold(document)
    live = list(_live(unfolded))
    draft = _Draft(unfolded, reader, Replacements(document, unfolded, reader, now))
    for place, node in live:
        its_class = reader.class_of(node)
        if its_class is not None:
            draft.add(place, node, its_class)
        elif is_linked(place, node):
            draft.add_unknown(place, node)
    idle = refuse_missing(live, object_info, draft.graph)
    graph, broken = without_broken(draft.graph, draft.broken, object_info)
    return Converted(graph, (*idle, *draft.warnings, *broken))


def _live(unfolded: Unfolded) -> Iterator[tuple[SubgraphPath, UiNode]]:
    for place, node in unfolded.nodes:
        if node.is_live and node.type not in FRONTEND_ONLY:
            yield place, node


@dataclass(slots=True)
class _Draft:
    """Hold the graph while it grows. `broken` are nodes that lack required inputs, with the reasons."""

    unfolded: Unfolded
    reader: WidgetReader
    replaced: Replacements
    warnings: list[str] = field(default_factory=list)
    graph: Graph = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: SubgraphPath, node: UiNode, its_class: NodeClass) -> None:
        """Add one node with its inputs, and say what is odd about it."""
        key, own = place.id_of(node), self.reader.values_of(node)
        sources = self._sources(place, node)
        linked = {name: value for name, source in sources.items() if (value := self._sent(source)) is not None}
        set_values = {name: source.value for name, source in sources.items() if isinstance(source, SetValue)}
        held = after_setting(own.values, set_values, its_class)
        written = {name: value for name, value in held.items() if name not in linked}
        prompts = {
            name: sent_prompt(value)
            for name, value in written.items()
            if isinstance(value, str) and _is_dynamic(name, its_class)
        }
        values = {name: self._read(name, value, prompts.get(name)) for name, value in written.items()}
        inputs = {name: _typed(name, _wrapped(value), its_class) for name, value in values.items()} | linked
        self.graph[key] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": self.reader.title_of(node)}}
        remarks = [
            *own.remarks(frozenset(linked | set_values)),
            *_begun_anew(own.values, held, set_values),
            *(text for name, prompt in prompts.items() for text in _dynamic(name, written[name], prompt)),
            *_cut_off(its_class, sources),
        ]
        self.warnings += [f"node {key} ({node.type}): {text}" for text in remarks]
        reasons = list(lacking(its_class, inputs, sources))
        if reasons:
            self.broken[key] = reasons

    def add_unknown(self, place: SubgraphPath, node: UiNode) -> None:
        """Add a node of unknown class with its links. What its own values mean is not known."""
        found = self._sources(place, node).items()
        inputs = {name: [source.node, source.slot] for name, source in found if isinstance(source, LinkSource)}
        self.graph[place.id_of(node)] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title}}

    def _sources(self, place: SubgraphPath, node: UiNode) -> dict[str, Source]:
        """Return what feeds each input of *node*, by the input's name."""
        return {
            slot.widget or slot.name: source_of(self.unfolded, place, node, at) for at, slot in enumerate(node.inputs)
        }

    def _sent(self, source: Source) -> Any:
        """Return what *source* puts into an input, or None if it feeds nothing."""
        if isinstance(source, LinkSource):
            return [source.node, source.slot]
        if isinstance(source, OwnValue):
            return _wrapped(self.reader.values_of(source.node).values.get(source.widget))
        return _wrapped(source.value) if isinstance(source, Value) else None

    def _read(self, name: str, value: Any, prompt: Prompt | None) -> Any:
        """Return what the browser sends for a value of a node's own widget. *prompt* is the value of a dynamic one."""
        if prompt is not None:
            return prompt.text
        return self.replaced(value) if name == _PREFIX and isinstance(value, str) else value


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


def _begun_anew(own: Mapping[str, Any], held: Mapping[str, Any], set_values: Mapping[str, Any]) -> Iterator[str]:
    """Report what a node loses because a primitive sets one of its choices."""
    for name in set_values:
        lost = [key for key in own if key.startswith(f"{name}.") and own[key] != held.get(key)]
        if lost:
            yield f"a primitive sets {name}, so what is inside it has its default, as in the browser: {', '.join(lost)}"


def _is_dynamic(name: str, its_class: NodeClass) -> bool:
    return name in its_class.inputs and bool(its_class.inputs[name].options.get("dynamicPrompts"))


def _dynamic(name: str, value: str, sent: Prompt) -> Iterator[str]:
    """Report what the browser leaves out of a text."""
    if sent.choices is not None:
        yield f"{name} has {shown(sent.choices)}, of which the browser would pick one at random; the first is sent"
    elif sent.text != value:
        yield f"{name} is sent without its comments and braces, as the browser sends it: {shown(sent.text)}"


def _typed(name: str, value: Any, its_class: NodeClass) -> Any:
    """Add the type to the points of a curve, as the browser does."""
    is_curve = name in its_class.inputs and its_class.inputs[name].type == _CURVE
    return {"__type__": _CURVE, **value} if is_curve and isinstance(value, dict) and "__value__" in value else value


def _wrapped(value: Any) -> Any:
    return {"__value__": list(value)} if isinstance(value, list | tuple) else value
