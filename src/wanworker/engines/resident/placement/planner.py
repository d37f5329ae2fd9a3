"""Plan each job by what the machine has now, and remember which plans were too large for it after all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wanworker.engines.resident.placement.choice import Machine, Plan, Weights, plan_for
from wanworker.engines.resident.placement.peaks import Shape
from wanworker.models.machine import hardware
from wanworker.models.machine.hardware import Gpu
from wanworker.spec import Profile

_MIB = 2**20

#: A plan that takes hardly less than one that ran out of memory would do the same.
_SMALLER_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Probes:
    """What is asked of the machine, in MiB; a test answers in its place. `own_mib` is asked of a process's number."""

    gpus: Callable[[], Sequence[Gpu]]
    free_gpu_mib: Callable[[], int | None]
    available_mib: Callable[[], int | None]
    own_mib: Callable[[int], int] = hardware.own_memory_mib


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job wants placed: the weights by the name of their folder, its shape, its profile, `offload_model`."""

    name: str
    weights: Weights
    shape: Shape
    profile: Profile
    offload: bool | None = None


class Planner:
    """
    Plan for one engine and its one child, whose number is *pid* in every question, None while there is none.

    What the child holds is not counted against the next job, for it is the next job's: of main memory its own part is
    added to what is free, and of the card what was free before the child began is what there is.
    """

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._card_bytes: int | None = None
        self._too_large: dict[tuple[str, Shape], int] = {}

    def expected(self, wish: Wish, pid: int | None) -> Plan:
        """Return the plan on a card of which nothing else takes a part: other engines make room before a job."""
        return self._plan(wish, Machine(self._probes.gpus(), None, self._host_bytes(pid)))

    def plan(self, wish: Wish, pid: int | None) -> Plan:
        """Return the plan for a job that begins now. May block for a second while the driver is asked."""
        gpus = self._probes.gpus()
        if gpus and pid is None:
            free_mib = self._probes.free_gpu_mib()
            self._card_bytes = None if free_mib is None else free_mib * _MIB
        return self._plan(wish, Machine(gpus, self._card_bytes, self._host_bytes(pid)))

    def likely(self, wish: Wish, pid: int | None) -> Plan:
        """
        Return the plan that a job would get now, for one that may never come: it asks no driver and keeps nothing.

        Beside a child it is `plan`'s. Without one it is `expected`'s, because other engines make room before a job.
        """
        return self.expected(wish, pid) if pid is None else self.plan(wish, pid)

    def smaller(self, wish: Wish, plan: Plan) -> Plan | None:
        """Return the next plan that takes clearly less of the card than *plan*, None without one. Asks nothing."""
        if plan.placement.device == "cpu":
            return None
        machine = Machine(self._probes.gpus(), self._card_bytes)
        found = plan_for(
            wish.weights, wish.shape, machine, wish.profile,
            offload=wish.offload or None, below_bytes=_clearly_below(plan),
        )  # fmt: skip
        return found if found.figures.peak_bytes < plan.figures.peak_bytes else None

    def was_too_large(self, wish: Wish, plan: Plan) -> None:
        """Remember that *plan* ran out of memory: from now on such a job gets a smaller one at once."""
        self._too_large[wish.name, wish.shape] = _clearly_below(plan)

    def _plan(self, wish: Wish, machine: Machine) -> Plan:
        below = self._too_large.get((wish.name, wish.shape))
        return plan_for(wish.weights, wish.shape, machine, wish.profile, offload=wish.offload, below_bytes=below)

    def _host_bytes(self, pid: int | None) -> int | None:
        available_mib = self._probes.available_mib()
        if available_mib is None:
            return None
        return (available_mib + (self._probes.own_mib(pid) if pid is not None else 0)) * _MIB


def _clearly_below(plan: Plan) -> int:
    return int(plan.figures.peak_bytes * _SMALLER_SHARE)
