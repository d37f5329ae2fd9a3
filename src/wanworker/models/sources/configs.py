"""The configurations of the released models, and those that a file brings along. Loads no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wanworker.models.files.weight_index import json_object
from wanworker.models.sources.checkpoint import CannotLoad, Checkpoint

#: google/umt5-xxl, the text encoder of every Wan model.
UMT5_XXL: Mapping[str, Any] = {
    "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip

#: The released VAEs by their latent channels (diffusers' scripts/convert_wan_to_diffusers.py). What is left out is
#: AutoencoderKLWan's default, which is Wan 2.1's.
VAES: Mapping[int, Mapping[str, Any]] = {
    16: {},
    48: {
        "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "in_channels": 12, "out_channels": 12,
        "is_residual": True, "patch_size": 2, "scale_factor_spatial": 16, "scale_factor_temporal": 4,
        "latents_mean": [
            -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
            0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
            -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
            -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
        ],
        "latents_std": [
            0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
            0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
            0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
            0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
        ],
    },
}  # fmt: skip

#: The width of a head in every released model; smaller models say theirs.
_HEAD_DIM = 128
_BLOCK = re.compile(r"blocks\.(\d+)\.")


def own_config(path: Path) -> Mapping[str, Any]:
    """
    Return the configuration that lies with the checkpoint at *path*, empty where there is none.

    It is `config.json` in a folder, and beside a file the JSON file of the same stem, as diffusers and transformers
    write both; another program's JSON of that name has no `_class_name` or `architectures`, and does not count.
    """
    place = path / "config.json" if path.is_dir() else path.with_suffix(".json")
    found = json_object(place)
    return found if {"_class_name", "architectures"} & found.keys() else {}


def transformer_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """
    Return the arguments of WanTransformer3DModel for a checkpoint with upstream's names.

    Raises CannotLoad where blocks are missing or the shapes are no Wan transformer's.
    """
    shape = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    _check_blocks(checkpoint)
    try:
        dim, in_channels, *patch = shape["patch_embedding.weight"]
        head_dim = _head_dim(own_config(checkpoint.path), dim)
        return {
            "patch_size": tuple(patch),
            "num_attention_heads": dim // head_dim,
            "attention_head_dim": head_dim,
            "in_channels": in_channels,
            "out_channels": shape["head.head.weight"][0] // math.prod(patch),
            "text_dim": shape["text_embedding.0.weight"][1],
            "freq_dim": shape["time_embedding.0.weight"][1],
            "ffn_dim": shape["blocks.0.ffn.0.weight"][0],
            "num_layers": len(_blocks(checkpoint)),
            "cross_attn_norm": "blocks.0.norm3.weight" in shape,
            "qk_norm": "rms_norm_across_heads",
        }
    except KeyError as error:
        raise CannotLoad(f"{checkpoint.path.name}: {error.args[0]} is missing") from error
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise CannotLoad(f"{checkpoint.path.name}: a tensor has a shape that no Wan transformer has") from error


def _head_dim(config: Mapping[str, Any], dim: int) -> int:
    """Return the width of a head: as diffusers' configuration says, or upstream's, or as it is in every release."""
    if isinstance(config.get("attention_head_dim"), int):
        return int(config["attention_head_dim"])
    heads = config.get("num_heads") or config.get("num_attention_heads")
    if isinstance(heads, int) and heads and dim % heads == 0:
        return dim // heads
    return _HEAD_DIM if dim % _HEAD_DIM == 0 else dim // 2


def _check_blocks(checkpoint: Checkpoint) -> None:
    found = _blocks(checkpoint)
    if missing := sorted(set(range(max(found, default=0))) - found):
        raise CannotLoad(f"{checkpoint.path.name}: block {missing[0]} is missing")


def _blocks(checkpoint: Checkpoint) -> set[int]:
    return {int(match[1]) for name in checkpoint.tensors if (match := _BLOCK.match(name))}
