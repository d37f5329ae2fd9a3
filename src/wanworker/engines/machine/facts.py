"""Keep facts about this machine and its engines, with their age, and refresh them in the background."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wanworker.engines.base import Readiness
from wanworker.engines.machine.interpreters import interpreters, kernel_beside, without_kernel
from wanworker.engines.machine.weight_folders import weight_folders
from wanworker.engines.preload import Preload
from wanworker.engines.registry import EngineRegistry
from wanworker.models.files.damage import Damaged, damaged_in
from wanworker.models.hub.fetch import free_on_disk
from wanworker.models.machine import hardware
from wanworker.models.machine.gpu_kernel import KernelRun
from wanworker.models.machine.hardware import Gpu, gpus
from wanworker.spec import TASKS

if TYPE_CHECKING:
    from wanworker.comfyui.server.supervisor import Status
    from wanworker.engines.comfyui.engine import ComfyUI

log = logging.getLogger(__name__)

#: A busy server may take seconds to answer. health does not wait longer than this.
_COMFYUI_TIMEOUT_S = 4.0


@dataclass(frozen=True, slots=True)
class Machine:
    """
    Define what is asked of the machine. A test gives its own answers. `gpus_of` answers for a CUDA_VISIBLE_DEVICES.
    """

    gpus: Callable[[], Sequence[Gpu]] = gpus
    kernel: Callable[[str], Awaitable[KernelRun]] = kernel_beside
    free_bytes: Callable[[Path], int] = free_on_disk
    gpus_of: Callable[[str], Sequence[Gpu]] = hardware.gpus


@dataclass(frozen=True, slots=True)
class Kernel:
    """Say whether a kernel ran in `python`, the interpreter of `engines`, and how long ago."""

    python: str
    engines: tuple[str, ...]
    run: KernelRun
    age_s: float


@dataclass(frozen=True, slots=True)
class Facts:
    """
    Hold the state of each engine for each of its tasks (`ready` or what is missing), and the facts behind it.

    `free_bytes` is the room in the folders of weights and videos. `kernels` are those that were run, by the check
    before the first job or by a refresh. `placements` are by task where the weights of a plain job would be, and
    `cards` by its number the GPU of each card that WAN_GPUS names.
    """

    engines: Mapping[str, Mapping[str, str]]
    gpus: tuple[Gpu, ...]
    comfyui_status: Status
    damaged: tuple[Damaged, ...] = ()
    free_bytes: Mapping[Path, int] = dataclasses.field(default_factory=dict)
    placements: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    cards: Mapping[int, Gpu] = dataclasses.field(default_factory=dict)
    kernels: tuple[Kernel, ...] = ()
    preloads: tuple[Preload, ...] = ()

    @property
    def can_render_real(self) -> bool:
        """Say whether an engine other than the miniature is ready for at least one task."""
        return any("ready" in tasks.values() for name, tasks in self.engines.items() if name != "mini")


class MachineFacts:
    """Answer from the last probe. Probe again when asked to, or if there was none yet."""

    def __init__(
        self,
        registry: EngineRegistry,
        *,
        preloads: Callable[[], tuple[Preload, ...]] = tuple,
        machine: Machine = Machine(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._preloads = preloads
        self._machine = machine
        self._clock = clock
        self._kept: tuple[Facts, float] | None = None
        self._kernels: dict[str, tuple[KernelRun, float]] = {}
        self._first: asyncio.Task[None] | None = None
        self._first_kernel: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin the first probe in the background. Never waits. Must be called on a running event loop."""
        if self._first is None:
            self._first = asyncio.create_task(self._look_first())

    def begin_kernel(self) -> None:
        """
        Run in the background, once, the kernel that a serverless worker's check runs before its first job.

        Never waits. Runs none without a GPU, or if every job goes to the miniature. Must be called on a running event
        loop.
        """
        if self._first_kernel is None and self._registry.settings.engine != "mini":
            self._first_kernel = asyncio.create_task(self._run_first_kernel())

    async def close(self) -> None:
        """End a probe and a kernel that still run."""
        tasks = [task for task in (self._first, self._first_kernel) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def note_kernel(self, python: str, run: KernelRun) -> None:
        """Keep the result of a kernel that somebody else ran."""
        self._kernels[python] = (run, self._clock())

    async def current(self, *, refresh: bool) -> tuple[Facts, float]:
        """
        Return the facts and their age in seconds. Without *refresh*, only the first call waits for a probe.

        A probe takes at most a few seconds. A refresh on a machine with a GPU also runs a kernel, which takes up to a
        minute. The states of ComfyUI and of the preloads are always the newest known, because every job that uses the
        server updates them.
        """
        if refresh:
            await self._run_kernels()
            await self.look()
        elif self._kept is None:
            await (self.look() if self._first is None else asyncio.wait({self._first}))
        if self._kept is None:  # the first probe failed; the log says why
            await self.look()
        assert self._kept is not None, "a probe that does not raise keeps its facts"
        facts, seen = self._kept
        engine = _comfyui(self._registry)
        status = facts.comfyui_status if engine is None else engine.status
        newest = dataclasses.replace(
            facts, comfyui_status=status, kernels=self._known_kernels(), preloads=self._preloads()
        )
        return newest, self._clock() - seen

    async def look(self) -> None:
        """Probe everything but the kernels, and keep the facts."""
        server = await _asked_comfyui(self._registry)
        facts = await asyncio.to_thread(self._looked, server)
        self._kept = (facts, self._clock())

    async def _look_first(self) -> None:
        try:
            await self.look()
        except Exception:  # nobody waits for it; the next caller probes again and gets the failure
            log.exception("the engines could not be checked")

    def _looked(self, server: Status) -> Facts:
        settings = self._registry.settings
        lacks = without_kernel(settings, {python: run for python, (run, _) in self._kernels.items()})
        states = _readiness(self._registry)
        return Facts(
            engines=_engine_words(states, lacks),
            placements={task: state.plan for (_, task), state in states.items() if state.plan is not None},
            gpus=tuple(self._machine.gpus()),
            cards=self._gpus_by_card(),
            comfyui_status=server,
            damaged=damaged_in(weight_folders(settings)),
            free_bytes={place: self._machine.free_bytes(place) for place in (settings.ckpt_dir, settings.out_dir)},
        )

    def _gpus_by_card(self) -> dict[int, Gpu]:
        cards = [self._registry.cards.card(number) for number in self._registry.cards.numbers]
        ask = self._machine
        seen = {card.number: ask.gpus() if card.visible is None else ask.gpus_of(card.visible) for card in cards}
        return {number: found[0] for number, found in seen.items() if found}

    async def _run_kernels(self) -> None:
        """Run one kernel after the other. Two at once would be slower, and each needs memory of the card."""
        if not await asyncio.to_thread(self._machine.gpus):
            return
        for python in interpreters(self._registry.settings):
            self.note_kernel(python, await self._machine.kernel(python))

    async def _run_first_kernel(self) -> None:
        try:
            if await asyncio.to_thread(self._machine.gpus):
                run = await self._machine.kernel(sys.executable)
                self.note_kernel(sys.executable, run)
                if run.failed:
                    log.warning("the GPU does not work: %s", run.text)
                    await self.look()  # the engines of this Python are not ready
        except Exception:  # nobody waits for it; without a kernel, the first probe's facts stay
            log.exception("no kernel could be run")

    def _known_kernels(self) -> tuple[Kernel, ...]:
        engines = interpreters(self._registry.settings) if self._kernels else {}
        return tuple(
            Kernel(python, engines.get(python, ()), run, self._clock() - seen)
            for python, (run, seen) in self._kernels.items()
        )


def _comfyui(registry: EngineRegistry) -> ComfyUI | None:
    """Return the ComfyUI engine of this worker; a worker may be built without."""
    if not any(row.name == "comfyui" for row in registry.rows):
        return None
    from wanworker.engines.comfyui.engine import ComfyUI  # a slow import, kept out of the start

    engine = registry.engine("comfyui")
    return engine if isinstance(engine, ComfyUI) else None


async def _asked_comfyui(registry: EngineRegistry) -> Status:
    engine = _comfyui(registry)
    if engine is None:
        return "offline"
    try:
        async with asyncio.timeout(_COMFYUI_TIMEOUT_S):
            return await engine.probe()
    except TimeoutError:
        return engine.status


def _readiness(registry: EngineRegistry) -> dict[tuple[str, str], Readiness]:
    rows = registry.rows
    asked = [(row.name, task) for row in rows for task in TASKS if task in row.capabilities.tasks]
    return {(name, task): registry.readiness(name, task) for name, task in asked}


def _engine_words(
    states: Mapping[tuple[str, str], Readiness], lacks: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, str]]:
    words: dict[str, dict[str, str]] = {}
    for (name, task), state in states.items():
        lines = (*state.missing, *state.lacking, *lacks.get(name, ()))
        words.setdefault(name, {})[task] = "; ".join(lines) or "ready"
    return words
