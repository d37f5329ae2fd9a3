"""List what a request may set in a workflow and to which values, with the server's help or without."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import is_ui_format, read_graph
from wanworker.comfyui.graph.object_info import choices_of, read_class
from wanworker.comfyui.graph.slots import Slot, slots_of
from wanworker.comfyui.ui_workflow.convert import api_graph
from wanworker.engines.comfyui.weights import ClassChoices
from wanworker.media.threads import in_thread

#: What the browser draws besides nodes of the server. Their values end up in other nodes.
_DRAWN_ONLY = frozenset({"PrimitiveNode", "Reroute", "Note", "MarkdownNote"})

#: The frontend's numbers for nodes that do not run: muted and bypassed.
_OFF = frozenset({2, 4})

#: The values of the widget that the browser draws behind a seed. The file has them among the values of the node.
_AFTER_SEED = frozenset({"fixed", "increment", "decrement", "randomize"})

_UNSEEN = "Read without the server: slots inside subgraphs and of older files are missing."


class Listed(NamedTuple):
    """Hold a workflow's slots, and a note if there may be more of them."""

    slots: tuple[Slot, ...]
    note: str = ""


async def workflow_slots(client: ComfyClient | None, document: Mapping[str, Any]) -> Listed:
    """
    Return the slots of *document*, in API or browser format. Without *client* they are read from the file alone.

    Raises GraphRefused for a document that is no workflow or that the server cannot run, and EngineUnavailable.
    """
    if is_ui_format(document):
        if client is None:
            return Listed(tuple(_drawn(document)), _UNSEEN)
        info = await client.object_info()
        now = datetime.now()
        # A large workflow takes seconds, and the loop has other jobs.
        return Listed(await in_thread(lambda: slots_of(api_graph(document, info, now=now).graph, info)))
    graph = read_graph(document)
    names = {str(body["class_type"]) for body in graph.values()}
    return Listed(slots_of(graph, await client.node_classes(names) if client else {}))


async def server_choices(client: ComfyClient, names: Collection[str]) -> ClassChoices:
    """
    Return the server's current choices of each class of *names* that has some. Raises EngineUnavailable.

    The server is asked anew: somebody may just have added a model.
    """
    found = await client.node_classes(names, anew=True)
    read = {name: tuple(choices_of(read_class(name, info).inputs.values())) for name, info in found.items()}
    return {name: choices for name, choices in read.items() if choices}


def _drawn(document: Mapping[str, Any]) -> Iterator[Slot]:
    """Yield the unlinked widgets of the nodes on the top sheet, as newer browsers list them among the inputs."""
    subgraphs = {str(each.get("id")) for each in _subgraphs(document)}
    nodes = [node for node in document["nodes"] if isinstance(node, dict) and isinstance(node.get("type"), str)]
    live = [node for node in nodes if node.get("mode") not in _OFF and node["type"] not in _DRAWN_ONLY | subgraphs]
    titles = [_title(node) for node in live]
    for node, title in zip(live, titles, strict=True):
        for drawn, value in _widgets(node):
            name, node_id = drawn["widget"].get("name"), str(node.get("id"))
            if isinstance(name, str) and drawn.get("link") is None:
                kind = drawn.get("type")
                key = f"{title if titles.count(title) == 1 else node_id}.{name}"
                yield Slot(key, title, node_id, name, kind if isinstance(kind, str) else "COMBO", value)


def _subgraphs(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    definitions = document.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _title(node: Mapping[str, Any]) -> str:
    title = node.get("title")
    return title.strip() if isinstance(title, str) and title.strip() else str(node["type"])


def _widgets(node: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield each input that is a widget, with its saved value, or None if the values do not fit the widgets."""
    inputs = node.get("inputs")
    drawn = [each for each in inputs if isinstance(each, dict) and isinstance(each.get("widget"), dict)] if isinstance(
        inputs, list
    ) else []  # fmt: skip
    saved = node.get("widgets_values")
    if isinstance(saved, dict):
        values = [saved.get(each["widget"].get("name")) for each in drawn]
    else:
        values = _without_controls(saved) if isinstance(saved, list) else []
    yield from zip(drawn, values if len(values) == len(drawn) else [None] * len(drawn), strict=True)


def _without_controls(saved: list[Any]) -> list[Any]:
    """Leave out what the browser does with a seed after a run, which is not sent to the server."""
    return [
        value
        for at, value in enumerate(saved)
        if not (at and isinstance(value, str) and value in _AFTER_SEED and isinstance(saved[at - 1], int))
    ]
