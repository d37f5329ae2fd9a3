"""
Run the SDK's job loops without their pauses.

runpod 1.12.0 (serverless/modules/rp_scale.py) looks for taken jobs every 0.1 s, rests up to a second after each job
before it asks for the next, and drops a job that an open poll brings after SIGTERM. None of this can be configured.
"""

from __future__ import annotations

import asyncio
from typing import Any

from wanworker.serverless._valid_jobs import Fetch, valid_jobs

#: How often an idle loop checks whether the worker should stop.
_LOOK_S = 0.2


def without_waits(scaler: Any) -> Any:
    """Return a subclass of *scaler*, the SDK's JobScaler, that begins and asks for jobs without pauses."""

    class AtOnce(scaler):  # type: ignore[misc]
        """Begin each job when it is taken, ask for the next when one has ended, and finish all that were taken."""

        current_concurrency: int
        jobs_fetcher: Fetch

        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self.jobs_fetcher = valid_jobs(self.jobs_fetcher)
            self._takes_jobs = True
            self._has_ended = asyncio.Event()

        async def set_scale(self) -> None:
            """Return when a job may be asked for, or when the worker stops. The SDK calls it before it asks."""
            await super().set_scale()
            while self.is_alive() and self.current_occupancy() >= self.current_concurrency:
                self._has_ended.clear()
                await self._has_ended.wait()
            if not self.is_alive():
                self.current_concurrency = 0  # the worker stops, so no other job is wanted

        async def get_jobs(self, session: Any) -> None:
            """Take jobs until the worker stops. A poll that is open then may still bring one."""
            try:
                await super().get_jobs(session)
            finally:
                self._takes_jobs = False

        async def run_jobs(self, session: Any) -> None:
            """Run each job that is taken. `get_jobs` never takes more than may run at once."""
            tasks: set[asyncio.Task[None]] = set()
            while self._takes_jobs or not self.jobs_queue.empty():
                try:
                    async with asyncio.timeout(_LOOK_S):
                        job = await self.jobs_queue.get()
                except TimeoutError:
                    continue
                task = self.jobs_tasks[job["id"]] = asyncio.create_task(self.handle_job(session, job))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(lambda _task: self._has_ended.set())
            await asyncio.gather(*tasks, return_exceptions=True)

    return AtOnce
