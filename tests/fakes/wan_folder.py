"""Wan folders in diffusers' layout whose weights make no sense: whole by every look at them, and small."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

WEIGHTS = {"transformer": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
TWO_EXPERTS = ("transformer", "transformer_2", "vae", "text_encoder", "tokenizer", "scheduler")
ONE_EXPERT = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")


def safetensors(path: Path, *, numbers: int = 10) -> None:
    """Write a safetensors file with one float32 tensor of *numbers*."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * numbers))


def wan_folder(
    path: Path,
    *,
    kind: str = "WanPipeline",
    components: tuple[str, ...] = TWO_EXPERTS,
    channels: tuple[int, int] = (16, 16),
    **config: Any,
) -> Path:
    """Write a folder as diffusers saves it, its weights without sense."""
    path.mkdir(parents=True)
    index = {name: ["library", "Class"] for name in components} | {"image_encoder": [None, None]}
    (path / "model_index.json").write_text(json.dumps({"_class_name": kind, **index, **config}))
    for name in components:
        (path / name).mkdir()
        (path / name / "config.json").write_text("{}")
        stem = WEIGHTS.get(name.removesuffix("_2"))
        if stem:
            safetensors(path / name / f"{stem}.safetensors")
    for name in {"transformer", "transformer_2"}.intersection(components):
        text = json.dumps({"in_channels": channels[0], "out_channels": channels[1]})
        (path / name / "config.json").write_text(text)
    return path
