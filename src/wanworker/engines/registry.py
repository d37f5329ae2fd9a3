"""The engines of one worker: one of each for every card, built on first use, closed together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from wanworker.engines.base import (
    Engine,
    EngineRow,
    GpuEngine,
    PlanningEngine,
    PreloadingEngine,
    Readiness,
    RemoteEngine,
)
from wanworker.engines.cards.cards import Cards
from wanworker.engines.cards.lease import Lease
from wanworker.engines.cards.named import cards_named
from wanworker.errors import InvalidRequest, WorkerError
from wanworker.models.machine.hardware import gpus
from wanworker.settings import Card, Settings, child_environment
from wanworker.spec import GraphSpec, RenderSpec

log = logging.getLogger(__name__)

#: The place of all engines of this machine, which share its cards.
HERE = "here"


class EngineRegistry:
    """
    Hold the rows of the ENGINES table that are set up, the cards of this worker, and its one engine of each row on each
    card.

    A remote engine is set up when it has slots.
    """

    def __init__(self, rows: Sequence[EngineRow], settings: Settings) -> None:
        self.rows = tuple(row for row in rows if row.remote_slots is None or row.remote_slots(settings))
        self._not_set_up = frozenset(row.name for row in rows) - {row.name for row in self.rows}
        self.settings = settings
        visible = child_environment().get("CUDA_VISIBLE_DEVICES")
        self.cards = Cards(cards_named(settings.gpus, visible=visible, seen=gpus))
        self._built: dict[tuple[str, int], Engine] = {}
        self._building = threading.Lock()

    @property
    def slots(self) -> Mapping[str, int]:
        """
        Return how many jobs render at once at each place: one on each card here, and what a remote engine takes.

        Where there are several cards, an engine that renders on the first one only takes one job beside them. Its jobs
        would hold the slots of cards that others could use.
        """
        remote = {row.name: row.remote_slots(self.settings) for row in self.rows if row.remote_slots is not None}
        alone = {row.name: 1 for row in self.rows if self._is_alone(row)}
        return {HERE: len(self.cards.numbers), **alone, **remote}

    def place_of(self, name: str) -> str:
        """Return the place where engine *name* renders: HERE, or its own name if it has slots of its own."""
        row = self.row(name)
        return HERE if row.remote_slots is None and not self._is_alone(row) else name

    def row(self, name: str) -> EngineRow:
        """Return the row of this name. Raises InvalidRequest, naming the known engines."""
        for row in self.rows:
            if row.name == name:
                return row
        if name in self._not_set_up:
            text = f"The engine {name} is not set up: this worker was given no endpoints to send jobs to."
            raise InvalidRequest(text, hint="Set WAN_RUNPOD_ENDPOINTS, or name another engine.", field="engine")
        known = ", ".join(["auto", *(row.name for row in self.rows)])
        raise InvalidRequest(f"Unknown engine {name[:60]!r}; known: {known}.", field="engine")

    def engine(self, name: str, number: int | None = None) -> Engine:
        """
        Return the engine of this name on card *number* (the first card), building it on the first call.

        Jobs, health and preloads ask from threads.
        """
        key = (name, self.cards.numbers[0] if number is None else number)
        with self._building:
            if key not in self._built:
                self._built[key] = self.row(name).build(self.settings.on_card(self.cards.card(key[1])))
            return self._built[key]

    def readiness(self, name: str, task: str) -> Readiness:
        """
        Say whether engine *name* can render *task* on some card here. An engine is only asked about its own tasks.
        """
        if task not in self.row(name).capabilities.tasks:
            return Readiness(missing=(f"{name} does not render {task}",))
        return self._on_some_card(name, lambda engine: engine.readiness(task))

    def readiness_for(self, name: str, spec: RenderSpec) -> Readiness:
        """Say whether engine *name* can render *spec* here, whose size and frames may need more than its task does."""
        if spec.task not in self.row(name).capabilities.tasks:
            return self.readiness(name, spec.task)
        return self._on_some_card(name, lambda engine: _readiness_for(engine, spec))

    @contextlib.asynccontextmanager
    async def lease(
        self,
        name: str,
        spec: RenderSpec | GraphSpec,
        job: str,
        *,
        on_wait: Callable[[], None] = lambda: None,
        within: Callable[[], contextlib.AbstractAsyncContextManager[object]] = contextlib.nullcontext,
        waiting: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> AsyncIterator[Lease]:
        """
        Wait until engine *name* may render *spec* for *job*, and keep a card for it. A remote engine needs none.

        *on_wait* is called if no card is free at once. The wait for one is *waiting*; what comes before it, the
        question on which cards the job fits, is bounded by *within*.
        """
        if self.row(name).remote_slots is not None:
            lease = Lease(Cards((Card(),)), name, job, (0,), engine_on=lambda _: self.engine(name), make_room=_no_room)
        else:
            async with within():
                eligible = await asyncio.to_thread(self._fit_for, name, spec)
            lease = Lease(
                self.cards,
                _loaded_for(name, spec),
                job,
                eligible,
                engine_on=lambda number: self.engine(name, number),
                make_room=lambda number: self.free_gpu_for(name, number),
            )
        with waiting():
            await lease.begin(on_wait)
        try:
            yield lease
        except BaseException as error:
            lease.end(error)
            raise
        lease.end(None)

    async def preload(self, name: str, task: str | None, *, nth: int, count: int) -> None:
        """
        Preload engine *name* for *task*, the *nth* (from 0) of *count* names that it is to load.

        Names are dealt out to the cards: each has a card of its own where there are enough, and no card stays empty.
        Raises WorkerError.
        """
        numbers = self._places_of(name)
        mine = [number for place, number in enumerate(numbers) if place % count == nth % len(numbers)]
        ends = await asyncio.gather(*(self._preload_on(number, name, task) for number in mine), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def free_gpu_for(self, name: str, number: int | None = None) -> None:
        """
        Make every other engine free its memory of card *number*, if engine *name* renders on the GPU there.

        Call it while this engine holds its card. An engine that does not free it is only logged: there may be room.
        """
        engine = await asyncio.to_thread(self.engine, name, number)
        if isinstance(engine, GpuEngine) and await asyncio.to_thread(engine.renders_on_gpu):
            others = (row.name for row in self.rows if row.name != name)
            await asyncio.gather(*(self._release(other, number) for other in others))

    async def close(self) -> None:
        """Stop every engine that was started. A failure is logged, and the others are still stopped."""
        built = list(self._built.items())  # a thread may still be building one
        await asyncio.gather(*(_closed(name, number, engine) for (name, number), engine in built))

    async def _release(self, name: str, number: int | None) -> None:
        try:
            if number is not None and number not in self._places_of(name):
                return
            # Engines are built for this too: a ComfyUI that the pod started may hold memory without any job of ours.
            engine = await asyncio.to_thread(self.engine, name, number)
            if isinstance(engine, GpuEngine):
                await engine.release_gpu()
        except WorkerError as error:
            log.warning("engine %s did not free its GPU memory: %s", name, error)
        except Exception:  # no failure here may end the job of another engine
            log.exception("engine %s did not free its GPU memory, because of an unexpected error", name)

    async def announce(self, name: str, render_name: str) -> None:
        """Tell engine *name*, if it is a remote one, that it is about to be given the render *render_name*."""
        engine = await asyncio.to_thread(self.engine, name)
        if isinstance(engine, RemoteEngine):
            await asyncio.to_thread(engine.announce, render_name)

    def leave_jobs(self) -> None:
        """Let what remote engines render go on over there when it is cancelled here: this process comes again."""
        for engine in list(self._built.values()):
            if isinstance(engine, RemoteEngine):
                engine.leave_jobs()

    async def _preload_on(self, number: int, name: str, task: str | None) -> None:
        engine = await asyncio.to_thread(self.engine, name, number)
        assert isinstance(engine, PreloadingEngine), "seen when it was chosen"
        loaded = None if task is None else f"{name} {task}"
        if self.cards.held_by(number) is None:
            self.cards.loads(number, loaded)
        try:
            await engine.preload(task)
        except BaseException:
            if self.cards.held_by(number) == loaded:
                self.cards.loads(number, None)
            raise

    def _is_alone(self, row: EngineRow) -> bool:
        """Say whether an engine of this machine uses one of several cards, so that it has a slot of its own."""
        return row.remote_slots is None and len(self.cards.numbers) > 1 and row.has_one_place(self.settings)

    def _places_of(self, name: str) -> tuple[int, ...]:
        numbers = self.cards.numbers
        return numbers[:1] if self.row(name).has_one_place(self.settings) else numbers

    def _fit_for(self, name: str, spec: RenderSpec | GraphSpec) -> tuple[int, ...]:
        """Return the cards that *spec* fits on; all of them if it fits on none, because its engine was named."""
        numbers = self._places_of(name)
        if len(numbers) == 1 or isinstance(spec, GraphSpec):
            return numbers
        fit = tuple(number for number in numbers if _readiness_for(self.engine(name, number), spec).is_ready)
        return fit or numbers

    def _on_some_card(self, name: str, ask: Callable[[Engine], Readiness]) -> Readiness:
        """Return the answer of the first card that is ready, else that of the first card."""
        first, *others = self._places_of(name)
        answer = ask(self.engine(name, first))
        if answer.has_weights and not answer.is_ready:
            ready = (other for number in others if (other := ask(self.engine(name, number))).is_ready)
            return next(ready, answer)
        return answer


def _loaded_for(name: str, spec: RenderSpec | GraphSpec) -> str:
    """Return what a card holds after engine *name* has rendered *spec* there, such as `diffusers t2v-A14B`. Pure."""
    if isinstance(spec, GraphSpec):
        return f"{name} workflow"
    return " ".join([name, spec.task, *([", ".join(spec.diffusion_models)] if spec.diffusion_models else [])])


def _readiness_for(engine: Engine, spec: RenderSpec) -> Readiness:
    return engine.readiness_for(spec) if isinstance(engine, PlanningEngine) else engine.readiness(spec.task)


async def _no_room(_number: int) -> None:
    """Make no room: a remote engine takes none."""


async def _closed(name: str, number: int, engine: Engine) -> None:
    try:
        await engine.close()
    except Exception:  # the other engines must still be closed
        log.exception("engine %s of card %d did not close", name, number)
