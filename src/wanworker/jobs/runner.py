"""The queue of one door: jobs wait in order of arrival, one renders at a time, and each can be cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from wanworker.engines.base import Report
from wanworker.engines.preview import Previewed
from wanworker.errors import Interrupted, RequestError, UnknownJob, WorkerError
from wanworker.jobs.model import Job, JobError, JobStatus
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.media.disk import in_thread
from wanworker.progress import Progress


@dataclass(eq=False, slots=True)
class ActiveJob:
    """
    A job that waits or renders here, as memory has it: newer than its record, and without a look at the disk.

    `percent` never falls. `preview` has a picture of the render so far. `changed` is set, and replaced by a fresh
    event, whenever anything here changes; `ended` is set once the job is no longer here.
    """

    job: Job
    percent: float = 0.0
    progress: Progress | None = None
    preview: Previewed | None = None
    is_rendering: bool = False
    task: asyncio.Task[Job] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def touch(self) -> None:
        """Wake whoever waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()

    def take(self, progress: Progress) -> None:
        """Take the engine's progress, and its picture where it brings one."""
        self.progress = progress
        self.preview = progress if isinstance(progress, Previewed) else self.preview
        self.percent = max(self.percent, progress.to_json()["progress"])
        self.touch()


__all__ = ["ActiveJob", "QueueFull", "Render", "Runner"]

log = logging.getLogger(__name__)

#: Render the QUEUED attempt of a job to its end and return the COMPLETED job. Raises WorkerError.
Render = Callable[[Job, Report], Coroutine[Any, Any, Job]]


class QueueFull(RequestError):
    """The queue is full; `retry_after_s` says when to try again."""

    code = "QUEUE_FULL"
    http_status = 429
    default_hint = "Send the request again after the time in Retry-After."

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Runner:
    """
    Hold at most *limit* waiting jobs and let *render* have them one by one.

    *on_end* hears of every job that ended here, with its last record (None: it was deleted); it must not block.
    QUEUED records get a heartbeat every *heartbeat_s*, or another host would take them for given up.
    """

    def __init__(
        self,
        store: JobStore,
        render: Render,
        *,
        limit: int,
        on_end: Callable[[str, Job | None], None] = lambda _request_id, _job: None,
        heartbeat_s: float = 10.0,
    ) -> None:
        self._store = store
        self._render = render
        self._limit = limit
        self._on_end = on_end
        self._heartbeat_s = heartbeat_s
        self._live: dict[str, ActiveJob] = {}
        self._coming = 0
        self._news = asyncio.Event()
        self._mean_s = 30.0

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return sum(not live.is_rendering for live in self._live.values()) + self._coming

    @property
    def running(self) -> ActiveJob | None:
        """The job that renders now."""
        return next((live for live in self._live.values() if live.is_rendering), None)

    @property
    def limit(self) -> int:
        """How many jobs may wait."""
        return self._limit

    def find(self, request_id: str) -> ActiveJob | None:
        """Return the job if it waits or renders here."""
        return self._live.get(request_id)

    def position(self, request_id: str) -> int:
        """Return the place of a job that waits here: 1 for the next."""
        waiting = [name for name, live in self._live.items() if not live.is_rendering]
        return waiting.index(request_id) + 1

    def check_room(self) -> None:
        """Raise QueueFull when as many jobs wait as may."""
        if self.waiting >= self._limit:
            message = f"The queue is full: {self.waiting} jobs are waiting, and the limit is {self._limit}."
            raise QueueFull(message, retry_after_s=self._retry_after_s())

    async def submit(self, request: JobRequest) -> Job:
        """Record *request* as QUEUED and let it wait. Raises QueueFull, and what JobStore.claim raises."""
        self.check_room()
        self._coming += 1
        try:
            claim = await in_thread(self._store.claim, request, queued=True)
            if claim.is_ours:
                self.adopt(claim.job)
        finally:
            self._coming -= 1
        return claim.job

    def adopt(self, job: Job) -> None:
        """Let a QUEUED job that this process claimed wait for its turn, however many wait already."""
        self._live[job.request_id] = ActiveJob(job)
        self._news.set()

    async def cancel(self, request_id: str) -> bool:
        """Call a job off and return once nothing of it runs any more; False if it is not here."""
        live = self._live.get(request_id)
        if live is None:
            return False
        if live.task is not None:
            live.task.cancel()
            await live.ended.wait()
        else:
            del self._live[request_id]  # at once, or its turn could come while the record is written
            self._leave(live, await self._ended(live.job, JobStatus.CANCELLED, _CANCELLED))
        return True

    async def run(self) -> None:
        """
        Render what is submitted until cancelled. The render in progress is stopped then, and it and those that wait
        are recorded as CANCELLED, so that whoever comes next need not wait for silence to take them up.
        """
        beating = asyncio.create_task(self._beat())
        try:
            while True:
                live = next(iter(self._live.values()), None)
                if live is None:
                    self._news.clear()
                    await self._news.wait()
                else:
                    await self._turn(live)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            for live in list(self._live.values()):
                await self._ended(live.job, JobStatus.CANCELLED, _STOPPED)

    async def _turn(self, live: ActiveJob) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        live.is_rendering = True
        live.task = task = asyncio.create_task(self._render(live.job, live.take))
        self._touch_all()
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        self._mean_s += 0.3 * (loop.time() - started - self._mean_s)
        self._leave(live, await self._outcome(live.job, task))

    async def _outcome(self, job: Job, task: asyncio.Task[Job]) -> Job | None:
        """Return the job's last record, written here if the render ended before it had an attempt to record."""
        if task.cancelled():
            return await self._ended(job, JobStatus.CANCELLED, _CANCELLED)
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, WorkerError):
            log.warning("job %s failed: %s %s", job.request_id, error.code, error)
            status = JobStatus.TIMEOUT if error.status == JobStatus.TIMEOUT.value else JobStatus.ERROR
            return await self._ended(job, status, JobError(error.code, str(error), error.hint))
        log.error("job %s failed, and nobody foresaw how", job.request_id, exc_info=error)
        return await self._ended(job, JobStatus.ERROR, _INTERNAL)

    async def _ended(self, job: Job, status: JobStatus, error: JobError) -> Job | None:
        """Write the end of a job that has none yet, and return its record; None if it has no record any more."""
        try:
            stored = await in_thread(self._store.find, job.request_id)
            if stored.status.is_terminal:
                return stored
            return await in_thread(self._store.update, job, status=status, error=error)
        except (UnknownJob, Interrupted):
            return None
        except WorkerError as failure:
            log.warning("the end of job %s (%s) was not recorded: %s", job.request_id, status.value, failure)
            return job.changed(job.heartbeat_at, status=status, error=error)

    def _leave(self, live: ActiveJob, job: Job | None) -> None:
        self._live.pop(live.job.request_id, None)
        live.ended.set()
        live.touch()
        self._touch_all()
        self._on_end(live.job.request_id, job)

    def _touch_all(self) -> None:
        """Every position in the queue has changed."""
        for live in self._live.values():
            live.touch()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            for live in list(self._live.values()):
                await self._beat_once(live)

    async def _beat_once(self, live: ActiveJob) -> None:
        try:
            await in_thread(self._store.heartbeat, live.job)
        except Interrupted:
            # Another process on the volume deleted it. A render hears of that from its own heartbeat.
            if not live.is_rendering and live.job.request_id in self._live:
                self._leave(live, None)
        except WorkerError as error:
            log.warning("heartbeat not written: %s", error)

    def _retry_after_s(self) -> int:
        """Return when the job that renders may be done, in whole seconds: a place in the queue is free then."""
        running = self.running
        eta_s = running.progress.eta_s if running is not None and running.progress is not None else None
        return round(min(600.0, max(1.0, self._mean_s if eta_s is None else eta_s)))


_CANCELLED = JobError("CANCELLED", "The job was cancelled.", "")
_STOPPED = JobError("STOPPED", "The server was stopped; it takes the job up again when it starts.", "")
_INTERNAL = JobError("INTERNAL", "Internal error; see the worker's log.", "")
