"""Notice a child that keeps more memory after each job."""

from __future__ import annotations

import logging
from collections.abc import Callable

from wanworker.engines.resident.protocol import Model, Placement
from wanworker.models.machine import hardware

log = logging.getLogger(__name__)

#: A child that has grown by less stays: a library's caches and a fragmented heap may take as much.
_LEAST_MIB = 1024

#: A child may grow by this part of the memory that is left for everybody else.
_PART_OF_REST = 2


class LeakWatch:
    """
    Compare what a child holds after each job with what it held after its first job with the same model in the same
    placement: another placement moves weights between the card and main memory.

    A child has leaked once it has grown by 1 GiB or more, and by more than half of the host's memory that is left, of
    the container's limit where there is one. So a leak takes at most a third of what was free. *own_mib* is asked what
    a process keeps from others, *available_mib* what may still be taken.
    """

    def __init__(
        self,
        own_mib: Callable[[int], int] = hardware.own_memory_mib,
        available_mib: Callable[[], int | None] = hardware.available_memory_mib,
    ) -> None:
        self._own_mib = own_mib
        self._available_mib = available_mib
        self._pid = 0
        self._first_mib: dict[tuple[Model, Placement | None], int] = {}

    def has_leaked(self, pid: int, model: Model, placement: Placement | None = None) -> bool:
        """Say whether the child *pid* has leaked. Call it after each of its jobs."""
        if pid != self._pid:
            self._pid, self._first_mib = pid, {}
        held_mib = self._own_mib(pid)
        grown_mib = held_mib - self._first_mib.setdefault((model, placement), held_mib)
        if grown_mib < _LEAST_MIB:
            return False
        left_mib = self._available_mib()
        if left_mib is None or grown_mib <= left_mib // _PART_OF_REST:
            return False
        log.warning(
            "render process %d holds %d MiB more than after its first job, and %d MiB are left; it is replaced",
            pid, grown_mib, left_mib,
        )  # fmt: skip
        return True
