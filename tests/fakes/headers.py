"""Write safetensors files by their headers: true names and shapes, and a hole where the numbers would be."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BYTES = {"F8_E4M3": 1, "F8_E5M2": 1, "U8": 1, "I8": 1, "F16": 2, "BF16": 2, "F32": 4}

#: Name -> (dtype, shape), and perhaps the bytes.
Described = dict[str, tuple[Any, ...]]


def write_header(path: Path, tensors: Mapping[str, tuple[Any, ...]], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a whole file of *tensors*; those without bytes are zeros that take no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape, *_) in tensors.items():
        begin, end = end, end + math.prod(shape) * _BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, (_, _, *data) in tensors.items():
            if data:
                file.seek(8 + len(text) + header[name]["data_offsets"][0])
                file.write(data[0])
        file.truncate(8 + len(text) + end)
    return path


def transformer(channels_in: int = 16, channels_out: int = 16, *, dtype: str = "BF16", blocks: int = 2) -> Described:
    """Return a Wan transformer of width 256 with upstream's names."""
    found: Described = {
        "patch_embedding.weight": ("BF16", (256, channels_in, 1, 2, 2)),
        "patch_embedding.bias": ("BF16", (256,)),
        "text_embedding.0.weight": (dtype, (256, 4096)),
        "time_embedding.0.weight": (dtype, (256, 256)),
        "head.head.weight": (dtype, (channels_out * 4, 256)),
        "head.modulation": ("BF16", (1, 2, 256)),
    }
    for block in range(blocks):
        found[f"blocks.{block}.self_attn.q.weight"] = (dtype, (256, 256))
        found[f"blocks.{block}.self_attn.q.bias"] = ("BF16", (256,))
        found[f"blocks.{block}.ffn.0.weight"] = (dtype, (512, 256))
        found[f"blocks.{block}.norm3.weight"] = ("BF16", (256,))
    return found


def scaled(tensors: Described, *, old: bool = True, config: Mapping[str, Any] | None = None) -> Described:
    """Return *tensors* with a scale for each float8 matrix, and the words of the old form or of the new one."""
    found = dict(tensors)
    text = json.dumps(config or {"format": "float8_e4m3fn"}).encode()
    for name, (dtype, *_) in tensors.items():
        layer = name.removesuffix(".weight")
        if not dtype.startswith("F8"):
            continue
        found[f"{layer}.{'scale_weight' if old else 'weight_scale'}"] = ("F32", (), struct.pack("<f", 0.5))
        if not old:
            found[f"{layer}.comfy_quant"] = ("U8", (len(text),), text)
    if old:
        found["scaled_fp8"] = ("F8_E4M3", (0,))
    return found


def text_encoder(*, width: int = 4096, tokenizer: bool = True) -> Described:
    """Return an umt5 with transformers' names, as ComfyUI keeps them."""
    found: Described = {
        "shared.weight": ("F16", (64, width)),
        "encoder.block.0.layer.0.SelfAttention.q.weight": ("F16", (64, width)),
    }
    return found | ({"spiece_model": ("U8", (4,), b"made")} if tokenizer else {})


def vae(channels: int = 16) -> Described:
    """Return a Wan VAE of so many latent channels with upstream's names."""
    return {"encoder.conv1.weight": ("F32", (8, 3, 3, 3, 3)), "conv2.weight": ("F32", (channels, channels, 1, 1, 1))}
