"""Match the tensors of a checkpoint with those of a model, and read them into one slab."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from wanworker.engines.resident.child.weights._fp8 import Fp8Linear
from wanworker.engines.resident.child.weights._reading import DTYPES, Copy, read_all
from wanworker.engines.resident.child.weights._slab import Slab
from wanworker.models.sources.checkpoint import CannotLoad, Checkpoint, StoredTensor, stays_float8

_NAMED = 3


class Filling:
    """
    A model without numbers, and the plan by which they are read.

    *names* gives for each tensor of *checkpoint* its name in *model*; *dtype_of* says for such a name in which dtype
    it is kept. Raises CannotLoad, before a byte of the weights is read, unless every tensor has its place, and every
    place its tensor, of the same shape.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        checkpoint: Checkpoint,
        names: Mapping[str, str],
        dtype_of: Callable[[str], torch.dtype],
        *,
        is_pinned: bool = False,
    ) -> None:
        _check(model, checkpoint, names)
        self.model = model
        self.size_bytes = 0
        self._checkpoint = checkpoint
        self._slab = Slab(is_pinned=is_pinned)
        self._copies: list[tuple[StoredTensor, int, StoredTensor | None]] = []
        self._places: dict[str, int] = {}
        self._ones: list[int] = []
        for stored, name in names.items():
            self._plan(stored, name, dtype_of)

    def read(self, progress: Callable[[int], None]) -> Any:
        """Read the numbers and return the model; *progress* is told the bytes of each piece. Raises CannotLoad."""
        self._slab.allocate()
        for number in self._ones:
            self._slab.view(number).fill_(1)
        copies = [Copy(source, self._slab.view(at), scale and _numbers(scale)) for source, at, scale in self._copies]
        read_all(copies, progress)
        for name, number in self._places.items():
            module, _, leaf = name.rpartition(".")
            self._slab.give(self.model.get_submodule(module), leaf, number)
        self.model.slab = self._slab
        if left := [name for name, tensor in _tensors(self.model) if tensor.is_meta]:
            raise CannotLoad(f"{self._checkpoint.path.name}: {left[0]} got no numbers from the file")
        return self.model.eval().requires_grad_(False)

    def _plan(self, stored: str, name: str, dtype_of: Callable[[str], torch.dtype]) -> None:
        tensor = self._checkpoint.tensors[stored]
        layer, _, part = stored.rpartition(".")
        module, _, _ = name.rpartition(".")
        scale = self._checkpoint.scales.get(layer) if part == "weight" else None
        self.size_bytes += tensor.size_bytes
        linear = self.model.get_submodule(module)
        if part == "weight" and stays_float8(stored, tensor) and type(linear) is torch.nn.Linear:
            self._keep_float8(module, linear, tensor, scale, dtype_of(name))
            self.model.get_submodule(module).needs_full_precision = layer in self._checkpoint.full_precision
            return
        self._reserve(name, tensor, dtype_of(name), scale)

    def _keep_float8(
        self, module: str, linear: torch.nn.Linear, tensor: StoredTensor, scale: StoredTensor | None, dtype: torch.dtype
    ) -> None:
        rows = () if scale is None or scale.numbers == 1 else (scale.numbers, 1)
        fp8 = torch.empty(tensor.shape, dtype=DTYPES[tensor.dtype], device="meta")
        kept = Fp8Linear(linear, fp8, torch.empty(rows, device="meta"), dtype)
        self.model.set_submodule(module, kept)
        self._reserve(f"{module}.fp8", tensor, fp8.dtype, None)
        number = self._places[f"{module}.scale"] = self._slab.reserve(torch.float32, rows)
        if scale is None:
            self._ones.append(number)
        else:
            self._copies.append((scale, number, None))
            self.size_bytes += scale.size_bytes

    def _reserve(self, name: str, tensor: StoredTensor, dtype: torch.dtype, scale: StoredTensor | None) -> None:
        number = self._places[name] = self._slab.reserve(dtype, tensor.shape)
        self._copies.append((tensor, number, scale))


def _check(model: torch.nn.Module, checkpoint: Checkpoint, names: Mapping[str, str]) -> None:
    file = checkpoint.path.name
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    if strange := [stored for stored, name in names.items() if name not in shapes]:
        raise CannotLoad(f"{file}: {_some(strange)} has no place in a {type(model).__name__}")
    if missing := sorted(shapes.keys() - set(names.values())):
        raise CannotLoad(f"{file}: {_some(missing)} is missing")
    for stored, name in names.items():
        shape = checkpoint.tensors[stored].shape
        if shape != shapes[name]:
            raise CannotLoad(f"{file}: {stored} has the shape {list(shape)}, the model's is {list(shapes[name])}")
    if len(set(names.values())) < len(names):
        raise CannotLoad(f"{file}: two tensors are for one place in the model")


def _some(names: list[str]) -> str:
    more = f" (and {len(names) - _NAMED} more)" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _numbers(scale: StoredTensor) -> torch.Tensor:
    return torch.frombuffer(bytearray(scale.read()), dtype=DTYPES[scale.dtype]).float()


def _tensors(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]
