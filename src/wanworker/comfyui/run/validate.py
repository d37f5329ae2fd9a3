"""Check a graph against the server's current node classes before it is queued."""

from __future__ import annotations

from collections.abc import Collection

from wanworker.comfyui.client.http import ComfyClient, FoundGood
from wanworker.comfyui.graph.api_format import Graph, copied
from wanworker.comfyui.graph.preflight import Preflight, check
from wanworker.comfyui.graph.problems import as_error


async def validate(client: ComfyClient, graph: Graph, sent: Collection[str] = ()) -> Preflight:
    """
    Return the preflight of *graph*, without problems. Queue its `graph`, and pass its `remarks` and what it has
    `left_out` on to the caller. *sent* are the names of files that are uploaded before the graph runs.

    If the cached classes show problems, the server is asked again, because a model may have been added. A graph that
    was found good with the same classes is not checked again: a job is checked when it arrives and when it runs. It
    gets the remarks that another check would give it.

    Raises EngineUnavailable, and ModelNotFound or GraphRefused with every problem.
    """
    classes = await client.node_classes({str(body["class_type"]) for body in graph.values()})
    if (good := client.found_good) and good.classes == classes and _is_same(good.graph, graph):
        return Preflight(graph, (), good.remarks, lasting=good.remarks)
    found = check(graph, classes, sent)
    if found.problems or found.left_out:
        client.drop_object_info()
        # All classes are needed: for names like an unknown one, and to name nodes that save.
        found = check(graph, await client.object_info(), sent)
    if found.problems:
        raise as_error(found.problems, models_place=client.models_place)
    if not found.left_out and not sent:
        # What was changed is remarked of the graph as it was sent, which is another one.
        client.found_good = FoundGood(copied(found.graph), classes, found.lasting)
    return found


def _is_same(left: object, right: object) -> bool:
    """Say whether two JSON values are the same to the server. For `==`, true is 1 and 1 is 1.0."""
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs += [(one[key], other[key]) for key in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif one != other:
            return False
    return True
