"""Run the queue of one door: jobs wait in order of arrival, each for a slot of its place, any can be cancelled."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from wanworker.engines.base import Report
from wanworker.errors import Interrupted, UnknownJob, WorkerError
from wanworker.jobs._active_job import ActiveJob
from wanworker.jobs._line import Line, QueueFull
from wanworker.jobs._slots import PlaceOf, Slots
from wanworker.jobs.model import CANCELLED, Job, JobError, JobStatus
from wanworker.jobs.store.job_store import Claim, JobRequest, JobStore
from wanworker.media.threads import in_thread
from wanworker.progress import AtPlace, Progress

__all__ = ["WRITTEN_AT_ONCE", "ActiveJob", "PlaceOf", "Prepare", "QueueFull", "Render", "Runner"]

log = logging.getLogger(__name__)

#: Return what is recorded of a job, and who tells its place instead of the queue's own *place_of*. May block.
Prepare = Callable[[], tuple[JobRequest, PlaceOf | None]]

#: How many changes that clients cause go to the volume at once. Fifty would take every thread from those who only ask.
WRITTEN_AT_ONCE = 2

#: Render the QUEUED attempt of a job to its end and return the COMPLETED job. Raises WorkerError.
Render = Callable[[Job, Report], Coroutine[Any, Any, Job]]


class Runner:
    """
    Hold at most *limit* waiting jobs, and let *render* have them in their order, as many at a time as *slots* says of
    each place. *place_of* tells a job's place where there are several; a job waits for those of its own place only.

    *on_end* is called with the last record of every job that ended here, or with None if the job was deleted; it must
    not block. The end of a job takes one of *turns*, which all share who write for clients. Every *look_s* seconds the
    runner checks which jobs another process has taken away.
    """

    def __init__(
        self,
        store: JobStore,
        render: Render,
        *,
        limit: int,
        slots: Mapping[str, int] = {"here": 1},
        place_of: PlaceOf | None = None,
        on_end: Callable[[str, Job | None], None] = lambda _request_id, _job: None,
        look_s: float = 10.0,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        self._store = store
        self._render = render
        self._limit = limit
        self._slots = Slots(slots, place_of)
        self._on_end = on_end
        self._look_s = look_s
        self.turns = turns or asyncio.Semaphore(WRITTEN_AT_ONCE)
        self._line = Line()
        self._coming = 0
        self._news = asyncio.Event()
        self._mean_s = 30.0

    @property
    def waiting(self) -> int:
        """Return how many jobs wait for their turn."""
        return self._line.waiting + self._coming

    @property
    def running(self) -> tuple[ActiveJob, ...]:
        """Return the jobs that render now, the one that came first at the front."""
        return self._line.rendering

    @property
    def limit(self) -> int:
        """Return how many jobs may wait."""
        return self._limit

    def find(self, request_id: str) -> ActiveJob | None:
        """Return the job if it waits or renders here, else None."""
        return self._line.find(request_id)

    def position(self, request_id: str) -> int:
        """Return the place of a job that waits here. The next one has place 1."""
        return self._line.position(request_id)

    def check_room(self) -> None:
        """Raise QueueFull if the queue has no free place."""
        waiting = self._line.taking_room + self._coming
        if waiting >= self._limit:
            message = f"The queue is full: {waiting} jobs are waiting, and the limit is {self._limit}."
            raise QueueFull(message, retry_after_s=self._retry_after_s())

    async def submit(self, prepare: Prepare) -> Job:
        """
        Record what *prepare* returns as QUEUED and put it into the queue. Both happen in one thread.

        Raises QueueFull, what *prepare* raises, and what JobStore.claim raises.
        """

        def claim() -> tuple[Claim, PlaceOf | None]:
            request, place_of = prepare()
            return self._store.claim(request, queued=True), place_of

        self.check_room()
        self._coming += 1
        try:
            return (await self._claimed(claim, CANCELLED)).job
        finally:
            self._coming -= 1

    async def resume(self, request: JobRequest) -> bool:
        """Put a job that another process left into this queue, even a full one. Return False if it is not to be had."""
        try:
            claimed = await self._claimed(lambda: (self._store.claim(request, queued=True, again=True), None), _STOPPED)
        except UnknownJob:
            return False
        return claimed.is_ours

    async def _claimed(self, claim: Callable[[], tuple[Claim, PlaceOf | None]], called_off: JobError) -> Claim:
        made: list[tuple[Claim, PlaceOf | None]] = []
        try:
            await in_thread(lambda: made.append(claim()))
        except asyncio.CancelledError:
            # The thread has ended by now. If it claimed the job, the job must end here: its owner, this process, lives.
            for claimed, _ in made:
                if claimed.is_ours:
                    await self._written_end(claimed.job, JobStatus.CANCELLED, called_off)  # the caller may have a turn
            raise
        claimed, place_of = made[0]
        if claimed.is_ours:
            live = ActiveJob(claimed.job)
            self._line.put(live)
            self._slots.put(live, place_of)
            self._news.set()
        return claimed

    async def cancel(self, request_id: str) -> bool:
        """Cancel a job, and return when nothing of it runs any more. Return False if it is not here."""
        live = self._line.find(request_id)
        if live is None:
            return False
        if live.task is not None:
            live.task.cancel()
            await live.ended.wait()
        else:
            self._forget(live)  # now, because its turn could come while the record is written
            self._leave(live, await self._ended(live.job, JobStatus.CANCELLED, CANCELLED))
        return True

    async def run(self) -> None:
        """
        Render the submitted jobs until cancelled, as many at once as there are slots.

        On cancellation every render is stopped. What had not ended is recorded as CANCELLED, and so are the waiting
        jobs, so that another process can take them up at once instead of waiting for their heartbeats to stop.
        """
        looking = asyncio.create_task(self._look_around())
        try:
            async with asyncio.TaskGroup() as turns:
                turns.create_task(self._slots.find_places(self._news.set))
                await self._give_turns(turns)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self._stop_all()

    async def _give_turns(self, turns: asyncio.TaskGroup) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while (live := self._slots.take()) is not None:
                turns.create_task(self._turn(live, self._begun(live)))

    def _begun(self, live: ActiveJob) -> asyncio.Task[Job]:
        """Begin the render at once, because a job that is called off before its turn has a task must not get one."""
        live.task = asyncio.create_task(self._render(live.job, functools.partial(self._heard, live)))
        self._line.note(live)
        return live.task

    async def _turn(self, live: ActiveJob, task: asyncio.Task[Job]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.wait({task})
        self._mean_s += 0.3 * (loop.time() - started - self._mean_s)
        self._leave(live, await self._outcome(live.job, task))

    async def _stop_all(self) -> None:
        """Stop every render, and then record each job that is still here."""
        rendering = [live.task for live in self._line if live.task is not None]
        for task in rendering:
            task.cancel()
        await asyncio.gather(*rendering, return_exceptions=True)
        for live in self._line:
            await self._ended(live.job, JobStatus.CANCELLED, _STOPPED)
            live.ended.set()  # a cancellation may wait for it

    async def _outcome(self, job: Job, task: asyncio.Task[Job]) -> Job | None:
        """Return the job's last record. Write it here if the render ended before it had an attempt to record."""
        if task.cancelled():
            return await self._ended(job, JobStatus.CANCELLED, CANCELLED)
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, WorkerError):
            log.warning("job %s failed: %s %s", job.request_id, error.code, error)
            status = JobStatus.TIMEOUT if error.status == JobStatus.TIMEOUT.value else JobStatus.ERROR
            return await self._ended(job, status, JobError(error.code, str(error), error.hint))
        log.error("job %s failed with an unexpected error", job.request_id, exc_info=error)
        return await self._ended(job, JobStatus.ERROR, _INTERNAL)

    async def _ended(self, job: Job, status: JobStatus, error: JobError) -> Job | None:
        async with self.turns:
            return await self._written_end(job, status, error)

    async def _written_end(self, job: Job, status: JobStatus, error: JobError) -> Job | None:
        """Record the end of a job that has none yet. Return its record, or None if it has no record any more."""
        try:
            stored = await in_thread(self._store.find, job.request_id)
            if stored.status.is_terminal:
                return stored
            return await in_thread(self._store.update, job, status=status, error=error)
        except (UnknownJob, Interrupted):
            return None
        except WorkerError as failure:
            log.warning("the end of job %s (%s) was not recorded: %s", job.request_id, status.value, failure)
        except Exception:  # the queue must go on
            log.exception("the end of job %s (%s) was not recorded", job.request_id, status.value)
        return job.changed(job.heartbeat_at, status=status, error=error)

    def _leave(self, live: ActiveJob, job: Job | None) -> None:
        self._forget(live)
        live.ended.set()
        live.touch()
        self._touch_all()
        try:
            self._on_end(live.job.request_id, job)
        except Exception:  # the queue must go on
            log.exception("what is left to do for job %s failed", live.job.request_id)

    def _forget(self, live: ActiveJob) -> None:
        self._line.remove(live)
        self._slots.leave(live)
        self._news.set()  # a slot may be free now

    def _heard(self, live: ActiveJob, progress: Progress) -> None:
        if isinstance(progress, AtPlace) and progress.place is not None and self._slots.move(live, progress.place):
            self._news.set()  # the slot that it had is free
        live.take(progress)
        if self._line.note(live):
            self._touch_all()

    def _touch_all(self) -> None:
        """Report a change to every waiting job, because every position in the queue has changed."""
        for live in self._line:
            live.touch()

    async def _look_around(self) -> None:
        """Drop the waiting jobs that other processes took away. A running job learns that from its own heartbeat."""
        while True:
            await asyncio.sleep(self._look_s)
            waiting = [live.job for live in self._line if live.task is None]
            try:
                for job in await in_thread(self._store.lost, waiting):
                    await self._drop(job.request_id)
            except WorkerError as error:
                log.warning("the waiting jobs could not be checked: %s", error)
            except Exception:  # one failure must not end the looking
                log.exception("the waiting jobs could not be checked")

    async def _drop(self, request_id: str) -> None:
        """Forget a waiting job. If it was not deleted, it comes back when the kept requests are looked through."""
        try:
            await in_thread(self._store.find, request_id)
            is_deleted = False
        except UnknownJob:
            is_deleted = True
        live = self._line.find(request_id)
        if live is None or live.task is not None:
            return
        if is_deleted:
            self._leave(live, None)
        else:
            self._forget(live)
            live.ended.set()
            live.touch()

    def _retry_after_s(self) -> int:
        """Return the whole seconds until a current job may be done, when a place in the queue becomes free."""
        known = [live.progress.eta_s for live in self.running if live.progress and live.progress.eta_s is not None]
        return round(min(600.0, max(1.0, min(known, default=self._mean_s / max(1, len(self.running))))))


_STOPPED = JobError("STOPPED", "The server was stopped; it takes the job up again when it starts.", "")
_INTERNAL = JobError("INTERNAL", "Internal error; see the worker's log.", "")
