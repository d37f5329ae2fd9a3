"""Find where the tensors of a .pth file lie, without loading one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from wanworker.engines.resident.child.weights._reading import DTYPES
from wanworker.models.sources.checkpoint import CannotLoad, Checkpoint, StoredTensor, describe

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read_pickled(path: Path) -> Checkpoint:
    """
    Return what the file of torch.save at *path* has; only tensors are unpickled, and none of their bytes are read.

    Raises CannotLoad where it is no such file, or has something else than tensors.
    """
    try:
        with FakeTensorMode():
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        raise CannotLoad(f"{path.name} is damaged, or more than weights are in it: {words}") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise CannotLoad(f"{path.name} does not consist of named tensors alone")
    return describe(path, {key: _stored(path, key, tensor) for key, tensor in found.items()}, {})


def _stored(path: Path, key: str, tensor: Any) -> StoredTensor:
    start = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if start is None or tensor.dtype not in _NAMES or not tensor.is_contiguous():
        raise CannotLoad(f"{path.name}: {key} is stored in a way that this engine does not read; save it with torch 2")
    start += tensor.storage_offset() * tensor.dtype.itemsize
    return StoredTensor(path, _NAMES[tensor.dtype], tuple(tensor.shape), start, tensor.numel() * tensor.dtype.itemsize)
