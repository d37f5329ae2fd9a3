"""List the capabilities of each engine as data, so that they are known without importing the engine."""

from __future__ import annotations

from wanworker.engines.base import Capabilities
from wanworker.engines.wan_cli.argv import SIZES
from wanworker.spec import TASKS

#: What upstream's own program renders, and what the miniature stands in for. Only ComfyUI has graphs for the others.
_UPSTREAM = frozenset({"t2v-A14B", "i2v-A14B", "ti2v-5B", "s2v-14B", "animate-14B"})

DIFFUSERS = Capabilities(
    tasks=frozenset({"t2v-A14B", "i2v-A14B", "ti2v-5B"}),
    names_models=True,
    negative_prompt=True,
    fps=True,
    lora=True,
    last_image=frozenset({"i2v-A14B"}),
    guidance_per_expert=True,
    profiles=True,
    crf=True,
)

COMFYUI = Capabilities(
    tasks=frozenset(TASKS),
    names_models=True,
    negative_prompt=True,
    fps=True,
    lora=True,
    last_image=frozenset({"i2v-A14B"}),
    guidance_per_expert=True,
    upscale_models=True,
)

WAN_CLI = Capabilities(
    tasks=_UPSTREAM,
    sizes=SIZES,
    prepares_motion=True,
    keeps_picture_aspect=frozenset({"i2v-A14B", "ti2v-5B", "s2v-14B", "animate-14B"}),
)

MINI = Capabilities(
    tasks=_UPSTREAM,
    any_size=True,
    negative_prompt=True,
    fps=True,
    prepares_motion=True,
    lora=True,
    guidance_per_expert=True,
    crf=True,
)

RUNPOD = Capabilities(
    tasks=frozenset(TASKS),
    any_size=True,
    negative_prompt=True,
    fps=True,
    lora=True,
    last_image=frozenset({"i2v-A14B"}),
    guidance_per_expert=True,
    prepares_motion=True,
    profiles=True,
    names_models=True,
    crf=True,
    upscale_models=True,
)
