"""One block of host memory for all tensors of a model, and its copy on the device while the model works there."""

from __future__ import annotations

import math

import torch

from wanworker.engines.resident.child.weights._pages import Cuda, pages

#: Where a tensor may begin; float8 matrix products want 16, and vectors load best from whole cache lines.
_ALIGN_BYTES = 256


class Slab:
    """
    A block of host memory with a place for each tensor, page-locked where a GPU copies from it.

    torch's own pinned allocator rounds each block up to a power of two, which for an expert of 14 GB is 2 GB more; one
    block that is registered as a whole is not rounded.
    """

    def __init__(self, *, is_pinned: bool) -> None:
        self._is_pinned = is_pinned
        self._places: list[tuple[int, torch.dtype, tuple[int, ...]]] = []
        self._size_bytes = 0
        self._owners: list[tuple[torch.nn.Module, str, int]] = []
        self._bytes: torch.Tensor | None = None
        self._on_device: torch.Tensor | None = None

    def reserve(self, dtype: torch.dtype, shape: tuple[int, ...]) -> int:
        """Keep a place for a tensor and return its number."""
        self._places.append((self._size_bytes, dtype, shape))
        size_bytes = math.prod(shape) * dtype.itemsize
        self._size_bytes += -(-size_bytes // _ALIGN_BYTES) * _ALIGN_BYTES
        return len(self._places) - 1

    def allocate(self) -> None:
        """Take the memory. Raises MemoryError where there is not enough."""
        self._bytes = pages(max(1, self._size_bytes), self, Cuda() if self._is_pinned else None)

    def view(self, number: int) -> torch.Tensor:
        """Return the tensor at the place with this number: memory of the device while it is there, else the host's."""
        memory = self._bytes if self._on_device is None else self._on_device
        if memory is None:
            raise RuntimeError("the slab has no memory yet")
        at, dtype, shape = self._places[number]
        size_bytes = math.prod(shape) * dtype.itemsize
        return memory[at : at + size_bytes].view(dtype).view(shape)

    def give(self, module: torch.nn.Module, leaf: str, number: int) -> None:
        """Make the tensor at a place the parameter or buffer *leaf* of *module*, now and wherever the slab goes."""
        self._owners.append((module, leaf, number))
        self._set(module, leaf, number)

    def enter(self, device: torch.device) -> None:
        """Copy everything to *device* at once, and have the model use the copy."""
        if self._on_device is None and self._bytes is not None:
            self._on_device = self._bytes.to(device, non_blocking=True, copy=True)
            self._set_all()

    def leave(self) -> None:
        """Have the model use the host's memory again; the copy is let go, for weights do not change."""
        if self._on_device is not None:
            self._on_device = None
            self._set_all()

    def __deepcopy__(self, _memo: object) -> None:
        """Give a copy of the model none: its tensors are its own."""

    def _set_all(self) -> None:
        for module, leaf, number in self._owners:
            self._set(module, leaf, number)

    def _set(self, module: torch.nn.Module, leaf: str, number: int) -> None:
        if leaf in module._buffers:
            module._buffers[leaf] = self.view(number)
        else:
            module._parameters[leaf] = torch.nn.Parameter(self.view(number), requires_grad=False)
