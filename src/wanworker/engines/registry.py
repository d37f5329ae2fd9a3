"""The engines of one worker: built on first use, closed together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Sequence

from wanworker.engines.base import Engine, EngineRow, GpuEngine, PlanningEngine, Readiness, RemoteEngine
from wanworker.errors import InvalidRequest, WorkerError
from wanworker.settings import Settings
from wanworker.spec import RenderSpec

log = logging.getLogger(__name__)


class EngineRegistry:
    """
    Hold the rows of the ENGINES table that are set up, and this worker's one engine of each.

    A remote engine is set up when it has slots.
    """

    def __init__(self, rows: Sequence[EngineRow], settings: Settings) -> None:
        self.rows = tuple(row for row in rows if row.remote_slots is None or row.remote_slots(settings))
        self._not_set_up = frozenset(row.name for row in rows) - {row.name for row in self.rows}
        self.settings = settings
        self._built: dict[str, Engine] = {}
        self._building = threading.Lock()
        self._machine = asyncio.Lock()

    @property
    def slots(self) -> int:
        """Return how many jobs can render at once: one here, and what remote engines take."""
        remote = (row.remote_slots(self.settings) for row in self.rows if row.remote_slots is not None)
        return 1 + sum(remote)

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait until engine *name* may render, and keep this machine for it. A remote engine waits for nobody."""
        if self.row(name).remote_slots is not None:
            yield
            return
        async with self._machine:
            yield

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

    def engine(self, name: str) -> Engine:
        """Return the engine of this name, building it on the first call. Jobs, health and preloads ask from threads."""
        with self._building:
            if name not in self._built:
                self._built[name] = self.row(name).build(self.settings)
            return self._built[name]

    def readiness(self, name: str, task: str) -> Readiness:
        """Say whether engine *name* can render *task* here. An engine is only asked about its own tasks."""
        if task not in self.row(name).capabilities.tasks:
            return Readiness(missing=(f"{name} does not render {task}",))
        return self.engine(name).readiness(task)

    def readiness_for(self, name: str, spec: RenderSpec) -> Readiness:
        """Say whether engine *name* can render *spec* here, whose size and frames may need more than its task does."""
        engine = self.engine(name)
        if isinstance(engine, PlanningEngine) and spec.task in self.row(name).capabilities.tasks:
            return engine.readiness_for(spec)
        return self.readiness(name, spec.task)

    async def free_gpu_for(self, name: str) -> None:
        """
        Make every other engine free its GPU memory, if engine *name* renders on the GPU.

        Call it in this engine's turn. If an engine fails to free it, that is only logged, because there may be room.
        """
        engine = self.engine(name)
        if isinstance(engine, GpuEngine) and await asyncio.to_thread(engine.renders_on_gpu):
            await asyncio.gather(*(self._release(row.name) for row in self.rows if row.name != name))

    async def _release(self, name: str) -> None:
        try:
            # Engines are built for this too: a ComfyUI that the pod started may hold memory without any job of ours.
            engine = await asyncio.to_thread(self.engine, name)
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
        for engine in self._built.values():
            if isinstance(engine, RemoteEngine):
                engine.leave_jobs()

    async def close(self) -> None:
        """Stop every engine that was started. A failure is logged, and the others are still stopped."""
        for name, engine in self._built.items():
            try:
                await engine.close()
            except Exception:  # the other engines must still be closed
                log.exception("engine %s did not close", name)
