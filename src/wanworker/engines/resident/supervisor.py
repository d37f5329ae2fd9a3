"""The parent's side: a warm child for one model at a time, one job at a time, replaced when it dies."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wanworker.engines.resident import protocol
from wanworker.engines.resident.link import Died, Link
from wanworker.engines.resident.protocol import Done, Failed, Model, Ready, Render, Stage, Stopped
from wanworker.errors import (
    DiskFull,
    EngineError,
    EngineFailed,
    EngineUnavailable,
    InputUnavailable,
    InvalidRequest,
    ModelNotFound,
    NoOutput,
    OutOfMemory,
    WorkerError,
)

log = logging.getLogger(__name__)

_ERRORS: Mapping[str, type[WorkerError]] = {
    error.code: error
    for error in (
        InvalidRequest, InputUnavailable, ModelNotFound,
        EngineError, EngineFailed, EngineUnavailable, OutOfMemory, NoOutput, DiskFull,
    )
}  # fmt: skip

#: 137 is how a shell (a wrapper around the interpreter) tells of SIGKILL.
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)

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


@dataclasses.dataclass(frozen=True, slots=True)
class _Child:
    link: Link
    model: Model
    loading: asyncio.Task[protocol.Event | Died]


class Supervisor:
    """
    Run jobs in a child that stays warm between them.

    Another model takes another process: its end is the one sure way to give all GPU memory back.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], limits: Limits | None = None) -> None:
        self._argv = tuple(argv)
        self._environment = dict(environment)
        self._limits = limits or Limits()
        self._lock = asyncio.Lock()
        self._child: _Child | None = None
        self._draining: asyncio.Task[None] | None = None
        self._jobs = 0

    @property
    def pid(self) -> int | None:
        """The warm child's process id, None where there is no living child."""
        return self._child.link.pid if self._child and self._child.link.is_alive else None

    def is_warm(self, model: Model) -> bool:
        """Say whether a living child holds exactly this model, loaded."""
        child = self._child
        return bool(child and child.model == model and child.link.is_alive and child.loading.done())

    async def render(self, model: Model, request: Render, on_event: OnEvent) -> Done:
        """
        Run one job and return its last event; the events on the way go to *on_event*.

        The number in `request.job` is replaced by our own. Jobs wait for one another. Timings gain `load_s` (0 where
        the model was warm). On cancellation the job is stopped at its next step; when that takes longer than the
        grace, the caller is let go and the next job waits until the child has come to rest.
        """
        async with self._lock:
            await self._at_rest()
            load_s = await self._warm(model, on_event)
            self._jobs += 1
            done = await self._run(dataclasses.replace(request, job=self._jobs), on_event)
        return dataclasses.replace(done, timings={"load_s": load_s, **done.timings})

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
        if self.is_warm(model) and self._child is not None and isinstance(self._child.loading.result(), Ready):
            return 0.0
        started = time.monotonic()
        on_event(Stage(0, "loading"))
        child = await self._child_with(model)
        await asyncio.wait({child.loading})
        outcome = child.loading.result()
        if not isinstance(outcome, Ready):
            await self._discard()
            raise _error_of(outcome, "while loading the model")
        return time.monotonic() - started

    async def _child_with(self, model: Model) -> _Child:
        child = self._child
        if child is not None and child.model == model and child.link.is_alive:
            return child  # still loading: the job that began it was cancelled
        await self._discard()
        try:
            link = await Link.start(self._argv, self._environment)
        except OSError as error:
            raise EngineUnavailable(f"The render process could not be started: {error}") from error
        log.info("render process %d loads %s (%s)", link.pid, model.folder, model.placement)
        child = self._child = _Child(link, model, asyncio.create_task(self._load(link, model)))
        return child

    async def _load(self, link: Link, model: Model) -> protocol.Event | Died:
        limit_s = self._limits.load_limit_s
        try:
            async with asyncio.timeout(limit_s):
                await link.send(protocol.Load(model))
                while not isinstance(event := await link.event(), Ready | Failed | Died):
                    pass
                return event
        except TimeoutError:
            return Failed(0, EngineFailed.code, f"The model was not loaded within {limit_s:g} s.", usable=False)

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
        if not _leaves_usable(outcome):
            await self._discard()
            _remove_output(request)
        raise _error_of(outcome, "while rendering")

    async def _drain(self, child: _Child, request: Render) -> None:
        """Bring a cancelled job to its end, keep the weights if that succeeds, and leave no file of it."""
        outcome: protocol.Event | Died | None = None
        try:
            async with asyncio.timeout(self._limits.drain_limit_s):
                await child.link.send(protocol.Stop(request.job))
                outcome = await _end_of(child.link, request.job, lambda _event: None)
        except TimeoutError:
            log.warning("render process %d did not stop; it is killed", child.link.pid)
        if not _leaves_usable(outcome):
            await self._discard()
        _remove_output(request)

    async def _discard(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.loading.cancel()
        await child.link.end(self._limits.end_grace_s)


async def _end_of(link: Link, job: int, on_event: OnEvent) -> Done | Failed | Stopped | Died:
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


def _leaves_usable(outcome: protocol.Event | Died | None) -> bool:
    return isinstance(outcome, Done | Stopped) or (isinstance(outcome, Failed) and outcome.usable)


def _error_of(outcome: protocol.Event | Died, when: str) -> WorkerError:
    if isinstance(outcome, Failed):
        return _ERRORS.get(outcome.code, EngineFailed)(outcome.message, hint=outcome.hint)
    if isinstance(outcome, Died):
        log.warning("the render process ended with %d %s:\n%s", outcome.returncode, when, outcome.last_words)
        return _error_of_death(outcome, when)
    return EngineFailed(f"The render process stopped the job unasked {when}.")


def _error_of_death(died: Died, when: str) -> WorkerError:
    last = f" Its last words: {' | '.join(died.last_words.splitlines()[-3:])}" if died.last_words else ""
    if died.returncode in _KILLED:
        return OutOfMemory(
            f"The render process was killed {when} (SIGKILL): most likely the machine's memory ran out.{last}"
        )
    how = f"exit code {died.returncode}"
    if died.returncode < 0:
        how = f"signal {signal.Signals(-died.returncode).name}"
    return EngineFailed(f"The render process ended {when} ({how}).{last}")
