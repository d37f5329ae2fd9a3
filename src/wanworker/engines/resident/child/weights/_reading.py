"""Read tensors from files into their places, by several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from wanworker.models.sources.checkpoint import CannotLoad, StoredTensor

#: More threads read no faster from a disk, and a network volume gives each stream its own share.
_THREADS = 4
_PIECE_BYTES = 32 * 2**20

#: safetensors' names of what is read here.
DTYPES = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


@dataclass(frozen=True, slots=True)
class Copy:
    """One tensor of a file and the memory that it goes to, of the same shape; multiplied by *scale* if there is one."""

    source: StoredTensor
    target: torch.Tensor
    scale: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a copy: the numbers from *first* up to *end*."""

    copy: Copy
    first: int
    end: int

    @property
    def size_bytes(self) -> int:
        number_bytes: int = DTYPES[self.copy.source.dtype].itemsize
        return (self.end - self.first) * number_bytes


def read_all(copies: Iterable[Copy], progress: Callable[[int], None]) -> None:
    """
    Do all *copies*; *progress* is told the bytes of each piece that is done, by any thread.

    Raises CannotLoad, naming the file, where one ends early or cannot be read.
    """
    pieces = (piece for copy in copies for piece in _pieces(copy))
    turn, failures = threading.Lock(), list[BaseException]()

    def next_piece() -> _Piece | None:
        with turn:
            return None if failures else next(pieces, None)

    def work() -> None:
        files = _Files()
        try:
            while (piece := next_piece()) is not None:
                _read(piece, files)
                progress(piece.size_bytes)
        except BaseException as error:  # noqa: BLE001 - it is raised again by the thread that waits
            failures.append(error)
        finally:
            files.close()

    threads = [threading.Thread(target=work, name=f"weights-{number}", daemon=True) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


class _Files:
    """The files that one thread has open."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}

    def of(self, path: Path) -> int:
        if path not in self._open:
            self._open[path] = os.open(path, os.O_RDONLY)
        return self._open[path]

    def close(self) -> None:
        for number in self._open.values():
            os.close(number)


def _pieces(copy: Copy) -> Iterator[_Piece]:
    """Cut a copy; one with a scale for each row stays whole."""
    numbers = copy.source.numbers
    whole = copy.scale is not None and copy.scale.numel() > 1
    step = numbers if whole else _PIECE_BYTES // DTYPES[copy.source.dtype].itemsize
    for first in range(0, numbers, max(1, step)):
        yield _Piece(copy, first, min(numbers, first + step))


def _read(piece: _Piece, files: _Files) -> None:
    copy = piece.copy
    dtype = DTYPES[copy.source.dtype]
    target = copy.target.view(-1)[piece.first : piece.end]
    is_direct = dtype == target.dtype and copy.scale is None
    buffer = target.view(torch.uint8) if is_direct else torch.empty(piece.size_bytes, dtype=torch.uint8)
    _fill(buffer, copy.source, piece.first * dtype.itemsize, files)
    if is_direct:
        return
    found = buffer.view(dtype)
    if copy.scale is None:
        target.copy_(found)
    elif copy.scale.numel() == 1:
        target.copy_(found.float() * copy.scale.reshape(()))
    else:
        rows = found.float().view(copy.scale.numel(), -1) * copy.scale.reshape(-1, 1)
        target.copy_(rows.view(-1))


def _fill(buffer: torch.Tensor, source: StoredTensor, offset: int, files: _Files) -> None:
    memory = memoryview(buffer.numpy())
    done = 0
    try:
        while done < len(memory):
            count = os.preadv(files.of(source.file), [memory[done:]], source.start + offset + done)
            if count == 0:
                break
            done += count
    except OSError as error:
        raise CannotLoad(f"{source.file} cannot be read: {error.strerror}") from error
    if done < len(memory):
        at = source.start + offset + done
        raise CannotLoad(f"{source.file} is damaged: it ends at byte {at}, in the middle of its weights")
