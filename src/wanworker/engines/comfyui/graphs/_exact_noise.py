"""Give a sampler of a graph a schedule that no shift makes: each step's own share of noise. Pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from wanworker.comfyui.graph.api_format import Graph, inputs_of
from wanworker.engines.comfyui.graphs._wiring import next_id, node_titled

#: What SamplerCustom takes over from KSampler under the same names.
_SAME = ("model", "positive", "negative", "latent_image", "cfg")


def with_noise(graph: Graph, title: str, noise: Sequence[float]) -> Graph:
    """
    Return the graph with the KSampler *title* as a SamplerCustom that has these shares of *noise* before its steps.

    Its title and its id stay, so that its steps are counted as before; ManualSigmas writes the schedule, whose end
    is 0.
    """
    node = node_titled(graph, title)
    before = inputs_of(graph[node])
    chooser = next_id(graph)
    schedule = str(int(chooser) + 1)
    inputs = {name: before[name] for name in _SAME} | {
        "add_noise": True, "noise_seed": before["seed"], "sampler": [chooser, 0], "sigmas": [schedule, 0],
    }  # fmt: skip
    sigmas = ", ".join(f"{share:g}" for share in (*noise, 0.0))
    return {
        **copy.deepcopy(graph),
        node: {"class_type": "SamplerCustom", "inputs": inputs, "_meta": {"title": title}},
        chooser: _node("KSamplerSelect", f"Solver of {title}", sampler_name=before["sampler_name"]),
        schedule: _node("ManualSigmas", f"Schedule of {title}", sigmas=sigmas),
    }


def _node(class_type: str, title: str, **inputs: str) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}
