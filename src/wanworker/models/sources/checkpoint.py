"""
Read how a checkpoint is stored, from the headers of its safetensors files. Loads no torch.

ComfyUI's files have up to three additions to a layer's weight and bias (comfy/utils.py `convert_old_quants`,
comfy/ops.py `_load_quantized_module`, ComfyUI 0.10):

- old: one key `scaled_fp8` (two elements mean that matrices are multiplied in full precision), and for each layer
  `scale_weight` and perhaps `scale_input`;
- new: for each layer `comfy_quant`, a JSON text as bytes, `weight_scale` and perhaps `input_scale`;
- the same JSON for all layers in the file's metadata, `_quantization_metadata`.

Float8 without any of these is a plain cast. What is stored in another way is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from wanworker.models.files.safetensors import BrokenSafetensors, data_start, read_header

#: What changes when a file of a checkpoint is written or replaced: its path, time in ns, bytes and number on the disk.
Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]

FLOAT8 = frozenset({"F8_E4M3", "F8_E5M2"})
_NUMBERS = FLOAT8 | {"F16", "BF16", "F32", "F64"}
_FORMATS = frozenset({"float8_e4m3fn", "float8_e5m2"})

#: torch._scaled_mm multiplies matrices whose sides are multiples of this.
FLOAT8_SIDE = 16

#: diffusers' and upstream's name of a model's file, and transformers'.
_STEMS = ("diffusion_pytorch_model", "model")

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.")
_MARKER = "scaled_fp8"
_CONFIG = "comfy_quant"
_WEIGHT_SCALES = ("weight_scale", "scale_weight")

#: Scales of the activations are for multiplying in float8; dequantised weights need none.
_BESIDE = frozenset({*_WEIGHT_SCALES, "scale_input", "input_scale", _CONFIG})
TOKENIZER_MODEL = "spiece_model"

_IN_A_BLOCK = re.compile(r"(?:^|\.)blocks?\.\d+\.")

#: A JSON text of a layer is some dozen bytes; more is none.
_MAX_CONFIG_BYTES = 10_000


class CannotLoad(ValueError):
    """The checkpoint cannot be loaded right; the text names the file and says why."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where the bytes of one tensor lie: from byte *start* of *file*; *dtype* in safetensors' words."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def read(self) -> bytes:
        """Read its bytes; for the small ones."""
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(self.size_bytes)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    The tensors of one model by name, without prefix and without what only describes their storage.

    `scales` has the scale of each layer that has one, by the layer's name; `full_precision` names the layers that must
    not be multiplied in float8. `tokenizer` is a SentencePiece model that is stored as a tensor.
    """

    path: Path
    tensors: Mapping[str, StoredTensor]
    scales: Mapping[str, StoredTensor] = field(default_factory=dict)
    full_precision: frozenset[str] = frozenset()
    tokenizer: StoredTensor | None = None

    @property
    def form(self) -> str:
        """The form in words: `fp8_scaled`, `fp8`, `bf16`, `fp16` or `fp32`, by the largest share of the bytes."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors.values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size_bytes
        dtype = max(sizes, key=lambda name: sizes[name], default="F32")
        if dtype in FLOAT8:
            return "fp8_scaled" if self.scales else "fp8"
        return {"BF16": "bf16", "F16": "fp16"}.get(dtype, "fp32")

    @property
    def multiplies_float8(self) -> bool:
        """
        Say whether a matrix of it can be multiplied in float8 as it is, as weights/_fp8.py of the resident child does.

        That takes one scale for the whole tensor, or none, and sides that the kernel takes; the file may forbid it.
        """
        return any(
            stays_float8(name, tensor) and tensor.dtype == "F8_E4M3" and self._is_multiplied(name, tensor)
            for name, tensor in self.tensors.items()
        )

    def _is_multiplied(self, name: str, tensor: StoredTensor) -> bool:
        layer = name.removesuffix(".weight")
        scale = self.scales.get(layer)
        has_one_scale = scale is None or scale.numbers == 1
        fits = all(side % FLOAT8_SIDE == 0 for side in tensor.shape)
        return has_one_scale and fits and layer not in self.full_precision


def read_checkpoint(path: Path) -> Checkpoint:
    """
    Return what the safetensors file or folder at *path* has, from its headers.

    Raises CannotLoad where a format is not read here, a scale is missing, or a file is missing or damaged.
    """
    stored: dict[str, StoredTensor] = {}
    metadata: dict[str, Any] = {}
    for file in _checkpoint_files(path):
        metadata |= _add(file, stored)
    return describe(path, stored, metadata)


def _checkpoint_files(path: Path) -> tuple[Path, ...]:
    """Return the files that the checkpoint at *path* consists of; of a folder, what its index says or its one file."""
    if not path.is_dir():
        return (path,)
    for stem in _STEMS:
        index = path / f"{stem}.safetensors.index.json"
        if index.is_file():
            shards = _json(path, index.read_bytes()).get("weight_map")
            if isinstance(shards, dict) and shards:
                return tuple(path / str(name) for name in sorted(set(shards.values())))
        if (path / f"{stem}.safetensors").exists():
            return (path / f"{stem}.safetensors",)
    return (path / f"{_STEMS[0]}.safetensors",)


def describe(path: Path, stored: Mapping[str, StoredTensor], metadata: Mapping[str, Any]) -> Checkpoint:
    """Tell the tensors of *stored* (key -> tensor) from what describes their storage. Raises CannotLoad."""
    prefix = next((known for known in _PREFIXES if any(key.startswith(known) for key in stored)), "")
    names = {key.removeprefix(prefix): tensor for key, tensor in stored.items()}
    if len(names) < len(stored):
        raise CannotLoad(f"{path.name}: two keys differ by the prefix {prefix!r} alone")
    marker = names.pop(_MARKER, None)
    tokenizer = names.pop(TOKENIZER_MODEL, None)
    layers = _layers(names)
    configs = _configs(path, names, metadata, prefix)
    for layer, parts in layers.items():
        _check_layer(path, layer, parts, configs.get(layer), is_scaled=marker is not None)
    if left := sorted(configs.keys() - layers.keys()):
        raise CannotLoad(f"{path.name}: a quantisation is declared for {left[0]}, which is not there")
    everything = marker is not None and marker.numbers == 2
    return Checkpoint(
        path,
        {name: tensor for name, tensor in names.items() if name.rpartition(".")[2] not in _BESIDE},
        {layer: scale for layer, parts in layers.items() if (scale := _scale_of(parts))},
        frozenset(
            layer
            for layer in layers
            if everything or (configs.get(layer) or {}).get("full_precision_matrix_mult") is True
        ),
        tokenizer,
    )


def stamp_of(path: Path) -> Stamp:
    """Return what changes when a file of the checkpoint, or what describes it beside it, is written or replaced."""
    stamps = []
    beside = sorted(path.glob("*.json")) if path.is_dir() else [path.with_suffix(".json")]
    try:
        files = _checkpoint_files(path)
    except (CannotLoad, OSError):  # its index is damaged
        files = ()
    for file in (*files, *beside):
        try:
            facts = file.stat()
        except OSError:
            continue
        stamps.append((str(file), facts.st_mtime_ns, facts.st_size, facts.st_ino))
    return tuple(stamps)


def stays_float8(name: str, tensor: StoredTensor) -> bool:
    """
    Say whether a tensor of this name may stay in float8 once loaded: the matrices of the blocks.

    They are 98 % of the bytes; the rest (embeddings, the head) is few bytes and worth its precision.
    """
    return tensor.dtype in FLOAT8 and len(tensor.shape) == 2 and _IN_A_BLOCK.search(name) is not None


def _add(file: Path, stored: dict[str, StoredTensor]) -> dict[str, Any]:
    """Add the tensors of *file*; return its metadata."""
    try:
        header = read_header(file)
        start = data_start(file)
    except BrokenSafetensors as error:
        raise CannotLoad(f"{file.name} is damaged: {error}") from error
    except FileNotFoundError as error:
        raise CannotLoad(f"{file.name} is missing") from error
    except OSError as error:
        raise CannotLoad(f"{file.name} cannot be read: {error.strerror}") from error
    metadata = header.pop("__metadata__", None)
    for key, entry in header.items():
        begin, end = entry["data_offsets"]
        stored[key] = StoredTensor(
            file, str(entry.get("dtype")), tuple(entry.get("shape", ())), start + begin, end - begin
        )
    return metadata if isinstance(metadata, dict) else {}


def _layers(names: Mapping[str, StoredTensor]) -> dict[str, dict[str, StoredTensor]]:
    """Return layer -> the last words of its keys -> tensor."""
    layers: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in names.items():
        layer, _, part = name.rpartition(".")
        layers.setdefault(layer, {})[part] = tensor
    return layers


def _configs(
    path: Path, names: Mapping[str, StoredTensor], metadata: Mapping[str, Any], prefix: str
) -> dict[str, dict[str, Any]]:
    """Return layer -> how it says that it is quantised."""
    configs: dict[str, dict[str, Any]] = {}
    if text := metadata.get("_quantization_metadata"):
        layers = _json(path, text).get("layers")
        for key, config in (layers if isinstance(layers, dict) else {}).items():
            configs[key.removeprefix(prefix)] = config if isinstance(config, dict) else {}
    for name, tensor in names.items():
        layer, _, part = name.rpartition(".")
        if part == _CONFIG and tensor.size_bytes <= _MAX_CONFIG_BYTES:
            configs[layer] = _json(path, tensor.read())
    return configs


def _json(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CannotLoad(f"{path.name}: its quantisation metadata is not JSON") from error
    return value if isinstance(value, dict) else {}


def _check_layer(
    path: Path, layer: str, parts: Mapping[str, StoredTensor], config: Mapping[str, Any] | None, *, is_scaled: bool
) -> None:
    """Raise CannotLoad where the numbers of *layer* could not be told from what is there."""
    where = f"{path.name}: {layer}"
    if config is not None and config.get("format") not in _FORMATS:
        raise CannotLoad(f"{where} is stored as {config.get('format')!r}; this engine reads fp8, bf16, fp16 and fp32")
    scale = _scale_of(parts)
    weight = parts.get("weight")
    for part, tensor in parts.items():
        if tensor.dtype not in _NUMBERS and part != _CONFIG:
            raise CannotLoad(f"{where}.{part} has numbers of the kind {tensor.dtype} (int8, GGUF, NVFP4 or another)")
    if weight is None:
        if found := sorted(_BESIDE.intersection(parts)):
            raise CannotLoad(f"{where} has {found[0]} and no weight")
        return
    if weight.dtype in FLOAT8 and scale is None and (is_scaled or config is not None):
        raise CannotLoad(f"{where} is float8 in a scaled file and has no scale")
    if weight.dtype not in FLOAT8 and scale is not None and not is_scaled and config is None:
        raise CannotLoad(f"{where} has a scale, its weight is {weight.dtype}, and nothing says what the scale is for")
    if scale is not None and scale.numbers != 1 and scale.shape not in {weight.shape[:1], (*weight.shape[:1], 1)}:
        raise CannotLoad(f"{where} has a scale of shape {list(scale.shape)} for a weight of {list(weight.shape)}")


def _scale_of(parts: Mapping[str, StoredTensor]) -> StoredTensor | None:
    return next((parts[name] for name in _WEIGHT_SCALES if name in parts), None)
