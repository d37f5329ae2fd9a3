"""Measure the peak of live tensors of a computation without doing it: torch's fake tensors have shapes and no bytes."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class PeakMemory(TorchDispatchMode):
    """Count the bytes of the storages that live; `peak_bytes` is their most since the last `restart`."""

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = self.peak_bytes = 0
        self._known = WeakIdKeyDictionary()

    def restart(self) -> None:
        """Forget the peak before, and count from what lives now."""
        self.peak_bytes = self.live_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        size_bytes = storage.nbytes()
        self._known[storage] = size_bytes
        self.live_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._gone, size_bytes)

    def _gone(self, size_bytes: int) -> None:
        self.live_bytes -= size_bytes


@contextlib.contextmanager
def fake_peak() -> Iterator[PeakMemory]:
    """Give a counter inside of which every tensor that is made is a fake one."""
    with FakeTensorMode(allow_non_fake_inputs=True), PeakMemory() as counter, torch.no_grad():
        yield counter
