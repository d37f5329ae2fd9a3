"""Check a graph against the server's current node classes before it is queued."""

from __future__ import annotations

from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.preflight import Preflight, check
from wanworker.comfyui.graph.problems import as_error


async def validate(client: ComfyClient, graph: Graph) -> Preflight:
    """
    Return the preflight of *graph*, without problems: queue its `graph`, tell the caller its `remarks`.

    What looks wrong by the cached classes is asked again, for a model may have come since. Raises ModelNotFound,
    GraphRefused with every problem, or EngineUnavailable.
    """
    names = {str(body["class_type"]) for body in graph.values()}
    found = check(graph, await client.node_classes(names))
    if found.problems:
        client.drop_object_info()
        # All classes: the nearest names to an unknown one, and which ones save, are among those not in the graph.
        found = check(graph, await client.object_info())
    if found.problems:
        raise as_error(found.problems, models_place=client.models_place)
    return found
