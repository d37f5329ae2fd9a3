"""
Enlarge frames with SeedVR2, a diffusion model: the nodes of workflows/finishing/seedvr2.json between two of them. Pure.

To add another model that enlarges, add its file and a row like SEEDVR2.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

from wanworker.comfyui.graph.api_format import Graph, as_link, inputs_of, needed
from wanworker.engines.comfyui.graphs._wiring import next_id, node_titled
from wanworker.engines.comfyui.graphs._workflow import Slot
from wanworker.engines.comfyui.graphs.choice.models import Finder, Weights


@dataclass(frozen=True, slots=True)
class Enlarger:
    """
    Describe the graph of one model that renders larger frames, by the name of its file in workflows/.

    The part that is taken begins behind the node *size*, whose place the frames at their new size take, and ends with
    the node *last*. `slots` and `weights` are as in a Workflow. `factor` is used if a request names the model only.
    """

    name: str
    word: str
    slots: Mapping[str, Slot]
    weights: Mapping[str, Weights]
    factor: int = 2
    size: str = "New size"
    last: str = "Finished frames"

    def is_meant(self, name: str) -> bool:
        """Say whether the name of an upscale model in a request means this model."""
        return self.word in name.lower()

    def is_there(self, finder: Finder) -> bool:
        """Say whether the server has every file that this model needs."""
        return all(finder.family(weights) for weights in self.weights.values())

    def files(self, finder: Finder, name: str | None) -> dict[str, str]:
        """Return slot -> file; *name* chooses the model, unless it is only the word. Raises ModelNotFound."""
        model = self.weights["model"]
        is_chosen = name is not None and name.strip().lower() != self.word
        found = finder.named(model.folder, name) if name and is_chosen else finder.best(model)
        return {"model": found, "vae": finder.best(self.weights["vae"])}


SEEDVR2 = Enlarger(
    "finishing/seedvr2",
    "seedvr2",
    slots={
        "model": Slot("unet_name", ("SeedVR2 model",)),
        "vae": Slot("vae_name", ("SeedVR2 VAE",)),
        "seed": Slot("seed", ("SeedVR2 sampler",)),
    },
    weights={
        "model": Weights("diffusion_models", "seedvr2_3b_int8_convrot.safetensors", ("seedvr2",)),
        "vae": Weights("vae", "seedvr2_ema_vae_fp16.safetensors", ("seedvr2", "vae")),
    },
)


def with_part(graph: Graph, row: Enlarger, own: Graph, frames: str, values: Mapping[str, object]) -> tuple[Graph, str]:
    """
    Return *graph* with the part of *own*, the graph of *row*, and the id of the node that gives the finished frames.

    The part takes the first output of the node *frames*. *values* are those of its slots.
    """
    size = node_titled(own, row.size)
    taken = needed(own, (node_titled(own, row.last),)) - needed(own, (size,))
    first = int(next_id(graph))
    ids = {node: str(first + at) for at, node in enumerate(node for node in own if node in taken)} | {size: frames}
    changed = copy.deepcopy(graph)
    for node in taken:
        body = copy.deepcopy(own[node])
        linked = {name: link for name, value in inputs_of(body).items() if (link := as_link(value))}
        body["inputs"].update({name: [ids[source], slot] for name, (source, slot) in linked.items()})
        changed[ids[node]] = body
    for name, slot in row.slots.items():
        for title in slot.titles:
            changed[node_titled(changed, title)]["inputs"][slot.input] = values[name]
    return changed, ids[node_titled(own, row.last)]
