"""Refuse a workflow whose node classes the server lacks, and name all of them at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.object_info import ObjectInfo, nearest
from wanworker.comfyui.ui_workflow._document import UiNode
from wanworker.comfyui.ui_workflow._subgraphs import SubgraphPath
from wanworker.errors import GraphRefused
from wanworker.text.nearest import likeness

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CORE = "comfy-core"

#: Group nodes are older than subgraphs. Those that are still here could not be replaced (former/group_nodes.py).
_GROUP_NODE = ("workflow>", "workflow/")

#: The least likeness of a class that is suggested. Class names share many words (Load, Image, Video).
_ALIKE = 0.7

#: How many nodes of a missing class, and how many missing classes, a message names.
_MOST_NODES, _MOST_CLASSES = 3, 30


class MissingClasses(GraphRefused):
    """
    The refusal of a workflow whose node classes the server lacks.

    `rest` is all else of it in API format, so that its other problems can be told too. The nodes of those classes are
    in it with their links alone.
    """

    rest: Graph

    def __init__(self, message: str, *, rest: Graph, hint: str) -> None:
        super().__init__(message, hint=hint, field="workflow")
        self.rest = rest


def refuse_missing(live: Sequence[tuple[SubgraphPath, UiNode]], info: ObjectInfo, rest: Graph) -> tuple[str, ...]:
    """
    Return a warning for every node of unknown class without links: a label, or a switch of the browser's.

    Raises MissingClasses with *rest* if any other node has a class that is not in *info*.
    """
    unknown = [(place, node) for place, node in live if node.type not in info]
    idle = [(place, node) for place, node in unknown if not is_linked(place, node)]
    missing = [pair for pair in unknown if pair not in idle]
    if missing:
        raise _refusal(missing, info, rest)
    return tuple(
        f"{_named(place, node)} is left out: the server does not know it, and no link needs it" for place, node in idle
    )


def is_linked(place: SubgraphPath, node: UiNode) -> bool:
    """Say whether a link begins or ends at *node*."""
    return any(node.id in {link.origin, link.target} for link in place.sheet.links.values())


def _refusal(missing: list[tuple[SubgraphPath, UiNode]], info: ObjectInfo, rest: Graph) -> MissingClasses:
    by_class: dict[str, list[tuple[SubgraphPath, UiNode]]] = {}
    for place, node in missing:
        by_class.setdefault(node.type, []).append((place, node))
    lines = [_line(name, nodes, info) for name, nodes in list(by_class.items())[:_MOST_CLASSES]]
    more = f"; and {len(by_class) - _MOST_CLASSES} more" if len(by_class) > _MOST_CLASSES else ""
    count = "a node class" if len(by_class) == 1 else f"{len(by_class)} node classes"
    message = f"The workflow needs {count} that the ComfyUI server does not have: {'; '.join(lines)}{more}."
    return MissingClasses(message, rest=rest, hint=_hint(missing))


def _line(name: str, nodes: list[tuple[SubgraphPath, UiNode]], info: ObjectInfo) -> str:
    places = ", ".join(_named(place, node, with_class=False) for place, node in nodes[:_MOST_NODES])
    more = f" and {len(nodes) - _MOST_NODES} more" if len(nodes) > _MOST_NODES else ""
    if name.startswith(_GROUP_NODE):
        why = "its definition is not in the file or needs node classes that the server lacks"
        return f"{places}{more} is a group node ({name!r}), an old kind, and {why}"
    if _UUID.fullmatch(name):
        return f"{places}{more} is a subgraph whose definition is not in the file"
    near = [other for other in nearest(name, list(info)) if likeness(name, other) >= _ALIKE]
    alike = f"; nearest: {', '.join(map(repr, near))}" if near else ""
    return f"{name!r} ({places}{more}{_origin(nodes[0][1])}{alike})"


def _origin(node: UiNode) -> str:
    """Say which pack the class comes from, if the file says so."""
    pack = node.properties.get("cnr_id") or node.properties.get("aux_id")
    if not isinstance(pack, str):
        return ""
    version = node.properties.get("ver")
    if pack != _CORE:
        return f"; from the pack {pack!r}"
    return f"; part of ComfyUI itself, saved with {version}" if isinstance(version, str) else "; part of ComfyUI itself"


def _named(place: SubgraphPath, node: UiNode, *, with_class: bool = True) -> str:
    name = f"node {place.id_of(node)}"
    name += f" ({node.type})" if with_class else ""
    return f"{name} {node.title!r}" if node.title and node.title != node.type else name


def _hint(missing: list[tuple[SubgraphPath, UiNode]]) -> str:
    types = {node.type for _, node in missing}
    if any(name.startswith(_GROUP_NODE) for name in types):
        return "Open the workflow in ComfyUI, convert its group nodes to subgraphs or nodes, and save it again."
    if any(_UUID.fullmatch(name) for name in types):
        return "Save the whole workflow again in ComfyUI, or export it with 'Workflow > Export (API)'."
    return "Install the custom node packs or a newer ComfyUI, or mute the nodes if the result does not need them."
