"""
Find slots, links and orphans in ComfyUI graphs in API format, and change values. Pure: a change returns a new graph.

API format is `{node id: {"class_type", "inputs", "_meta"}}`. An input that is a list of two, `[node id, slot]`, is a
link. A list that is meant as a value is written `{"__value__": [...]}`.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.graph._values import check_prefix, sendable_prefix
from wanworker.comfyui.graph.object_info import ObjectInfo
from wanworker.errors import GraphRefused
from wanworker.text.json_text import RepeatedKey, read_json
from wanworker.text.json_words import place_of_non_finite, shown, why_unreadable

#: The keys of objects that people send a graph in, the best first, and how deep they may be nested.
_WRAPPERS = ("output", "prompt", "workflow", "input")
_MOST_WRAPPERS = 5
#: The server's history keeps a prompt as (number, id, graph, extra data, outputs).
_HISTORY_AT = 2

#: The ending by which a node may say that its file is in the input folder (ComfyUI folder_paths.py).
_ANNOTATION = "[input]"

Node = dict[str, Any]
Graph = dict[str, Node]


@dataclass(frozen=True, slots=True)
class Link:
    """Input `input` of `node` takes output number `slot` of `source`."""

    node: str
    input: str
    source: str
    slot: int


def is_ui_format(document: object) -> bool:
    """Say whether *document* is in the browser's own format, with lists `nodes` and `links` instead of node ids."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def is_api_format(document: object) -> bool:
    """Say whether *document* is in API format: an object in which some value has a node's class."""
    return isinstance(document, dict) and any(
        isinstance(body, dict) and "class_type" in body for body in document.values()
    )


def unwrapped(document: object) -> object:
    """
    Return the workflow inside *document*, in API or browser format, or *document* itself if it is not wrapped.

    These wrappers are removed: `{"workflow", "output"}` of the browser's console, the texts "prompt" and "workflow" of
    a picture's metadata, the body of `POST /prompt`, the answer of `/history/<id>` or its entry, and a job's body. If
    both formats are there, the API format is taken, because it needs no conversion. Raises GraphRefused for a wrapper
    whose only content is a damaged JSON text.
    """
    for _ in range(_MOST_WRAPPERS):
        inner = None if is_ui_format(document) else _wrapped(document)
        if inner is None:
            break
        document = inner
    return document


def _wrapped(document: object) -> object:
    """
    Return the content of the wrapper *document*, or None if *document* is a graph. A node may be called "prompt" too.
    """
    if not isinstance(document, dict) or is_api_format(document):
        return None
    found = next(filter(None, (_object_in(document.get(key)) for key in _WRAPPERS)), None) or _entry(document)
    if found is None:
        _refuse_damaged(document)
    return document.get("prompt") if found is None else found


def _entry(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the only entry of an answer of `/history/<id>`."""
    entry = next(iter(document.values())) if len(document) == 1 else None
    return entry if isinstance(entry, dict) and isinstance(entry.get("prompt"), list) else None


def _refuse_damaged(document: Mapping[str, Any]) -> None:
    for key in _WRAPPERS:
        text = document.get(key)
        if not isinstance(text, str) or text.lstrip()[:1] not in {"{", "["}:
            continue
        try:
            read_json(text)
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else why_unreadable(error)
            message = f"A workflow is an object of nodes by id; got text in {key!r} that cannot be read as JSON: {why}."
            raise GraphRefused(message, field="workflow") from error


def _object_in(value: object) -> dict[str, Any] | None:
    """Return *value* if it is an object, or the one in its JSON text or in a tuple of the server's history."""
    try:
        value = read_json(value) if isinstance(value, str) else value
        value = read_json(value) if isinstance(value, str) else value  # it may be encoded twice
    except RepeatedKey as error:
        raise GraphRefused(f"The workflow cannot be read as JSON: {error}.", field="workflow") from error
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and len(value) > _HISTORY_AT:
        value = value[_HISTORY_AT]
    return value if isinstance(value, dict) else None


def read_graph(document: object) -> Graph:
    """
    Return a copy of *document* as a graph, without wrappers (see `unwrapped`).

    Raises GraphRefused for the browser's format, and for a document that is not a graph.
    """
    inner = unwrapped(document)
    if is_ui_format(inner):
        message = "The workflow is in the browser's own format ('nodes' and 'links'), not in API format."
        raise GraphRefused(message, hint="Export it with 'Workflow > Export (API)'.", field="workflow")
    if not isinstance(inner, dict) or not inner:
        raise GraphRefused(f"A workflow is an object of nodes by id; got {shown(inner)}.", field="workflow")
    for node, body in inner.items():
        _check_node(node, body)
    graph = {node: _without_server_note(body) for node, body in inner.items()}
    check_finite(graph)
    return copy.deepcopy(graph)


def _without_server_note(node: dict[str, Any]) -> dict[str, Any]:
    """
    Return *node* without `is_changed` if that is not JSON.

    The server notes there what tells it whether to run the node again, often NaN, and saves it into its pictures.
    """
    if place_of_non_finite(node.get("is_changed")) is None:
        return node
    return {key: value for key, value in node.items() if key != "is_changed"}


def check_finite(workflow: Mapping[str, Any]) -> None:
    """Raise GraphRefused if a number of *workflow*, in API or browser format, is NaN or infinite."""
    if (place := place_of_non_finite(workflow)) is not None:
        message = f"The workflow's {place[:100]} is NaN or infinite; it must be a finite number."
        raise GraphRefused(message, field="workflow")


def _check_node(node: object, body: object) -> None:
    class_type = body.get("class_type") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(class_type, str) or not class_type.strip():
        message = f"Node {str(node)[:40]!r} of the workflow has no class_type; API format is "
        message += '{"1": {"class_type": "...", "inputs": {...}}, ...}.'
        raise GraphRefused(message, field="workflow")
    if not isinstance(body.get("inputs", {}), dict):
        raise GraphRefused(f"Node {str(node)[:40]!r}: inputs must be an object.", field="workflow")
    check_prefix(node, body.get("inputs", {}).get("filename_prefix"))


def copied(graph: Mapping[str, Mapping[str, Any]]) -> Graph:
    """Return a copy of *graph* whose inputs can be set. The values themselves are those of *graph*."""
    return {
        node: {**body, "inputs": dict(inputs_of(body))} if "inputs" in body else dict(body)
        for node, body in graph.items()
    }


def inputs_of(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a node's inputs. A node without inputs may lack the key."""
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def as_link(value: object) -> tuple[str, int] | None:
    """Return (source node, slot) of an input's value that is a link, or None for any other value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
        return value[0], value[1]
    return None


def links(graph: Mapping[str, Mapping[str, Any]]) -> Iterator[Link]:
    """Yield every link of the graph."""
    for node, body in graph.items():
        for name, value in inputs_of(body).items():
            found = as_link(value)
            if found:
                yield Link(node, name, *found)


def titled(graph: Mapping[str, Mapping[str, Any]], title: str) -> tuple[str, ...]:
    """Return the ids of the nodes with this title (`_meta.title`), in the graph's order."""
    return tuple(node for node, body in graph.items() if (body.get("_meta") or {}).get("title") == title)


def with_slot(graph: Graph, title: str, name: str, value: Any) -> Graph:
    """
    Return the graph with input *name* of every node titled *title* set to *value*.

    The other nodes are shared with *graph*, so do not change them in place. Raises GraphRefused if no node has that
    title, or if one of them lacks the input: a parameter must never be silently without effect.
    """
    nodes = titled(graph, title)
    if not nodes:
        known = sorted({str((body.get("_meta") or {}).get("title")) for body in graph.values()} - {"None"})
        raise GraphRefused(f"The graph has no node titled {title!r}; it has: {', '.join(known) or 'no titles'}.")
    changed = dict(graph)  # a graph is filled slot by slot, and copying all nodes each time would take milliseconds
    for node in nodes:
        inputs = inputs_of(graph[node])
        if name not in inputs:
            raise GraphRefused(f"Node {node} ({title!r}) has no input {name!r}.", field=name)
        changed[node] = {**graph[node], "inputs": {**inputs, name: value}}
    return changed


def output_nodes(graph: Mapping[str, Mapping[str, Any]], info: ObjectInfo) -> tuple[str, ...]:
    """Return the ids of the output nodes. The server runs these and the nodes that they need."""
    return tuple(
        node for node, body in graph.items() if info.get(body.get("class_type", ""), {}).get("output_node") is True
    )


def needed(graph: Mapping[str, Mapping[str, Any]], wanted: tuple[str, ...]) -> frozenset[str]:
    """Return *wanted* and every node that they need, following links to existing nodes."""
    sources: dict[str, set[str]] = {}
    for link in links(graph):
        sources.setdefault(link.node, set()).add(link.source)
    found: set[str] = set()
    left = [node for node in wanted if node in graph]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += [source for source in sources.get(node, ()) if source in graph]
    return frozenset(found)


def orphans(graph: Mapping[str, Mapping[str, Any]], info: ObjectInfo) -> tuple[str, ...]:
    """Return the nodes that no output node needs. The server neither runs nor checks them."""
    used = needed(graph, output_nodes(graph, info))
    return tuple(node for node in graph if node not in used)


def with_prefix(graph: Graph, info: ObjectInfo, request_id: str) -> Graph:
    """
    Return the graph with *request_id* in the `filename_prefix` of every output node that has one.

    The caller's folders and name stay: `video/clip` becomes `video/clip_<request id>`. So two runs never share a file.
    A run that the server has in its cache saves again too; otherwise it would only name the old file.
    """
    changed = copied(graph)
    for node, old in _prefixes(graph, info):
        named = isinstance(old, str) and old.strip("/ ")
        prefix = f"{sendable_prefix(old).rstrip('/')}_{request_id}" if named else request_id
        changed[node].setdefault("inputs", {})["filename_prefix"] = prefix
    return changed


def changed_prefixes(graph: Graph, info: ObjectInfo) -> Iterator[str]:
    """Yield a remark for each `filename_prefix` that `with_prefix` changes, or loses: a link's text comes too late."""
    for node, old in _prefixes(graph, info):
        place = f"node {node} ({graph[node]['class_type']}): filename_prefix"
        if (link := as_link(old)) is not None:
            yield f"{place} is the request id, not what node {link[0]} gives, so that no two runs share a file"
        elif isinstance(old, str) and (sent := sendable_prefix(old)) != old:
            yield f"{place} {shown(old)} became {shown(sent)}: the server sends no file with '..' in its name"


def _prefixes(graph: Graph, info: ObjectInfo) -> Iterator[tuple[str, Any]]:
    """Yield each output node whose class has a `filename_prefix`, and what the graph has for it."""
    for node in output_nodes(graph, info):
        classes = info[graph[node]["class_type"]].get("input") or {}
        if any("filename_prefix" in (classes.get(group) or {}) for group in ("required", "optional")):
            yield node, inputs_of(graph[node]).get("filename_prefix")


def with_uploads(graph: Graph, uploaded: Mapping[str, str]) -> tuple[Graph, frozenset[str]]:
    """Return the graph with the server's names in place of the caller's (*uploaded*: his -> its), and those used."""
    changed = copied(graph)
    used: set[str] = set()
    for node, body in graph.items():
        for name, value in inputs_of(body).items():
            sent = upload_name(value) if isinstance(value, str) else ""
            if sent in uploaded:
                changed[node]["inputs"][name] = uploaded[sent]
                used.add(sent)
    return changed, frozenset(used)


def upload_name(value: str) -> str:
    """Return the file of the input folder that a node's *value* names, composed: `in.png` for `in.png [input]`."""
    bare = value.rstrip()
    named = bare.removesuffix(_ANNOTATION).rstrip() if bare.endswith(_ANNOTATION) else value
    return unicodedata.normalize("NFC", named)
