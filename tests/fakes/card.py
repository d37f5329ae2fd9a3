"""
A card on the CPU: its tensors are of another device, hold real numbers, and do not mix with those of main memory.

Torch's device "lazy" is the one that every build of torch knows and nothing uses. A tensor there has its numbers in an
ordinary tensor; each operation on it is done with that one. As on a real card an operation whose tensors are in two
places fails, and so does one that needs more memory than the card has.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from wanworker.engines.resident.child._residence import Copier

CARD = torch.device("lazy", 0)

_COPY_INTO = torch.ops.aten.copy_.default
_COPIES = frozenset({torch.ops.aten._to_copy.default, _COPY_INTO})


class OnCard(torch.Tensor):
    """A tensor on the card; `held` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnCard:
        """Say of it what *held* is, but for the place."""
        made: OnCard = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=CARD
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Outside of the card's mode there is no card."""
        raise RuntimeError(f"{func}: the card is gone")


class Card(TorchDispatchMode):
    """
    The card while the block runs: with *size_bytes* of memory, or as much as is wanted.

    `live_bytes` are the bytes of all tensors there, `peak_bytes` their most.
    """

    def __init__(self, size_bytes: int = 2**60) -> None:
        super().__init__()
        # Fake tensors' own place among the modes: there torch asks for no driver when a tensor is made on a device.
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE
        self.live_bytes = self.peak_bytes = 0
        self._size_bytes = size_bytes
        self._known = WeakIdKeyDictionary()

    @classmethod
    def is_infra_mode(cls) -> bool:
        """It stands below all other modes."""
        return True

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation where its tensors are, or where it is told to put them."""
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, OnCard)}
        if there and func not in _COPIES and any(tensor.dim() for tensor in tensors if not isinstance(tensor, OnCard)):
            raise RuntimeError(f"Expected all tensors to be on the same device: {func}")
        goes_there = bool(there)
        if kwargs.get("device") is not None:
            goes_there = torch.device(kwargs["device"]).type == CARD.type
            kwargs["device"] = torch.device("cpu")
        made = func(*tree_map_only(OnCard, _held, args), **tree_map_only(OnCard, _held, kwargs))
        if func is _COPY_INTO:
            return args[0]
        if not goes_there:
            return made
        return tree_map_only(torch.Tensor, lambda one: there[id(one)] if id(one) in there else self._placed(one), made)

    def _placed(self, held: torch.Tensor) -> torch.Tensor:
        storage = held.untyped_storage()
        if storage not in self._known:
            size_bytes = storage.nbytes()
            if self.live_bytes + size_bytes > self._size_bytes:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size_bytes} bytes.")
            self._known[storage] = size_bytes
            self.live_bytes += size_bytes
            self.peak_bytes = max(self.peak_bytes, self.live_bytes)
            weakref.finalize(storage, self._gone, size_bytes)
        return OnCard(held)

    def _gone(self, size_bytes: int) -> None:
        self.live_bytes -= size_bytes


class ToCard(Copier):
    """Move tensors to the card: one of another kind cannot take the place of a tensor's numbers, but its own."""

    def put(self, tensor: torch.Tensor, numbers: torch.Tensor) -> None:
        """Have the two change places."""
        torch.utils.swap_tensors(tensor, numbers.detach())


def _held(tensor: OnCard) -> torch.Tensor:
    return tensor.held
