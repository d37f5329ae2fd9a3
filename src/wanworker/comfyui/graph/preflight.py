"""
Check a graph against a server's object_info before it is queued. Pure.

The rules are the server's own (ComfyUI execution.py, validate_prompt), so a graph that passes here is accepted
there. Three faults that the server reports without a reason are named: a cycle, a link to a missing node or output, and
an input of a graph that is not an object. Like the server, this checks only the nodes that an output node needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from wanworker.comfyui.graph._values import as_read, check_value
from wanworker.comfyui.graph.api_format import (
    Graph,
    as_link,
    copied,
    inputs_of,
    links,
    needed,
    orphans,
    output_nodes,
    upload_name,
)
from wanworker.comfyui.graph.browser_widgets import is_made_by_the_page
from wanworker.comfyui.graph.object_info import (
    DYNAMIC_COMBO,
    NodeClass,
    NodeInput,
    ObjectInfo,
    expanded,
    is_model_name,
    judged,
    nearest,
    read_class,
    types_fit,
    unknown_inside,
    with_every_choice,
)
from wanworker.comfyui.graph.problems import Problem, no_output, shown, unknown_class
from wanworker.text.weight_names import WeightPaths

#: Of more nodes or inputs than this, the rest is counted.
_MOST_TOLD = 8

#: What the browser of today or of before draws in a node, and writes into the graph for itself alone: buttons, players.
_DRAWN = frozenset({"clear", "control_after_generate", "videopreview", "audioUI", "audio_ui"})
_BUTTONS = ("_", "upload", "choose ")


@dataclass(frozen=True, slots=True)
class Preflight:
    """
    Hold what was found.

    `graph` has missing inputs filled in with their defaults, and weight files under the server's names. `problems` stop
    the graph. `remarks` do not: they tell what was changed, which inputs no class has, and which nodes nothing uses.
    `lasting` are those of them that `graph` would get again, because nothing was changed. `left_out` are the problems
    of output nodes that were removed from `graph`, because others beside them can run.
    """

    graph: Graph
    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]
    left_out: tuple[Problem, ...] = ()
    lasting: tuple[str, ...] = ()


def check(graph: Graph, info: ObjectInfo, sent: Collection[str] = ()) -> Preflight:
    """
    Check *graph*. *info* must have every class of the graph that the server knows; more make better suggestions.

    *sent* are the names of files that come with the graph. A choice that names one of them is valid. Where no node
    saves, every node is checked: one that saves will be added. What a node of unknown class needs is checked too,
    because that node may be one that saves.
    """
    unknown = {node: body["class_type"] for node, body in graph.items() if body["class_type"] not in info}
    outputs = output_nodes(graph, info)
    known = tuple(info)
    stopping = tuple(unknown_class(node, name, known) for node, name in unknown.items())
    if not outputs and not unknown:
        stopping = (no_output(info),)
    used = needed(graph, (*outputs, *unknown)) or frozenset(graph)
    names = dict.fromkeys(body["class_type"] for body in graph.values() if body["class_type"] in info)
    read = {name: read_class(name, info[name]) for name in names}
    classes = {node: read[body["class_type"]] for node, body in graph.items() if node not in unknown}
    live = {node: its_class for node, its_class in classes.items() if node in used}
    complete, moved = _with_the_servers_names(graph, live)
    changes = (*moved, *_fill_in(complete, live), *_read_values(complete, live))
    problems = _faults(used, complete, classes, sent)
    if stopping:
        return Preflight(graph, (*stopping, *problems), ())
    unused = [f"node {node} ({graph[node]['class_type']}) is used by no output node" for node in orphans(graph, info)]
    lasting = (*_unknown_inputs(graph, live, info), *unused)
    remarks = (*changes, *lasting)
    if not problems:
        return Preflight(complete, (), remarks, lasting=lasting)
    # The server judges each output node by itself, and runs the good ones.
    good = [node for node in outputs if not _faults(needed(complete, (node,)), complete, classes, sent)]
    if not good:
        return Preflight(complete, problems, remarks)
    kept = needed(complete, tuple(good))
    return Preflight({node: complete[node] for node in complete if node in kept}, (), remarks, left_out=problems)


def _faults(
    nodes: Collection[str], graph: Graph, classes: Mapping[str, NodeClass], sent: Collection[str]
) -> tuple[Problem, ...]:
    """Return the problems of *nodes*, which are all that some output nodes need."""
    found = [problem for node in classes if node in nodes for problem in _check_node(node, graph, classes)]
    # Loaders without an upload flag (VideoHelperSuite's) list the server's files, and those are not there yet.
    kept = [each for each in found if not (isinstance(each.value, str) and upload_name(each.value) in sent)]
    return (*kept, *_cycle({node: graph[node] for node in graph if node in nodes}))


def _with_the_servers_names(graph: Graph, classes: Mapping[str, NodeClass]) -> tuple[Graph, tuple[str, ...]]:
    """Write weight files as the server does. A graph saved on Windows has backslashes in their paths."""
    changed, remarks = copied(graph), []
    listed: dict[tuple[str, str], WeightPaths] = {}
    for node, its_class in classes.items():
        for name, value in inputs_of(graph[node]).items():
            item = its_class.inputs.get(name)
            if item is None or not item.choices or not isinstance(value, str):
                continue
            place = (its_class.name, name)
            if place not in listed:
                listed[place] = WeightPaths(choice for choice in item.choices if isinstance(choice, str))
            found = listed[place].same(value)
            if len(found) == 1 and found != [value] and is_model_name(found[0]):
                changed[node]["inputs"][name] = found[0]
                remarks.append(f"node {node} ({its_class.name}): {name} {shown(value)} is {found[0]!r} on the server")
    return changed, tuple(remarks)


def _fill_in(graph: Graph, classes: Mapping[str, NodeClass]) -> tuple[str, ...]:
    """Add to *graph* itself the inputs that were left out and have a default; return a remark for each."""
    remarks = []
    for node, its_class in classes.items():
        given = inputs_of(graph[node])
        if "inputs" not in graph[node]:
            given = graph[node]["inputs"] = {}
        for item in expanded(its_class.inputs.values(), given):
            if _must_be_given(item) and item.is_widget and item.name not in given and item.default is not None:
                graph[node]["inputs"][item.name] = item.default
                remarks.append(f"node {node} ({its_class.name}): {item.name} was missing; set to {item.default!r}")
    return tuple(remarks)


def _read_values(graph: Graph, classes: Mapping[str, NodeClass]) -> Iterator[str]:
    """Write values of other types into *graph* itself as they are read; yield a remark for each."""
    for node, its_class in classes.items():
        given = graph[node]["inputs"]
        for item in expanded(its_class.inputs.values(), given):
            value = given.get(item.name)
            if (read := as_read(item, value)) is not value:
                given[item.name] = read
                yield f"node {node} ({its_class.name}): {item.name} {shown(value)} is read as {shown(read)}"


def _unknown_inputs(graph: Graph, classes: Mapping[str, NodeClass], info: ObjectInfo) -> Iterator[str]:
    """Report inputs that the classes do not have. The server does not give their values to the nodes."""
    found = [
        (node, its_class, _unknown_names(inputs_of(graph[node]), its_class, info))
        for node, its_class in classes.items()
    ]
    told = [each for each in found if each[2]]
    for node, its_class, names in told[:_MOST_TOLD]:
        more = f" and {len(names) - _MOST_TOLD:,} more" if len(names) > _MOST_TOLD else ""
        listed = ", ".join(shown(name) for name in names[:_MOST_TOLD]) + more
        own = {item.name: "." in item.name for item in with_every_choice(its_class.inputs.values())}
        alike = dict.fromkeys(near for name in names[:_MOST_TOLD] for near in _like(name, own))
        near = f"; nearest: {', '.join(map(repr, alike))}" if alike else ""
        place = f"node {node} ({its_class.name})"
        yield f"{place}: the server's version of this class does not list the input {listed}{near}"
    if len(told) > _MOST_TOLD:
        yield f"{len(told) - _MOST_TOLD:,} more nodes have inputs that their classes do not list"


def _unknown_names(given: Mapping[str, Any], its_class: NodeClass, info: ObjectInfo) -> list[str]:
    """Return the inputs that *its_class* does not have, or nothing if it may take any name."""
    groups = info[its_class.name].get("input") or {}
    # A pack whose class takes any name lists no optional inputs, but says that there are some.
    is_open = groups.get("optional") == {}
    is_open |= any(item.is_dynamic or item.choices == () for item in its_class.inputs.values())
    known = {*its_class.inputs, *(groups.get("hidden") or {}), *_DRAWN}
    names = [name for name in given if name.partition(".")[0] not in known and not name.startswith(_BUTTONS)]
    return [*([] if is_open else names), *unknown_inside(given, its_class)]


def _like(name: str, own: Mapping[str, bool]) -> tuple[str, ...]:
    return nearest(name, [one for one, is_inside in own.items() if is_inside == ("." in name)], 1)


def _check_node(node: str, graph: Graph, classes: Mapping[str, NodeClass]) -> Iterator[Problem]:
    its_class, given = classes[node], inputs_of(graph[node])
    for item in judged(its_class.inputs.values(), given):
        if item.is_dynamic:
            continue
        if item.name not in given:
            if _must_be_given(item):
                yield _missing(node, its_class, item)
            continue
        value = given[item.name]
        if isinstance(value, list):
            problem = _check_link(item, value, graph, classes)
        elif (item.choices == () and _brings_choices(its_class, given)) or _is_ignored(item, given):
            problem = None
        else:
            problem = check_value(item, value)
        if problem:
            yield _placed(problem, node, its_class.name, item.name)


def _is_ignored(item: NodeInput, given: Mapping[str, Any]) -> bool:
    """
    Say whether a class keeps the choice for old graphs, and this graph has the new one: `format.codec` beside `codec`.

    The server checks neither. Without the new one the node takes the former, and fails late if there is no such choice.
    """
    is_former = item.type == DYNAMIC_COMBO and item.options.get("hidden") is True
    return is_former and any(name.endswith(f".{item.name}") for name in given)


def _must_be_given(item: NodeInput) -> bool:
    """
    Say whether a node cannot run without the input.

    A choice inside another one may be missing: the server does not ask for it, and the class has its own way then.
    SaveVideo takes its former `codec` if `format.codec` is missing.
    """
    return item.required and not (item.type == DYNAMIC_COMBO and "." in item.name)


def _brings_choices(its_class: NodeClass, given: Mapping[str, Any]) -> bool:
    """Say whether the node's author wrote the choices, as in CustomCombo: `option1`, `option2` ..."""
    return any(name not in its_class.inputs and name.startswith("option") for name in given)


def _missing(node: str, its_class: NodeClass, item: NodeInput) -> Problem:
    kind = "any type" if item.type == "*" else f"type {item.type}"
    what = f"a link to an output of {kind}" if not item.is_widget else "a value"
    if is_made_by_the_page(item):
        what = f"a {item.type} value that only an open page of the browser can make"
    some = (item.choices or ())[:3]
    return Problem(f"the required input is missing; it takes {what}", node, its_class.name, item.name, choices=some)


def _check_link(item: NodeInput, value: list[Any], graph: Graph, classes: Mapping[str, NodeClass]) -> Problem | None:
    link = as_link(value)
    if link is None:
        how = 'a link is ["node id", output number], a list value {"__value__": [...]}'
        return Problem(f"{shown(value)} is not a link; {how}")
    source, slot = link
    if source not in graph:
        return Problem(f"linked to node {source!r}, which is not in the graph")
    if source not in classes:  # nobody knows what a node of unknown class gives
        return None
    outputs = classes[source].outputs
    if not 0 <= slot < len(outputs):
        text = f"linked to output {slot} of node {source} ({classes[source].name}), which has {len(outputs)}"
        return Problem(text)
    if not types_fit(outputs[slot], item.type):
        where = f"output {slot} of node {source} ({classes[source].name})"
        return Problem(f"takes {item.type}; linked to {where}, which is {outputs[slot]}")
    return None


def _placed(problem: Problem, node: str, class_type: str, name: str) -> Problem:
    return Problem(problem.text, node, class_type, name, problem.value, problem.choices, problem.missing_model)


def _cycle(graph: Graph) -> list[Problem]:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for link in links(graph):
        if link.source in graph:
            sorter.add(link.node, link.source)
    try:
        sorter.prepare()
    except CycleError as error:
        return [Problem(f"the links make a circle: {' -> '.join(error.args[1])}")]
    return []
