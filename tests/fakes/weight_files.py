"""
Write models in the layouts that people have: ComfyUI's single files, and upstream's folders.

`write_layouts` takes a folder in diffusers' layout with two experts, and writes its weights below another one in every
layout, with one name for each.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

Style = Literal["plain", "cast", "old", "new", "metadata"]
Tensors = dict[str, Any]

_FP8 = torch.float8_e4m3fn
_HALVES = {"transformer": "high", "transformer_2": "low"}

_TRANSFORMER = (
    (r"^condition_embedder\.time_embedder\.linear_(\d)", lambda m: f"time_embedding.{2 * (int(m[1]) - 1)}"),
    (r"^condition_embedder\.text_embedder\.linear_(\d)", lambda m: f"text_embedding.{2 * (int(m[1]) - 1)}"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^proj_out", "head.head"),
    (r"^scale_shift_table", "head.modulation"),
    (r"scale_shift_table", "modulation"),
    (r"attn1\.", "self_attn."),
    (r"attn2\.", "cross_attn."),
    (r"to_out\.0\.", "o."),
    (r"to_([qkv])\.", r"\1."),
    (r"ffn\.net\.0\.proj", "ffn.0"),
    (r"ffn\.net\.2", "ffn.2"),
    (r"\.norm2\.", ".norm3."),
)
_TEXT = (
    (r"^shared\.", "token_embedding."),
    (r"^encoder\.final_layer_norm", "norm"),
    (r"^encoder\.block", "blocks"),
    (r"layer\.0\.SelfAttention\.relative_attention_bias", "pos_embedding.embedding"),
    (r"layer\.0\.SelfAttention", "attn"),
    (r"layer\.0\.layer_norm", "norm1"),
    (r"layer\.1\.layer_norm", "norm2"),
    (r"layer\.1\.DenseReluDense\.wi_0", "ffn.gate.0"),
    (r"layer\.1\.DenseReluDense\.wi_1", "ffn.fc1"),
    (r"layer\.1\.DenseReluDense\.wo", "ffn.fc2"),
)
_VAE = (
    (r"^post_quant_conv", "conv2"),
    (r"^quant_conv", "conv1"),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"(resnets\.\d+)\.norm1", r"\1.residual.0"),
    (r"(resnets\.\d+)\.conv1", r"\1.residual.2"),
    (r"(resnets\.\d+)\.norm2", r"\1.residual.3"),
    (r"(resnets\.\d+)\.conv2", r"\1.residual.6"),
    (r"(down_blocks\.\d+)\.norm1", r"\1.residual.0"),
    (r"(down_blocks\.\d+)\.conv1", r"\1.residual.2"),
    (r"(down_blocks\.\d+)\.norm2", r"\1.residual.3"),
    (r"(down_blocks\.\d+)\.conv2", r"\1.residual.6"),
    (r"coder\.conv_in", "coder.conv1"),
    (r"coder\.norm_out", "coder.head.0"),
    (r"coder\.conv_out", "coder.head.2"),
    (r"mid_block\.resnets\.(\d)", lambda m: f"middle.{2 * int(m[1])}"),
    (r"mid_block\.attentions\.0", "middle.1"),
)


def upstream_transformer(tensors: Mapping[str, Any]) -> Tensors:
    """Return a transformer's tensors under upstream's names, from diffusers'."""
    return {_renamed(name, _TRANSFORMER): tensor for name, tensor in tensors.items()}


def upstream_text_encoder(tensors: Mapping[str, Any]) -> Tensors:
    """Return a text encoder's tensors under upstream's names, from transformers'."""
    return {_renamed(name, _TEXT): tensor for name, tensor in tensors.items() if "embed_tokens" not in name}


def upstream_vae(tensors: Mapping[str, Any], *, res_blocks: int) -> Tensors:
    """Return a VAE's tensors under upstream's names, from diffusers'; *res_blocks* is its configuration's."""
    is_residual = any(re.search(r"down_blocks\.\d+\.resnets", name) for name in tensors)
    name_of = _residual_vae_name if is_residual else _plain_vae_name
    return {name_of(name, res_blocks): tensor for name, tensor in tensors.items()}


def stored(tensors: Mapping[str, Any], style: Style, *, prefix: str = "", full: bool = False) -> tuple[Tensors, Any]:
    """
    Return the tensors as a file of *style* has them, and its metadata: every matrix in float8, but for `plain`.

    *full* has the file say that its matrices are to be multiplied in full precision.
    """
    made: Tensors = {}
    layers: dict[str, Any] = {}
    config = {"format": "float8_e4m3fn"} | ({"full_precision_matrix_mult": True} if full else {})
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if style == "plain" or part != "weight" or tensor.ndim != 2 or "embed" in layer.split(".")[-1]:
            made[prefix + name] = tensor.contiguous()
        elif style == "cast":
            made[prefix + name] = tensor.to(_FP8)
        else:
            made[prefix + name], scale = quantised(tensor)
            made[f"{prefix}{layer}.{'scale_weight' if style == 'old' else 'weight_scale'}"] = scale
            layers[prefix + layer] = config
    if style == "old":
        made[f"{prefix}scaled_fp8"] = torch.zeros(2 if full else 0, dtype=_FP8)
    if style == "new":
        for layer in layers:
            made[f"{layer}.comfy_quant"] = torch.tensor(list(json.dumps(config).encode()), dtype=torch.uint8)
    metadata = {"_quantization_metadata": json.dumps({"layers": layers})} if style == "metadata" else None
    return made, metadata


def quantised(tensor: Any) -> tuple[Any, Any]:
    """Return the matrix in float8 and its scale, as ComfyUI makes them."""
    scale = (tensor.float().abs().amax() / torch.finfo(_FP8).max).clamp(min=1e-12)
    return (tensor.float() / scale).clamp(-448, 448).to(_FP8), scale


def dequantised(tensors: Mapping[str, Any]) -> Tensors:
    """Return the twin of a file of any style: the numbers that it stands for, in float32, without prefix."""
    names = {name.removeprefix("model.diffusion_model."): tensor for name, tensor in tensors.items()}
    beside = ("scale_weight", "weight_scale", "comfy_quant", "scaled_fp8", "spiece_model")
    made = {}
    for name, tensor in names.items():
        layer, _, part = name.rpartition(".")
        if part not in beside:
            scale = names.get(f"{layer}.scale_weight", names.get(f"{layer}.weight_scale"))
            made[name] = tensor.float() * scale if scale is not None and part == "weight" else tensor.float()
    return made


def sentencepiece_model(pieces: list[tuple[str, float, int]]) -> bytes:
    """Return a SentencePiece model of (text, score, kind), as its protocol buffer has it, without a charsmap."""
    messages = b""
    for text, score, kind in pieces:
        data = text.encode()
        piece = b"\x0a" + _varint(len(data)) + data + b"\x15" + struct.pack("<f", score) + b"\x18" + _varint(kind)
        messages += b"\x0a" + _varint(len(piece)) + piece
    normalizer = b"\x20\x00"  # remove_extra_whitespaces: false
    return messages + b"\x1a" + _varint(len(normalizer)) + normalizer


def folder_tensors(folder: Path) -> Tensors:
    """Return the tensors of a component's folder in diffusers' layout."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def write_layouts(model: Path, folder: Path) -> None:
    """Write the weights of *model* below *folder*: ComfyUI's files in each style, and upstream's folder."""
    for component, half in _HALVES.items():
        tensors = upstream_transformer(folder_tensors(model / component))
        styles: tuple[Style, ...] = ("plain", "cast", "old", "new", "metadata")
        for style in styles:
            path = folder / "diffusion_models" / f"{model.name}_{style}_{half}_noise.safetensors"
            _write(path, *stored(tensors, style, prefix="model.diffusion_model." if style == "new" else ""))
            shutil.copyfile(model / component / "config.json", path.with_suffix(".json"))
        half_path = folder / "diffusion_models" / f"{model.name}_bf16_{half}_noise.safetensors"
        _write(half_path, {name: tensor.bfloat16() for name, tensor in tensors.items()}, None)
        shutil.copyfile(model / component / "config.json", half_path.with_suffix(".json"))
        _write_upstream_expert(tensors, model / component, folder / "Wan2.2-T2V-A14B" / f"{half}_noise_model")
    _write_shared(model, folder)


def _write_shared(model: Path, folder: Path) -> None:
    """Write the text encoder and the VAE once for ComfyUI and once for upstream, and the tokenizer for both."""
    text, vae = folder_tensors(model / "text_encoder"), folder_tensors(model / "vae")
    home = folder / "Wan2.2-T2V-A14B"
    res_blocks = json.loads((model / "vae" / "config.json").read_text())["num_res_blocks"]
    native_vae = upstream_vae(vae, res_blocks=res_blocks)
    _write(folder / "text_encoders" / "umt5_plain.safetensors", *stored(text, "plain"))
    _write(folder / "vae" / "wan_vae.safetensors", native_vae, None)
    torch.save(upstream_text_encoder(text), home / "models_t5_umt5-xxl-enc-bf16.pth")
    torch.save(native_vae, home / "Wan2.1_VAE.pth")
    for component, path in (
        ("text_encoder", folder / "text_encoders" / "umt5_plain.json"),
        ("text_encoder", home / "models_t5_umt5-xxl-enc-bf16.json"),
        ("vae", folder / "vae" / "wan_vae.json"),
        ("vae", home / "Wan2.1_VAE.json"),
    ):
        shutil.copyfile(model / component / "config.json", path)
    shutil.copytree(model / "tokenizer", home / "google" / "umt5-xxl")


def _write_upstream_expert(tensors: Tensors, component: Path, folder: Path) -> None:
    """Write two shards with an index and upstream's own config.json."""
    own = json.loads((component / "config.json").read_text())
    names = sorted(tensors)
    weight_map = {}
    for number, half in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        shard = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        _write(folder / shard, {name: tensors[name].float() for name in half}, None)
        weight_map |= dict.fromkeys(half, shard)
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    heads = own["num_attention_heads"]
    config = {"_class_name": "WanModel", "model_type": "t2v", "num_heads": heads, "in_dim": own["in_channels"]}
    (folder / "config.json").write_text(json.dumps(config))


def _write(path: Path, tensors: Tensors, metadata: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def _residual_vae_name(name: str, res_blocks: int) -> str:
    """Wan 2.2: stages in both halves, and what changes the size is the last part of a stage."""
    name = _renamed(name, _VAE)
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"downsamples.\1.downsamples.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsampler\.", rf"downsamples.\1.downsamples.{res_blocks}.", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.", r"upsamples.\1.upsamples.", name)
    return re.sub(r"up_blocks\.(\d+)\.upsampler\.", rf"upsamples.\1.upsamples.{res_blocks + 1}.", name)


def _plain_vae_name(name: str, res_blocks: int) -> str:
    """Wan 2.1: one list in each half."""
    stage = res_blocks + 2

    def flat(match: re.Match[str]) -> str:
        part = int(match[3]) if match[2] == "resnets" else stage - 1
        return f"decoder.upsamples.{int(match[1]) * stage + part}."

    name = _renamed(name, _VAE).replace("encoder.down_blocks.", "encoder.downsamples.")
    return re.sub(r"^decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.", flat, name)


def _renamed(name: str, words: Any) -> str:
    for pattern, new in words:
        name = re.sub(pattern, new, name)
    return name


def _varint(value: int) -> bytes:
    made = b""
    while True:
        value, low = value >> 7, value & 127
        made += bytes([low | (128 if value else 0)])
        if not value:
            return made
