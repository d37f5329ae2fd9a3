"""Let the parts of a pipeline take turns on a device that has no room for all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module


class Turns:
    """
    Move each part to the device when it is about to work, and the one before it away.

    A part's weights wait in its slab, so that coming is one copy and going is none. What is beside them (LoRAs,
    computed tables) moves by itself. The pipelines find the device by the hooks, as they do with diffusers' own.
    """

    def __init__(self, parts: Mapping[str, Any], device: torch.device) -> None:
        self._device = device
        self._modules = [part for part in parts.values() if isinstance(part, torch.nn.Module)]
        self._working: Any = None
        for module in self._modules:
            add_hook_to_module(module, _Turn(self, device))

    def take(self, module: Any) -> None:
        """Have *module*, and no other, on the device."""
        if module is self._working:
            return
        self.rest()
        module.slab.enter(self._device)
        _move_beside(module, self._device)
        self._working = module

    def rest(self) -> None:
        """Have none of them on the device."""
        if self._working is not None:
            self._working.slab.leave()
            _move_beside(self._working, torch.device("cpu"))
            self._working = None


class _Turn(ModelHook):  # type: ignore[misc]  # accelerate ships no types
    """Ask for the turn before the part computes."""

    def __init__(self, turns: Turns, device: torch.device) -> None:
        self._turns = turns
        self.execution_device = device

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self._turns.take(module)
        return args, kwargs


def _move_beside(module: Any, device: torch.device) -> None:
    """Move what is not in the slab; the slab's own tensors are on the device already."""
    tensors: Iterable[torch.Tensor] = itertools.chain(module.parameters(), module.buffers())
    for tensor in tensors:
        if tensor.device != device:
            tensor.data = tensor.data.to(device)
