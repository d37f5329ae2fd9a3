"""Host memory in whole pages, which a GPU's driver locks where it can."""

from __future__ import annotations

import contextlib
import logging
import mmap
import weakref
from typing import Any, Protocol

import torch

log = logging.getLogger(__name__)


class Driver(Protocol):
    """What is asked of the GPU's driver; a test answers in its place."""

    def lock(self, address: int, size_bytes: int) -> bool:
        """Lock the pages there, so that the card copies from them by itself; say whether it is done."""

    def unlock(self, address: int) -> None:
        """Undo it, once no copy is under way."""


class Cuda:
    """The driver of the card on which torch computes; *runtime* has the functions of CUDA's runtime."""

    def __init__(self, runtime: Any = None, device: str = "cuda") -> None:
        self._runtime = runtime or torch.cuda.cudart()
        self._device = device

    def lock(self, address: int, size_bytes: int) -> bool:
        """See Driver. What is refused leaves no error behind."""
        return self._is_done(self._runtime.cudaHostRegister(address, size_bytes, 0))

    def unlock(self, address: int) -> None:
        """See Driver."""
        with contextlib.suppress(RuntimeError):  # a card that is lost copies no more
            self._wait()
            self._is_done(self._runtime.cudaHostUnregister(address))

    def _is_done(self, answer: Any) -> bool:
        """
        Say whether *answer* is no error, and have CUDA forget the error otherwise.

        CUDA keeps the last error until it is asked. Torch asks after each kernel, and would take a call of ours that
        was refused for a kernel that failed: the first one of the job.
        """
        if int(answer) == 0:
            return True
        with contextlib.suppress(RuntimeError):
            self._launch()
        return False

    def _launch(self) -> None:
        torch.ones(1, device=self._device).add_(1)

    def _wait(self) -> None:
        torch.cuda.synchronize()


def pages(size_bytes: int, owner: object, driver: Driver | None = None) -> torch.Tensor:
    """
    Return *size_bytes* of host memory as bytes of no value, which *driver* locks until *owner* goes, if it can.

    The memory begins with a page and shares none: the driver refuses a page that is locked already. Where the driver
    refuses, copies are slower and nothing else. Raises MemoryError where there is not enough.
    """
    try:
        block = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"the system gives no {size_bytes} bytes of memory: {error.strerror}") from error
    memory: torch.Tensor = torch.frombuffer(block, dtype=torch.uint8)
    if driver is None:
        return memory
    if driver.lock(memory.data_ptr(), size_bytes):
        weakref.finalize(owner, driver.unlock, memory.data_ptr())
    else:
        log.warning("the driver locks no %d bytes of main memory; weights come to the card more slowly", size_bytes)
    return memory
