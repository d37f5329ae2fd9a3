"""Check a graph against the server's current node classes before it is queued."""

from __future__ import annotations

from collections.abc import Collection

from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.preflight import Preflight, check
from wanworker.comfyui.graph.problems import as_error


async def validate(client: ComfyClient, graph: Graph, sent: Collection[str] = ()) -> Preflight:
    """
    Return the preflight of *graph*, without problems. Queue its `graph`, and pass its `remarks` and what it has
    `left_out` on to the caller. *sent* are the names of files that are uploaded before the graph runs.

    If the cached classes show problems, the server is asked again, because a model may have been added. Raises
    EngineUnavailable, and ModelNotFound or GraphRefused with every problem.
    """
    names = {str(body["class_type"]) for body in graph.values()}
    found = check(graph, await client.node_classes(names), sent)
    if found.problems or found.left_out:
        client.drop_object_info()
        # All classes are needed: for names like an unknown one, and to name nodes that save.
        found = check(graph, await client.object_info(), sent)
    if found.problems:
        raise as_error(found.problems, models_place=client.models_place)
    return found
