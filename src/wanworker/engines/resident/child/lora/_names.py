"""Spell the layers of Wan's transformer as LoRA files do, and split the keys of such files. Pure; loads no torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

#: What a tensor is to its layer: factors of a low rank, of a Kronecker product, or a difference as it is.
Part = Literal[
    "down", "up", "up_bias", "alpha", "dora", "diff", "diff_b", "diff_m",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b",
]  # fmt: skip

#: Leading parts of a key that name the model and no layer of it, in any order: `base_model.model.`, `pipe.dit.`.
_PREFIXES = frozenset({"model", "diffusion_model", "base_model", "transformer", "pipe", "dit", "unet", "module"})
_FLAT_PREFIXES = ("lora_unet_", "lora_transformer_", "lycoris_")

#: An adapter's own name may stand before the end: `lora_A.default.weight`.
_ADAPTER = r"(?:\.(?!weight$|bias$)[\w-]+)?"
_WEIGHT = rf"(?:{_ADAPTER}\.weight)?$"
_DOWN = r"(?:\.lora_down|\.lora_A|\.lora\.down|_lora\.down|\.lora_linear_layer\.down)"
_UP = r"(?:\.lora_up|\.lora_B|\.lora\.up|_lora\.up|\.lora_linear_layer\.up)"
_ENDINGS: tuple[tuple[Part, re.Pattern[str]], ...] = (
    ("up_bias", re.compile(rf"{_UP}{_ADAPTER}\.bias$")),
    ("down", re.compile(_DOWN + _WEIGHT)),
    ("up", re.compile(_UP + _WEIGHT)),
    ("dora", re.compile(r"\.(?:dora_scale$|lora_magnitude_vector" + _WEIGHT + ")")),
    ("alpha", re.compile(r"\.alpha$")),
    ("diff_b", re.compile(r"\.diff_b$")),
    ("diff_m", re.compile(r"\.diff_m$")),
    ("diff", re.compile(r"\.diff$")),
    ("lokr_w1_a", re.compile(r"\.lokr_w1_a$")),
    ("lokr_w1_b", re.compile(r"\.lokr_w1_b$")),
    ("lokr_w2_a", re.compile(r"\.lokr_w2_a$")),
    ("lokr_w2_b", re.compile(r"\.lokr_w2_b$")),
    ("lokr_w1", re.compile(r"\.lokr_w1$")),
    ("lokr_w2", re.compile(r"\.lokr_w2$")),
)

#: diffusers' name of a layer -> upstream's, inside a block and outside of the blocks.
_IN_BLOCK = {
    **{f"attn1.{ours}": f"self_attn.{theirs}" for ours, theirs in (
        ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"), ("norm_q", "norm_q"), ("norm_k", "norm_k"),
    )},
    **{f"attn2.{ours}": f"cross_attn.{theirs}" for ours, theirs in (
        ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"), ("norm_q", "norm_q"), ("norm_k", "norm_k"),
        ("add_k_proj", "k_img"), ("add_v_proj", "v_img"), ("norm_added_k", "norm_k_img"),
    )},
    "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2", "norm2": "norm3", "scale_shift_table": "modulation",
}  # fmt: skip
_OUTSIDE = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "proj_out": "head.head",
    "scale_shift_table": "head.modulation",
}
_BLOCK = re.compile(r"(blocks\.\d+)\.(.+)")

#: Layers for the picture encoder of Wan 2.1, which no Wan 2.2 model has; LoRAs of 2.1 are used with 2.2 all the same.
_PICTURE_ENCODER = re.compile(
    r"(?:^|[._])(?:k_img|v_img|norm_k_img|img_emb|add_k_proj|add_v_proj|norm_added_k|image_embedder)(?:[._]|$)"
)


@dataclass(frozen=True, slots=True)
class Sorted:
    """
    The keys of a file: layer -> part -> key for those that have a layer, and the others.

    `left_out` are for layers that no Wan 2.2 model has, `unknown` for nothing that is known here.
    """

    layers: Mapping[str, Mapping[Part, str]]
    left_out: tuple[str, ...]
    unknown: tuple[str, ...]


def spellings(layers: Iterable[str]) -> dict[str, str]:
    """Return every spelling of these *layers* (diffusers' names, modules and bare parameters) -> its diffusers name."""
    known: dict[str, str] = {}
    for layer in layers:
        for name in (layer, _upstreams(layer)):
            known |= {name: layer, name.replace(".", "_"): layer}
    return known


def sorted_keys(keys: Iterable[str], known: Mapping[str, str]) -> Sorted:
    """Sort *keys* of a file by the layers that *known* spells (see `spellings`)."""
    layers: dict[str, dict[Part, str]] = {}
    left_out: list[str] = []
    unknown: list[str] = []
    for key in keys:
        base, part = _split(key)
        layer = known.get(base)
        if part is not None and layer is not None and part not in layers.get(layer, {}):
            layers.setdefault(layer, {})[part] = key
        elif part is not None and layer is None and _PICTURE_ENCODER.search(base):
            left_out.append(key)
        else:
            unknown.append(key)
    return Sorted(layers, tuple(left_out), tuple(unknown))


def _upstreams(layer: str) -> str:
    if block := _BLOCK.fullmatch(layer):
        return f"{block[1]}.{_IN_BLOCK.get(block[2], block[2])}"
    return _OUTSIDE.get(layer, layer)


def _split(key: str) -> tuple[str, Part | None]:
    """Return the layer that *key* spells, without what leads to it, and what the tensor is to it."""
    for part, ending in _ENDINGS:
        if match := ending.search(key):
            base = _without_prefix(key[: match.start()])
            # LightX2V writes the difference of `blocks.0.modulation` as `blocks.0.diff_m`.
            return (f"{base}.modulation" if part == "diff_m" else base), part
    return _without_prefix(key), None


def _without_prefix(base: str) -> str:
    for prefix in _FLAT_PREFIXES:
        if base.startswith(prefix):
            return base.removeprefix(prefix)
    parts = base.split(".")
    return ".".join(itertools.dropwhile(lambda part: part in _PREFIXES, parts))
