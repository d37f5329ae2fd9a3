"""Memory in whole pages, with a driver that keeps its last error as CUDA's runtime does."""

from __future__ import annotations

import gc
import mmap

import pytest
import torch

from wanworker.engines.resident.child.weights._pages import Cuda, pages


class Owner:
    """Whose memory it is."""


class Runtime:
    """CUDA's runtime: it locks no page twice, and keeps the error of a call that it refused until it is asked."""

    def __init__(self, *, most_bytes: int = 2**62) -> None:
        self.locked: dict[int, int] = {}
        self.last_error = 0
        self._most_bytes = most_bytes

    def cudaHostRegister(self, address: int, size_bytes: int, _flags: int) -> int:  # noqa: N802 - CUDA's name
        """Refuse with CUDA's own numbers: 2 is out of memory, 712 locked already."""
        first, last = address // mmap.PAGESIZE, (address + size_bytes - 1) // mmap.PAGESIZE
        if any(first <= page <= last for start, size in self.locked.items() for page in pages_of(start, size)):
            self.last_error = 712
        elif size_bytes > self._most_bytes:
            self.last_error = 2
        else:
            self.locked[address] = size_bytes
            return 0
        return self.last_error

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802 - CUDA's name
        """Unlock what is locked; 713 is CUDA's number for what is not."""
        if self.locked.pop(address, None) is None:
            self.last_error = 713
            return 713
        return 0


class Card(Cuda):
    """A card that launches its kernels on the CPU."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime, "cpu")
        self._made = runtime
        self.waited = 0

    def _launch(self) -> None:
        super()._launch()
        error, self._made.last_error = self._made.last_error, 0
        if error:
            raise RuntimeError(f"CUDA error: {error}")

    def _wait(self) -> None:
        self.waited += 1


def pages_of(address: int, size_bytes: int) -> range:
    return range(address // mmap.PAGESIZE, (address + size_bytes - 1) // mmap.PAGESIZE + 1)


def test_memory_is_locked_until_its_owner_goes_and_no_copy_is_under_way() -> None:
    runtime, owner = Runtime(), Owner()
    card = Card(runtime)
    memory = pages(10_000, owner, card)
    memory.fill_(7)
    was_locked = dict(runtime.locked)
    del owner
    gc.collect()

    assert {memory.data_ptr(): 10_000} == was_locked
    assert {} == runtime.locked
    assert 1 == card.waited
    assert 70_000 == memory.sum(), "who still has the memory may use it"


def test_two_small_blocks_share_no_page() -> None:
    runtime, owners = Runtime(), [Owner() for _ in range(20)]
    kept = [pages(300, owner, Card(runtime)) for owner in owners]

    assert len(kept) == len(runtime.locked)
    assert all(memory.data_ptr() % mmap.PAGESIZE == 0 for memory in kept)


def test_memory_that_cannot_be_locked_is_memory_all_the_same_and_leaves_no_error_for_the_next_kernel(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtime, owner = Runtime(most_bytes=100), Owner()
    memory = pages(10_000, owner, Card(runtime)).fill_(1)

    assert 0 == runtime.last_error
    assert "the driver locks no 10000 bytes of main memory" in caplog.text
    del owner
    gc.collect()
    assert (10_000, 0) == (memory.sum(), runtime.last_error)


def test_a_lost_card_is_not_asked_to_unlock() -> None:
    class Lost(Card):
        def _wait(self) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    runtime, owner = Runtime(), Owner()
    pages(10, owner, Lost(runtime))
    del owner
    gc.collect()

    assert 1 == len(runtime.locked)


def test_more_than_the_machine_has_is_out_of_memory() -> None:
    with pytest.raises(MemoryError, match="gives no"):
        pages(2**60, Owner())


def test_without_a_card_nothing_is_locked() -> None:
    assert torch.uint8 == pages(10, Owner()).dtype
