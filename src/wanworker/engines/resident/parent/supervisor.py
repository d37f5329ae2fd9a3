"""Keep one child warm for one model, give it one job at a time, and replace it when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wanworker.engines.resident import protocol
from wanworker.engines.resident.parent._leak import LeakWatch
from wanworker.engines.resident.parent._outcome import error_of, leaves_usable
from wanworker.engines.resident.parent._process import ChildProcess, Died
from wanworker.engines.resident.parent._warm_child import Care, WarmChild
from wanworker.engines.resident.parent._watch import Beat, beat, watched
from wanworker.engines.resident.parent._watchdog import Hung, Patience, Watchdog
from wanworker.engines.resident.protocol import Done, Failed, Model, Ready, Render, Stage, Stopped
from wanworker.errors import EngineUnavailable, ModelNotFound

log = logging.getLogger(__name__)

__all__ = ["Limits", "OnEvent", "Patience", "Supervisor"]

OnEvent = Callable[[protocol.Event], None]
_Outcome = protocol.Event | Died | Hung


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """
    Say how long to wait for a child, in seconds.

    `stop_grace_s` lets the caller of a stopped job go; after `drain_limit_s` the child is killed. `load_limit_s` is for
    the weights, `end_grace_s` between SIGTERM and SIGKILL, and `patience` for what hangs sooner.
    """

    stop_grace_s: float = 4
    drain_limit_s: float = 120
    load_limit_s: float = 1800
    end_grace_s: float = 3
    patience: Patience = dataclasses.field(default_factory=Patience)


class Supervisor:
    """
    Run jobs in a child that stays warm between them.

    For another model on the same device the same process changes to it, and keeps the parts that both have. Where that
    fails, a new process loads it. A child that hangs costs its job, and one that leaks is replaced between two jobs.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        limits: Limits | None = None,
        *,
        beat: Beat = beat,
        leaks: LeakWatch | None = None,
    ) -> None:
        self._argv = tuple(argv)
        self._environment = dict(environment)
        self._limits = limits or Limits()
        self._beat = beat
        self._leaks = leaks or LeakWatch()
        self._care = Care(self._limits.load_limit_s, self._limits.patience, beat)
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
        if await self._answers(model):
            return 0.0
        started = time.monotonic()
        on_event(Stage(0, "loading"))
        before = self._child
        changes = before is not None and before.can_change_to(model)
        outcome = await self._loaded(model, on_event)
        if isinstance(outcome, Hung) and before is not None:
            # Somebody else's load hung, a preload's for one: this job has lost nothing yet but time.
            log.warning("the model is loaded once more, because the load before it hung. %s", outcome.how)
            outcome = await self._loaded(model, on_event)
        elif changes and not isinstance(outcome, Ready) and not _is_the_files_fault(outcome):
            log.warning("the model is loaded in a new process, because the change to it failed: %s", outcome)
            outcome = await self._loaded(model, on_event)
        if not isinstance(outcome, Ready):
            raise error_of(outcome, "while loading the model")
        return time.monotonic() - started

    async def _answers(self, model: Model) -> bool:
        """Say whether there is a warm child that answers; one that does not is ended here, and costs no job."""
        child = self._child
        if child is None or not self.is_warm(model):
            return False
        if await child.link.answers(self._limits.patience.quiet_stopping_s):
            return True
        log.warning("render process %d was idle and did not answer; it is replaced", child.link.pid)
        await self._discard()
        return False

    async def _loaded(self, model: Model, on_event: OnEvent) -> _Outcome:
        """Wait for the load, begun now or before, and return how it ended; after a failure no child is left."""
        child = await self._child_with(model)
        outcome = (await child.loaded(on_event)).event
        if not isinstance(outcome, Ready):
            await self._discard()
        return outcome

    async def _child_with(self, model: Model) -> WarmChild:
        child = self._child
        if child is not None and child.holds(model):
            return child  # still loading: a job that was cancelled began it, or a preload
        if child is not None and child.can_change_to(model):
            child = WarmChild.begin(child.link, model, self._care)
        else:
            await self._discard()
            started = time.monotonic()
            try:
                link = await ChildProcess.start(self._argv, self._environment)
            except OSError as error:
                raise EngineUnavailable(f"The render process could not be started: {error}") from error
            child = WarmChild.begin(link, model, self._care, started)
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
        watchdog = Watchdog(self._limits.patience)
        listener = _Listener(watchdog, on_event)
        work = _through(child.link, request, listener)
        ending = asyncio.create_task(watched(child.link, watchdog, self._beat, work))
        try:
            outcome = await asyncio.shield(ending)
        except BaseException:  # cancelled, above all; and what the caller's listener raises, which ends the job too
            listener.is_deaf = True
            self._draining = asyncio.create_task(self._drain(child, request, watchdog, ending))
            await asyncio.wait({self._draining}, timeout=self._limits.stop_grace_s)
            raise
        if isinstance(outcome, Done):
            if self._leaks.has_leaked(child.link.pid, child.model, outcome.placement):
                self._draining = asyncio.create_task(self._discard())
            return outcome
        if not leaves_usable(outcome):
            await self._discard()
            _remove_output(request)
        raise error_of(outcome, "while rendering")

    async def _drain(self, child: WarmChild, request: Render, dog: Watchdog, ending: asyncio.Task[_Outcome]) -> None:
        """Bring a cancelled job to its end, keep the weights if that succeeds, and leave no file of it."""
        dog.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain_limit_s):
                await child.link.send(protocol.Stop(request.job))
                await asyncio.wait({ending})
        # It has no end where the time was up, and an exception where the caller's listener raised one.
        has_ended = ending.done() and not ending.cancelled() and ending.exception() is None
        outcome = ending.result() if has_ended else None
        if not leaves_usable(outcome):
            log.warning("render process %d did not stop when its job was cancelled; it is killed", child.link.pid)
            await self._discard()
        _remove_output(request)

    async def _discard(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.loading.cancel()
        await child.link.end(self._limits.end_grace_s)


class _Listener:
    """Hand a job's events on, until its caller is gone, and have the watchdog know of each."""

    def __init__(self, watchdog: Watchdog, on_event: OnEvent) -> None:
        self._watchdog, self._on_event = watchdog, on_event
        self.is_deaf = False

    def take(self, event: protocol.Event) -> None:
        self._watchdog.take(event)
        if not self.is_deaf:
            self._on_event(event)


async def _through(link: ChildProcess, request: Render, listener: _Listener) -> _Outcome:
    """Send the job and pass its events on until its last one; those of a job before it are dropped."""
    await link.send(request)
    while True:
        event = await link.event()
        if isinstance(event, Died):
            return event
        if isinstance(event, Ready | protocol.Loading | protocol.Pong) or event.job != request.job:
            continue
        if isinstance(event, Done | Failed | Stopped):
            return event
        listener.take(event)


def _is_the_files_fault(outcome: _Outcome) -> bool:
    """Say whether a load failed for its files, which are the same to a new process."""
    return isinstance(outcome, Failed) and outcome.code == ModelNotFound.code


def _remove_output(request: Render) -> None:
    """Remove what a cancelled job finished all the same, and what a killed child left half written."""
    path = Path(request.out_path)
    for left in (path, path.with_name(f"{path.name}.part")):
        left.unlink(missing_ok=True)
