"""The names of one weight in the three worlds: diffusers, and upstream's, which ComfyUI's single files share. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

#: diffusers' name -> Wan's own (wan/modules/model.py), the longest first where one begins another.
_PARTS = (
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("proj_out", "head.head"),
    (".attn1.", ".self_attn."),
    (".attn2.", ".cross_attn."),
    (".to_q", ".q"),
    (".to_k", ".k"),
    (".to_v", ".v"),
    (".to_out.0", ".o"),
    # diffusers counts the norms as the forward pass meets them, Wan gave the cross-attention the last number.
    (".norm2.", ".norm3."),
    (".ffn.net.0.proj", ".ffn.0"),
    (".ffn.net.2", ".ffn.2"),
)
_MODULATION = re.compile(r"(^|\.)scale_shift_table$")

#: What ComfyUI and diffusers both strip from a LoRA's keys.
LORA_PREFIX = "diffusion_model."


def upstream_name(name: str) -> str:
    """Return Wan's own name of the diffusers weight *name*."""
    if name == "scale_shift_table":
        return "head.modulation"
    for ours, theirs in _PARTS:
        name = name.replace(ours, theirs)
    return _MODULATION.sub(r"\1modulation", name)


def upstream_names(weights: Mapping[str, Value]) -> dict[str, Value]:
    """Return *weights* under Wan's own names."""
    return {upstream_name(name): value for name, value in weights.items()}


def lora_name(name: str) -> str:
    """Return the name that lightx2v's LoRA files give peft's *name* (`blocks.0.attn1.to_q.lora_A.weight`)."""
    name = name.replace(".lora_A.", ".lora_down.").replace(".lora_B.", ".lora_up.").replace(".default", "")
    return LORA_PREFIX + upstream_name(name)
