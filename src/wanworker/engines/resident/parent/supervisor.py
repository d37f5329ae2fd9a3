"""Keep one child warm for one model, give it one job at a time, and replace it when it dies."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wanworker.engines.resident import protocol
from wanworker.engines.resident.parent._outcome import error_of, leaves_usable
from wanworker.engines.resident.parent._process import ChildProcess, Died
from wanworker.engines.resident.parent._warm_child import WarmChild
from wanworker.engines.resident.protocol import Done, Failed, Model, Ready, Render, Stage, Stopped
from wanworker.errors import EngineUnavailable

log = logging.getLogger(__name__)

OnEvent = Callable[[protocol.Event], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """
    How long to wait for a child, in seconds.

    `stop_grace_s` for a stopped job before its caller is let go; `drain_limit_s` for its step to end before the child
    is killed after all; `load_limit_s` for the weights; `end_grace_s` between SIGTERM and SIGKILL.
    """

    stop_grace_s: float = 4
    drain_limit_s: float = 120
    load_limit_s: float = 1800
    end_grace_s: float = 3


class Supervisor:
    """
    Run jobs in a child that stays warm between them.

    Another model takes another process where a GPU is in play: its end is the one sure way to give all of that memory
    back. On the CPU the same process changes to it.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], limits: Limits | None = None) -> None:
        self._argv = tuple(argv)
        self._environment = dict(environment)
        self._limits = limits or Limits()
        self._lock = asyncio.Lock()
        self._child: WarmChild | None = None
        self._draining: asyncio.Task[None] | None = None
        self._jobs = 0
        self._told_of: WarmChild | None = None
        self._gpu_is_taken = False

    @property
    def pid(self) -> int | None:
        """The warm child's process id, None where there is no living child."""
        return self._child.link.pid if self._child and self._child.link.is_alive else None

    def is_warm(self, model: Model) -> bool:
        """Say whether a living child holds exactly this model, loaded."""
        child = self._child
        return child is not None and child.holds(model) and child.is_ready

    async def render(self, model: Model, request: Render, on_event: OnEvent) -> Done:
        """
        Run one job and return its last event; the events on the way go to *on_event*.

        The number in `request.job` is replaced by our own. Jobs wait for one another. Timings gain `wait_s`, how long
        this job waited for the weights, and `load_s`, how long they took to load: told to the first job that uses
        them, whoever waited, and 0 to those after it. On cancellation the job is stopped at its next step; when that
        takes longer than the grace, the caller is let go and the next job waits until the child has come to rest.
        """
        async with self._lock:
            self._gpu_is_taken = False
            await self._at_rest()
            wait_s = await self._warm(model, on_event)
            self._jobs += 1
            done = await self._run(dataclasses.replace(request, job=self._jobs), on_event)
            load_s = self._untold_load_s()
        return dataclasses.replace(done, timings={"load_s": load_s, "wait_s": wait_s, **done.timings})

    async def preload(self, model: Model) -> None:
        """
        Have *model* loaded before a job wants it; no job waits behind this.

        A job that comes meanwhile waits for the same load, or ends it where it needs another model: both would not fit
        on one card. Raises WorkerError where the load fails or was ended, or a child holds another model already.
        """
        async with self._lock:
            await self._at_rest()
            if self._gpu_is_taken and model.is_on_gpu:
                raise EngineUnavailable("A job has taken the GPU for another engine, and one fits at a time.")
            held = self._child
            if held is not None and held.link.is_alive and held.model != model:
                raise EngineUnavailable(f"{held.model.folder} is loaded, and one model fits at a time.")
            child = await self._child_with(model)
        await asyncio.wait({child.loading})
        if child.loading.cancelled():
            raise EngineUnavailable("The load was ended: a job needed another model or engine, or the worker ends.")
        outcome = child.loading.result().event
        if isinstance(outcome, Ready):
            return
        async with self._lock:
            if self._child is child:
                await self._discard()
        raise error_of(outcome, "while loading the model")

    async def release_gpu(self) -> None:
        """
        End a child that has weights on the GPU, after the job that it renders; a load under way ends at once.

        Preloads onto the GPU are refused from now on, until the next job.
        """
        self._gpu_is_taken = True
        async with self._lock:
            child = self._child
            if child is not None and child.model.is_on_gpu:
                log.info("render process %d ends: another engine renders on the GPU", child.link.pid)
                await self._discard()
                await self._at_rest()

    async def close(self) -> None:
        """End the child, whatever it does."""
        await self._discard()
        await self._at_rest()  # the death of the child has ended it, and its half file is gone after it

    async def _at_rest(self) -> None:
        if self._draining is not None:
            await asyncio.wait({self._draining})
            self._draining = None

    async def _warm(self, model: Model, on_event: OnEvent) -> float:
        """Have a child with *model* loaded; return the seconds that this job waited for it."""
        if self.is_warm(model):
            return 0.0
        started = time.monotonic()
        on_event(Stage(0, "loading"))
        child = await self._child_with(model)
        await asyncio.wait({child.loading})
        outcome = child.loading.result().event
        if not isinstance(outcome, Ready):
            await self._discard()
            raise error_of(outcome, "while loading the model")
        return time.monotonic() - started

    async def _child_with(self, model: Model) -> WarmChild:
        child = self._child
        if child is not None and child.holds(model):
            return child  # still loading: a job that was cancelled began it, or a preload
        limit_s = self._limits.load_limit_s
        if child is not None and child.can_change_to(model):
            child = WarmChild.begin(child.link, model, limit_s)
        else:
            await self._discard()
            started = time.monotonic()
            try:
                link = await ChildProcess.start(self._argv, self._environment)
            except OSError as error:
                raise EngineUnavailable(f"The render process could not be started: {error}") from error
            child = WarmChild.begin(link, model, limit_s, started)
        self._child = child
        return child

    def _untold_load_s(self) -> float:
        """Return what the child's load took, once: to the first job that succeeds with it."""
        child, told = self._child, self._told_of
        self._told_of = child
        return child.loading.result().load_s if child is not None and child is not told else 0.0

    async def _run(self, request: Render, on_event: OnEvent) -> Done:
        child = self._child
        if child is None:  # closed in the meantime
            raise EngineUnavailable("The render process was closed.")
        try:
            await child.link.send(request)
            outcome = await _end_of(child.link, request.job, on_event)
        except asyncio.CancelledError:
            self._draining = asyncio.create_task(self._drain(child, request))
            await asyncio.wait({self._draining}, timeout=self._limits.stop_grace_s)
            raise
        if isinstance(outcome, Done):
            return outcome
        if not leaves_usable(outcome):
            await self._discard()
            _remove_output(request)
        raise error_of(outcome, "while rendering")

    async def _drain(self, child: WarmChild, request: Render) -> None:
        """Bring a cancelled job to its end, keep the weights if that succeeds, and leave no file of it."""
        outcome: protocol.Event | Died | None = None
        try:
            async with asyncio.timeout(self._limits.drain_limit_s):
                await child.link.send(protocol.Stop(request.job))
                outcome = await _end_of(child.link, request.job, lambda _event: None)
        except TimeoutError:
            log.warning("render process %d did not stop; it is killed", child.link.pid)
        if not leaves_usable(outcome):
            await self._discard()
        _remove_output(request)

    async def _discard(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.loading.cancel()
        await child.link.end(self._limits.end_grace_s)


async def _end_of(link: ChildProcess, job: int, on_event: OnEvent) -> Done | Failed | Stopped | Died:
    """Pass the job's events on until its last one; those of a job before it are dropped."""
    while True:
        event = await link.event()
        if isinstance(event, Died):
            return event
        if isinstance(event, Ready) or event.job != job:
            continue
        if isinstance(event, Done | Failed | Stopped):
            return event
        on_event(event)


def _remove_output(request: Render) -> None:
    """Remove what a cancelled job finished all the same, and what a killed child left half written."""
    path = Path(request.out_path)
    for left in (path, path.with_name(f"{path.name}.part")):
        left.unlink(missing_ok=True)
