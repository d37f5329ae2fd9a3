"""Move the parts of a model between main memory and the device, as the placement of the job says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from wanworker.engines.resident.protocol import Placement

_EXPERTS = frozenset(("transformer", "transformer_2"))
_HOST = torch.device("cpu")


class Copier:
    """Move a tensor to another place and know whether it is there; a test stands in for a card that is not there."""

    def is_on(self, tensor: torch.Tensor, device: torch.device) -> bool:
        """Say whether *tensor* is on a device of this type."""
        return bool(tensor.device.type == device.type)

    def copied(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return *tensor* on *device*."""
        return tensor.to(device)

    def put(self, tensor: torch.Tensor, numbers: torch.Tensor) -> None:
        """Have *tensor*, which the model knows, be *numbers*, wherever they are."""
        tensor.data = numbers

    def enter(self, slab: Any, device: torch.device) -> None:
        """Have what lies in *slab* on *device*, by one copy."""
        slab.enter(device)


class Residence:
    """
    Have each part on the device when it computes, and let others leave when the placement wants their room.

    *parts* are modules by diffusers' names. Experts come by themselves when they are called; the text encoder and the
    VAE are to be asked for with `need`, as is the first part of a pipeline's run, which computes where its parts are.
    """

    def __init__(self, parts: Mapping[str, Any], device: torch.device, copier: Copier | None = None) -> None:
        self._device, self._copier = device, copier or Copier()
        self._parts = {name: _Part(module, self._copier) for name, module in parts.items()}
        self._placement = Placement()
        for name in _EXPERTS.intersection(parts):
            parts[name].register_forward_pre_hook(self._arriving(name))

    def follow(self, placement: Placement) -> None:
        """Take *placement* from now on: bring what is resident, and have leave what may not stay."""
        self._placement = placement
        if self._device == _HOST:
            return
        for name, part in self._parts.items():
            if self._rule(name) != "resident":
                part.leave()
        for name, part in self._parts.items():
            if self._rule(name) == "resident":
                part.come(self._device, keep=False)

    def replace(self, name: str, module: Any) -> None:
        """Have *module* be the part *name* from now on; the one before leaves the device."""
        self._parts[name].leave()
        self._parts[name] = _Part(module, self._copier)

    def need(self, name: str) -> torch.device:
        """Bring the part *name*, have leave what makes room for it, and return the device on which it computes."""
        if self._device == _HOST or self._rule(name) == "cpu":
            return _HOST
        for other, part in self._parts.items():
            if other != name and self._leaves_for(other, name):
                part.leave()
        self._parts[name].come(self._device, keep=self._rule(name) != "resident")
        return self._device

    def withdraw(self) -> None:
        """Have leave all that may: after a failure nothing is to stay that need not."""
        for name, part in self._parts.items():
            if self._rule(name) != "resident":
                part.leave()

    def device_bytes(self) -> int:
        """Return the bytes that the parts themselves have on the device now, LoRAs included; 0 without a GPU."""
        if self._device == _HOST:
            return 0
        tensors = (tensor for part in self._parts.values() for tensor in part.tensors())
        there = (tensor for tensor in tensors if self._copier.is_on(tensor, self._device))
        storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in there}
        return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())

    def _rule(self, name: str) -> str:
        return self._placement.rule_of(name)

    def _leaves_for(self, part: str, needed: str) -> bool:
        rule = self._rule(part)
        return rule == "evicted" or (rule == "slot" and needed in _EXPERTS and part in _EXPERTS)

    def _arriving(self, name: str) -> Any:
        def arrive(_module: Any, _given: Any) -> None:
            self.need(name)

        return arrive


def to_host(module: Any, copier: Copier | None = None) -> None:
    """Have *module* in main memory, wherever the model that it was part of had it; a tokenizer is there already."""
    if isinstance(module, torch.nn.Module):
        _Part(module, copier or Copier()).leave()


class _Part:
    """
    One part, and main memory's copy of each of its tensors while they are on the device.

    Weights do not change, so a part that leaves takes its copies again and nothing is copied back. What was loaded
    into a slab, one block of pinned memory, comes by one copy of it; what is beside it (LoRAs, computed tables) moves
    by itself.
    """

    def __init__(self, module: Any, copier: Copier) -> None:
        self._module, self._copier = module, copier
        self._copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def tensors(self) -> Iterator[torch.Tensor]:
        """Give its parameters and buffers as they are now: LoRAs come and go."""
        yield from self._module.parameters()
        yield from self._module.buffers()

    def come(self, device: torch.device, *, keep: bool) -> None:
        """Move to *device*; *keep* the copies in main memory, for it will leave again."""
        slab = getattr(self._module, "slab", None)
        if slab is not None:
            self._copier.enter(slab, device)
            self._module.slab = slab if keep else None  # the host's memory is free for the next
        for tensor in self.tensors():
            if self._copier.is_on(tensor, device):
                continue
            if keep:
                # The tensor itself is kept with its copy, so that no other one can get its id meanwhile.
                self._copies[id(tensor)] = (tensor, tensor.data)
            self._copier.put(tensor, self._copier.copied(tensor.data, device))
        if not keep:
            self._copies.clear()

    def leave(self) -> None:
        """Move to main memory."""
        slab = getattr(self._module, "slab", None)
        if slab is not None:
            slab.leave()
        for tensor in self.tensors():
            if not self._copier.is_on(tensor, _HOST):
                _, copy = self._copies.get(id(tensor), (None, None))
                self._copier.put(tensor, self._copier.copied(tensor.data, _HOST) if copy is None else copy)
        self._copies.clear()
