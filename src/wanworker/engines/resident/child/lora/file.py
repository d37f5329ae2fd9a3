"""Read one LoRA file for one model: every key has its place, or the file is refused with the keys that have none."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from wanworker.engines.resident.child.lora._changes import (
    BESIDE,
    Bias,
    Change,
    Difference,
    Kronecker,
    LowRank,
    Magnitudes,
    Substitute,
    beside,
    drop,
)
from wanworker.engines.resident.child.lora._names import Part, sorted_keys, spellings
from wanworker.errors import InvalidRequest

_MOST_NAMED = 4
_KRONECKER: tuple[Part, ...] = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
_FACTORS: frozenset[Part] = frozenset(("down", "up", *_KRONECKER))


@dataclass(frozen=True, slots=True)
class LoraChanges:
    """
    What a file changes of a model, by diffusers' name of the layer, and what is to be said of it.

    Nothing hangs in the model before `attach`.
    """

    layers: Mapping[str, tuple[Change, ...]]
    remarks: tuple[str, ...] = ()

    def attach(self, model: nn.Module) -> None:
        """Hang every change beside its layer; where that fails (out of memory), none is left."""
        try:
            for name, changes in self.layers.items():
                layer = model.get_submodule(name)
                for change in changes:
                    beside(layer).changes.append(change.to(_device_of(layer)))
        except BaseException:
            self.detach(model)
            raise

    def detach(self, model: nn.Module) -> None:
        """Take every change away again; the layers are what they were."""
        for name, changes in self.layers.items():
            own = {id(change) for change in changes}
            drop(model.get_submodule(name), own)

    def set_strength(self, strength: float) -> None:
        """Say how strong it takes part from the next run on; 0 is not at all."""
        for changes in self.layers.values():
            for change in changes:
                change.strength = strength


def read_lora(path: Path, model: nn.Module) -> LoraChanges:
    """
    Return what the file at *path* changes of *model*, a Wan transformer, read and fitted.

    Raises InvalidRequest naming the keys that fit nothing in the model, or what is wrong with the file.
    """
    layers = dict(_layers(model))
    try:
        with safe_open(path, framework="pt") as file:
            found = sorted_keys(file.keys(), spellings(layers))
            if found.unknown:
                raise _refused(path, _fit_nothing(found.unknown))
            alpha_of = _alphas(path, _peft_config(path, file.metadata() or {}))
            changes: dict[str, list[Change]] = {}
            for name, keys in found.layers.items():
                tensors = {part: file.get_tensor(key) for part, key in keys.items()}
                place, made = _Reader(path, layers[name], tensors, keys).changes(name, alpha_of)
                changes.setdefault(place, []).extend(made)
    except (SafetensorError, OSError) as error:
        raise _refused(path, " ".join(str(error).split())[:300]) from error
    if not changes:
        raise InvalidRequest(f"LoRA {path.name} holds no weights for this model.", field="lora_name")
    remarks = [f"LoRA {path.name}: {len(found.left_out)} tensors for Wan 2.1's picture encoder were left out; "
               "this model has none."] if found.left_out else []  # fmt: skip
    return LoraChanges({name: tuple(made) for name, made in changes.items()}, tuple(remarks))


@dataclass(frozen=True, slots=True)
class _Target:
    """A layer of the model, or, with `parameter`, a parameter that hangs in it by itself."""

    layer: nn.Module
    parameter: str | None = None


class _Reader:
    """Make the changes of one layer from its tensors of the file."""

    def __init__(self, path: Path, target: _Target, tensors: Mapping[Part, Tensor], keys: Mapping[Part, str]) -> None:
        self._path, self._target, self._keys = path, target, keys
        self._left: dict[Part, Tensor] = dict(tensors)
        self._layer = target.layer
        own = target.layer.weight if target.parameter is None else getattr(target.layer, target.parameter)
        self._shape = tuple(own.shape)
        self._dtype = own.dtype if own.dtype in {torch.float32, torch.float16, torch.bfloat16} else torch.bfloat16
        self._multiplies = target.parameter is None and hasattr(target.layer, "bias") and len(self._shape) > 1

    def changes(self, name: str, alpha_of: Callable[[str, int], float]) -> tuple[str, list[Change]]:
        """Return the module that the changes hang in, and the changes. Raises InvalidRequest for what is left over."""
        if not self._multiplies:
            return name.rpartition(".")[0] if self._target.parameter else name, self._substitutes()
        self._check_factors()
        made = [*self._low_rank(functools.partial(alpha_of, name)), *self._kronecker()]
        if (difference := self._left.pop("diff", None)) is not None:
            made.append(Difference(self._cast(difference, self._shape, "diff")))
        if (magnitudes := self._left.pop("dora", None)) is not None:
            made = [self._magnitudes(made, magnitudes)]
        if (bias := self._left.pop("diff_b", None)) is not None:
            made.append(Bias(self._cast(bias, self._shape[:1], "diff_b")))
        self._nothing_left()
        return name, made

    def _check_factors(self) -> None:
        """Raise InvalidRequest for a factor that is no matrix, or that has no numbers."""
        for part in _FACTORS & self._left.keys():
            if self._left[part].dim() < 2 or not self._left[part].numel():
                raise self._wrong_shape(part)

    def _substitutes(self) -> list[Change]:
        own = self._target.parameter or "weight"
        parts: tuple[tuple[Part, str], ...] = (("diff", own), ("diff_m", own), ("diff_b", "bias"))
        made: list[Change] = []
        for part, parameter in parts:
            has_it = getattr(self._layer, parameter, None) is not None
            if has_it and part in self._left and not (part == "diff_b" and self._target.parameter):
                shape = tuple(getattr(self._layer, parameter).shape)
                made.append(Substitute(parameter, self._cast(self._left.pop(part), shape, part)))
        self._nothing_left()
        return made

    def _low_rank(self, alpha_of: Callable[[int], float]) -> list[Change]:
        if "down" not in self._left or "up" not in self._left:
            return []
        down, up = self._left.pop("down"), self._left.pop("up")
        rank = down.shape[0]
        scale = self._scale(rank, alpha_of(rank))
        if self._shape[2:]:  # a convolution: small, and simplest written out
            weight = self._product("up", up.flatten(1), down.flatten(1)).mul_(scale)
            made: list[Change] = [Difference(self._cast(weight, self._shape, "up"))]
        else:
            down, up = self._cast(down, (rank, self._shape[1]), "down"), self._cast(up, (self._shape[0], rank), "up")
            made = [LowRank(down, up, scale)]
        if (bias := self._left.pop("up_bias", None)) is not None:
            made.append(Bias(self._cast(bias.float() * scale, self._shape[:1], "up_bias")))
        return made

    def _kronecker(self) -> list[Change]:
        parts = [part for part in _KRONECKER if part in self._left]
        if not parts or len(self._shape) != 2:
            return []
        factors: list[Tensor] = []
        rank = 0
        for whole, first, second in (_KRONECKER[:3], _KRONECKER[3:]):
            if whole in self._left:
                factors.append(self._left.pop(whole).float())
            elif first in self._left and second in self._left:
                rank = self._left[second].shape[0]
                factors.append(self._product(first, self._left.pop(first), self._left.pop(second)))
        if len(factors) < 2:
            raise _refused(self._path, _fit_nothing([self._keys[part] for part in parts]))
        left, right = factors
        if (left.shape[0] * right.shape[0], left.shape[1] * right.shape[1]) != self._shape:
            raise self._wrong_shape(parts[0])
        # As LyCORIS has it: alpha counts only where a factor has a rank.
        scale = self._scale(rank, rank) if rank else 1.0
        self._left.pop("alpha", None)
        return [Kronecker(left.to(self._dtype), right.to(self._dtype), scale)]

    def _magnitudes(self, inner: list[Change], magnitudes: Tensor) -> Change:
        rows, columns = self._shape[:2]
        of_inputs = magnitudes.dim() > 1 and magnitudes.shape[0] == 1 and magnitudes.shape[1] == columns
        if magnitudes.numel() != (columns if of_inputs else rows) or (of_inputs and len(self._shape) > 2) or not inner:
            raise self._wrong_shape("dora")
        weight = _dense(self._layer) + sum(change.dense() for change in inner)
        norms = weight.transpose(0, 1).flatten(1).norm(dim=1) if of_inputs else weight.flatten(1).norm(dim=1)
        gain = magnitudes.float().flatten().to(norms.device) / norms.clamp_min(torch.finfo(torch.float32).tiny)
        return Magnitudes(inner, gain, of_inputs=of_inputs)

    def _product(self, part: Part, left: Tensor, right: Tensor) -> Tensor:
        if left.shape[1:] != right.shape[:1]:
            raise self._wrong_shape(part)
        return left.float() @ right.float()

    def _scale(self, rank: int, alpha: float) -> float:
        own = self._left.pop("alpha", None)
        if own is not None and own.numel() != 1:
            raise _refused(self._path, f"{self._keys['alpha']} is not one number")
        scale = (alpha if own is None else float(own)) / rank
        if not math.isfinite(scale):
            raise _refused(self._path, f"the alpha for {self._keys.get('down', 'a layer')} is not finite")
        return scale

    def _cast(self, tensor: Tensor, shape: tuple[int, ...], part: Part) -> Tensor:
        """Return a copy in the layer's dtype: what is read may be a view of the file, which may be written again."""
        if tensor.numel() != math.prod(shape):
            raise self._wrong_shape(part)
        return tensor.reshape(shape).to(self._dtype, copy=True)

    def _wrong_shape(self, part: Part) -> InvalidRequest:
        key = self._keys[part]
        return _refused(self._path, f"{key} is not of the shape for a weight of {list(self._shape)}")

    def _nothing_left(self) -> None:
        if self._left:
            raise _refused(self._path, _fit_nothing([self._keys[part] for part in self._left]))


def _layers(model: nn.Module) -> Iterator[tuple[str, _Target]]:
    """Give what a file may change: layers with a weight, and parameters that hang in other modules by themselves."""
    for name, module in model.named_modules():
        if f".{BESIDE}" in f".{name}":
            continue
        if isinstance(getattr(module, "weight", None), Tensor):
            yield name, _Target(module)
            continue
        for parameter, _ in module.named_parameters(recurse=False):
            yield f"{name}.{parameter}".lstrip("."), _Target(module, parameter)


def _peft_config(path: Path, metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """Return peft's configuration: diffusers writes it into the file, peft itself into `adapter_config.json` beside."""
    beside_it = path.with_name("adapter_config.json")
    is_pefts_own = path.name == "adapter_model.safetensors" and beside_it.is_file()
    text = beside_it.read_text(encoding="utf-8") if is_pefts_own else metadata.get("lora_adapter_metadata", "{}")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(path, "its peft configuration is not JSON") from error
    if not isinstance(config, dict):
        raise _refused(path, "its peft configuration is not a JSON object")
    return {key.removeprefix("transformer."): value for key, value in config.items()}


def _alphas(path: Path, config: Mapping[str, Any]) -> Callable[[str, int], float]:
    """Return what gives the alpha of a layer for its rank where the file has no key for it: the rank, by default."""
    try:
        patterns = {
            re.compile(rf"(^|\.){name}$"): float(alpha)
            for name, alpha in dict(config.get("alpha_pattern") or {}).items()
        }
        common = None if config.get("lora_alpha") is None else float(config["lora_alpha"])
    except (TypeError, ValueError, re.error) as error:
        raise _refused(path, f"an alpha in its peft configuration is not a number: {error}") from error

    def alpha_of(layer: str, rank: int) -> float:
        alpha = next((value for name, value in patterns.items() if name.search(layer)), common)
        if alpha is None:
            return rank
        return alpha * (rank**0.5 if config.get("use_rslora") else 1.0)

    return alpha_of


def _dense(layer: nn.Module) -> Tensor:
    """Return the layer's weight in float32; one that is stored in float8 gives it with its scale."""
    weight: Tensor = layer.dequantised() if hasattr(layer, "dequantised") else layer.weight
    return weight.detach().float().cpu()


def _device_of(layer: nn.Module) -> torch.device:
    tensors: Iterable[Any] = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _fit_nothing(keys: Iterable[str]) -> str:
    names = sorted(keys)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"these keys have no place in it: {', '.join(names[:_MOST_NAMED])}{more}"


def _refused(path: Path, why: str) -> InvalidRequest:
    return InvalidRequest(f"LoRA {path.name} does not fit this model: {why}.", field="lora_name")
