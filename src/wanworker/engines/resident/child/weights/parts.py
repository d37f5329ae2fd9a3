"""Load the parts of a pipeline: read all headers first, then all weights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

from wanworker.engines.resident.child._residence import to_host
from wanworker.engines.resident.child.weights._fill import Filling
from wanworker.engines.resident.child.weights._fp8 import multiply_in_float8
from wanworker.engines.resident.child.weights._pickled import read_pickled
from wanworker.engines.resident.child.weights._tokenizer import tokenizer_of
from wanworker.models.sources.checkpoint import CannotLoad, Checkpoint, Stamp, read_checkpoint, stamp_of
from wanworker.models.sources.configs import UMT5_XXL, VAES, own_config, transformer_config
from wanworker.models.sources.names import text_encoder_names, transformer_names, vae_names

#: What is told of each share of a load, so that a job's progress moves and its log does not fill.
_SHARES = 200

_PICKLED = frozenset({".pth", ".pt"})

#: The parts that models of several tasks have in common.
_SHARED = frozenset({"text_encoder", "vae", "tokenizer"})

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the parts go: the device that computes, the dtype it computes in, and those that wait in main memory."""

    device: torch.device
    compute: torch.dtype
    waiting: frozenset[str] = frozenset()


@dataclass(slots=True)
class Kept:
    """The parts of the last model that the next may have too, each with what its files were like."""

    parts: dict[str, tuple[str, Stamp, Any]] = field(default_factory=dict)

    def drop_others(self, paths: Mapping[str, str]) -> None:
        """Let go of what a model of *paths* does not have, or whose files have changed."""
        self.parts = {name: kept for name, kept in self.parts.items() if self._is_same(name, paths.get(name))}

    def get(self, name: str) -> Any:
        """Return the part, None where it has to be loaded."""
        return self.parts[name][2] if name in self.parts else None

    def keep(self, paths: Mapping[str, str], stamps: Mapping[str, Stamp], parts: Mapping[str, Any]) -> None:
        """Keep what another model may have in common with this; *stamps* are those of before it was read."""
        self.parts = {name: (paths[name], stamps[name], parts[name]) for name in _SHARED & paths.keys()}

    def _is_same(self, name: str, path: str | None) -> bool:
        return path is not None and self.parts[name][:2] == (path, stamp_of(Path(path)))


def load_parts(paths: Mapping[str, str], place: Place, kept: Kept, report: Report) -> dict[str, Any]:
    """
    Return the part of each name in *paths*; every byte of it is in memory, on the device or in one block of the host's.

    *report* is told the bytes that are there and those of all. What *kept* has of them is not read again. Raises
    CannotLoad, before a byte of the weights is read where their headers show why, and naming the file.
    """
    stamps = {name: stamp_of(Path(paths[name])) for name in _SHARED & paths.keys()}
    kept.drop_others(paths)
    for name in place.waiting & kept.parts.keys():
        to_host(kept.get(name))  # it may have been on the device, where the new parts want the room
    is_pinned = place.device.type == "cuda"
    fillings = {
        name: _FILLINGS[name](Path(paths[name]), place, is_pinned)
        for name in _FILLINGS
        if name in paths and kept.get(name) is None
    }
    parts = {name: kept.get(name) for name in kept.parts}
    if parts.get("tokenizer") is None:
        parts["tokenizer"] = _tokenizer(Path(paths["tokenizer"]))
    count = _Count(sum(filling.size_bytes for filling in fillings.values()), report)
    for name in list(fillings):
        parts[name] = fillings.pop(name).read(count.add)
        if name not in place.waiting and place.device.type != "cpu":
            parts[name].to(place.device).slab = None  # the host's memory is free for the next
    kept.keep(paths, stamps, parts)
    return parts


def multiply(experts: Iterable[Any], *, in_float8: bool) -> None:
    """Have the float8 layers of *experts* multiply in float8, where their files allow it, or bring them back first."""
    for expert in experts:
        multiply_in_float8(expert, wanted=in_float8)


class _Count:
    """Count the bytes that are read, by any thread, and tell of each share."""

    def __init__(self, size_bytes: int, report: Report) -> None:
        self._size_bytes, self._report = size_bytes, report
        self._done_bytes = self._told_bytes = 0
        self._turn = threading.Lock()

    def add(self, size_bytes: int) -> None:
        with self._turn:
            self._done_bytes += size_bytes
            is_all = self._done_bytes == self._size_bytes
            if is_all or self._done_bytes - self._told_bytes >= self._size_bytes / _SHARES:
                self._told_bytes = self._done_bytes
                self._report(self._done_bytes, self._size_bytes)


def _transformer(path: Path, place: Place, is_pinned: bool) -> Filling:
    checkpoint = _read(path)
    own = "condition_embedder.time_embedder.linear_1.weight" in checkpoint.tensors
    config = dict(own_config(path)) if own else transformer_config(checkpoint)
    with torch.device("meta"):
        model = WanTransformer3DModel.from_config(config)
    # Its numbers are computed, not stored.
    model.rope = type(model.rope)(
        model.config.attention_head_dim, model.config.patch_size, model.config.rope_max_seq_len
    )
    exact = frozenset(model._keep_in_fp32_modules)

    def dtype_of(name: str) -> torch.dtype:
        return torch.float32 if exact.intersection(name.split(".")) else place.compute

    return Filling(model, checkpoint, transformer_names(checkpoint.tensors), dtype_of, is_pinned=is_pinned)


def _text_encoder(path: Path, place: Place, is_pinned: bool) -> Filling:
    checkpoint = _read(path)
    config = UMT5Config.from_dict(dict(own_config(path)) or dict(UMT5_XXL))
    with torch.device("meta"):
        model = UMT5EncoderModel(config)
    model.set_input_embeddings(model.shared)  # one table, whatever the configuration says
    names = text_encoder_names(checkpoint.tensors)
    if (table := "encoder.embed_tokens.weight") in names:  # a second name of it
        names[table] = names.pop("shared.weight", "shared.weight")
    return Filling(model, checkpoint, names, lambda _name: place.compute, is_pinned=is_pinned)


def _vae(path: Path, _place: Place, is_pinned: bool) -> Filling:
    """Wan's VAE loses visible detail in bfloat16; upstream runs it in float32 as well (wan.md 1.8)."""
    checkpoint = _read(path)
    latent = checkpoint.tensors.get("conv2.weight") or checkpoint.tensors.get("post_quant_conv.weight")
    channels = latent.shape[0] if latent is not None else 0
    config = dict(own_config(path)) or VAES.get(channels)
    if config is None:
        raise CannotLoad(f"{path.name}: a VAE of {channels} channels is not Wan's, and no configuration lies beside it")
    with torch.device("meta"):
        model = AutoencoderKLWan.from_config(dict(config))
    return Filling(model, checkpoint, vae_names(checkpoint.tensors), lambda _name: torch.float32, is_pinned=is_pinned)


#: In the order in which they are loaded: what a job needs first, first.
_FILLINGS: Mapping[str, Callable[[Path, Place, bool], Filling]] = {
    "text_encoder": _text_encoder,
    "vae": _vae,
    "transformer": _transformer,
    "transformer_2": _transformer,
}


def _read(path: Path) -> Checkpoint:
    return read_pickled(path) if path.suffix.lower() in _PICKLED else read_checkpoint(path)


def _tokenizer(path: Path) -> Any:
    try:
        if (path / "tokenizer.json").is_file() or (path / "tokenizer_config.json").is_file():
            return AutoTokenizer.from_pretrained(path, local_files_only=True)
        return tokenizer_of(_sentencepiece_model(path))
    except (CannotLoad, MemoryError):
        raise
    except Exception as error:  # transformers lets through whatever a damaged file leads to
        raise CannotLoad(f"{path.name}: the tokenizer in it cannot be used: {error}") from error


def _sentencepiece_model(path: Path) -> bytes:
    """Return the model that lies in the folder *path*, or inside the text encoder's file."""
    if path.is_dir():
        return (path / "spiece.model").read_bytes()
    stored = read_checkpoint(path).tokenizer
    if stored is None:
        raise CannotLoad(f"{path.name}: no tokenizer is in this file")
    return stored.read()
