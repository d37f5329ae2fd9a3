"""Load what WAN_PRELOAD names in the background while the worker takes its first job."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from wanworker.engines.base import PreloadingEngine
from wanworker.engines.choice import choose
from wanworker.engines.registry import EngineRegistry
from wanworker.errors import EngineUnavailable, WorkerError
from wanworker.spec import TASKS, RenderSpec

log = logging.getLogger(__name__)

#: The one name in WAN_PRELOAD that is an engine and not a task: ComfyUI's server, which serves all tasks.
_SERVER = "comfyui"


class Preload:
    """Hold one name of WAN_PRELOAD and its state: `waiting`, `loading`, `ready` or `failed`, for good."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.engine: str | None = None
        self.state = "waiting"
        self.error: str | None = None
        self._clock = clock
        self._began = clock()
        self._took_s: float | None = None

    def begun(self) -> None:
        """Note that it is being loaded from now on."""
        self.state, self._began = "loading", self._clock()

    def ended(self, state: str, error: str | None = None) -> None:
        """Note the end and how long it took."""
        self.state, self.error, self._took_s = state, error, self.seconds

    @property
    def seconds(self) -> float:
        """Return how long it took, or has taken so far."""
        return self._clock() - self._began if self._took_s is None else self._took_s

    def to_json(self) -> dict[str, Any]:
        """Return it as health shows it."""
        shown = {"name": self.name, "engine": self.engine, "state": self.state, "seconds": round(self.seconds, 1)}
        return shown | ({"error": self.error} if self.error else {})


class Preloader:
    """
    Warm engines once, beside the jobs. A job waits for the same load, and tries again itself if it failed.

    *wanted* are the names of WAN_PRELOAD, *asked* is the engine of jobs that name none. A task is loaded in the engine
    that would render it.
    """

    def __init__(
        self,
        registry: EngineRegistry,
        wanted: Sequence[str],
        *,
        asked: str,
        mini_allowed: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._wanted = tuple(wanted)
        self._asked = asked
        self._mini_allowed = mini_allowed
        self._clock = clock
        self._running: asyncio.Task[None] | None = None
        self.preloads: tuple[Preload, ...] = ()

    def begin(self) -> None:
        """Begin, on the first call. Never waits, never raises. Must be called on a running event loop."""
        if self._running is None and self._wanted:
            self.preloads = tuple(Preload(name, self._clock) for name in self._wanted)
            self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop waiting. The engines end what they have started."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        """
        Warm the engines side by side, and the cards. An engine loads the names of one card in their order; if two need
        the same place, the first wins.
        """
        for preload in self.preloads:
            await self._guarded(preload, self._choose)
        engines = dict.fromkeys(preload.engine for preload in self.preloads if preload.engine)
        await asyncio.gather(*[self._warm(engine) for engine in engines])

    async def _warm(self, engine: str) -> None:
        named = [preload for preload in self.preloads if preload.engine == engine]
        cards = len(self._registry.cards.numbers)
        await asyncio.gather(*(self._warm_cards(named, first, cards) for first in range(cards)))

    async def _warm_cards(self, named: Sequence[Preload], first: int, step: int) -> None:
        """Load one of *named* after the other, from *first* on: others are loaded on other cards meanwhile."""
        for nth in range(first, len(named), step):
            await self._guarded(named[nth], functools.partial(self._load, nth=nth, count=len(named)))

    async def _guarded(self, preload: Preload, step: Callable[[Preload], Awaitable[None]]) -> None:
        """Take *step*. A failure is logged and becomes the preload's own state."""
        try:
            await step(preload)
        except asyncio.CancelledError:
            preload.ended("failed", "The worker ends.")
            raise
        except WorkerError as error:
            preload.ended("failed", str(error))
            log.warning("preload of %s failed after %.1f s: %s", preload.name, preload.seconds, error)
        except Exception:  # a preload is optional: the worker goes on, and jobs try for themselves
            preload.ended("failed", "Internal error; see the worker's log.")
            log.exception("preload of %s failed with an unexpected error", preload.name)

    async def _choose(self, preload: Preload) -> None:
        is_server = preload.name == _SERVER
        name = _SERVER if is_server else await asyncio.to_thread(self._engine_for, preload.name)
        engine = await asyncio.to_thread(self._registry.engine, name)
        if not isinstance(engine, PreloadingEngine):
            raise EngineUnavailable(f"{name} loads its weights for each job, so there is nothing to preload.")
        preload.engine = name

    async def _load(self, preload: Preload, *, nth: int, count: int) -> None:
        preload.begun()
        task = None if preload.name == _SERVER else preload.name
        await self._registry.preload(preload.engine or _SERVER, task, nth=nth, count=count)
        preload.ended("ready")
        log.info("preload of %s (%s) took %.1f s", preload.name, preload.engine, preload.seconds)

    def _engine_for(self, task: str) -> str:
        """Return the engine that would render a plain request of *task*. Raises ModelNotFound."""
        known = TASKS[task]
        spec = RenderSpec(
            task=task, prompt="", size=known.size, size_given=False, fps=known.fps, fps_given=False, seed=0,
        )  # fmt: skip
        return choose(
            spec,
            self._registry.rows,
            self._registry.readiness,
            asked=self._asked,
            searched=str(self._registry.settings.ckpt_dir),
            mini_allowed=self._mini_allowed,
        ).engine
