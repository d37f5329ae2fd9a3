"""Keep the record of one attempt: send a heartbeat while it runs, and record its end in every case."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator
from typing import Unpack

from wanworker.engines.base import Report
from wanworker.errors import Interrupted, WorkerError
from wanworker.jobs.model import CANCELLED, Job, JobChanges, JobError, JobStatus, Output
from wanworker.jobs.store.job_store import JobStore
from wanworker.media.threads import in_thread
from wanworker.progress import Progress

log = logging.getLogger(__name__)

_LOOKS_PER_BEAT = 5


class Attempt:
    """
    Keep the record of *job* up to date: its progress, its heartbeat every *heartbeat_s* seconds, and its end.

    Every write runs in a thread, because the volume may be slow and other requests want answers meanwhile. A heartbeat
    that arrives after the job's last write changes nothing; the store sees to that.
    """

    def __init__(self, store: JobStore, job: Job, report: Report, heartbeat_s: float) -> None:
        self.job = job
        self._store = store
        self._report = report
        self._heartbeat_s = heartbeat_s
        self._latest = Progress("preparing", 0.0)
        self._lost: Interrupted | None = None

    def on_progress(self, progress: Progress) -> None:
        """Take the engine's progress. The door gets it at once, the record with the next heartbeat."""
        self._latest = progress
        self._report(progress)

    async def keep(self, outputs: tuple[Output, ...]) -> None:
        """
        Record the *outputs* that are done while others are still to come, so that they are kept whatever happens next.

        Raises Interrupted when the attempt is no longer ours. A full disk is only logged: the end records them again.
        """
        try:
            self.job = await in_thread(self._store.update, self.job, outputs=outputs)
        except Interrupted:
            raise
        except WorkerError as error:
            log.warning("the outputs so far were not recorded: %s", error)

    async def complete(self, **result: Unpack[JobChanges]) -> Job:
        """
        Record the job as COMPLETED with its *result* and return it. Raises Interrupted when the attempt is no longer
        ours.

        A full or failing disk changes nothing for the caller: the store keeps the record and writes it later. A job
        that is cancelled during this write is COMPLETED all the same: its video is there.
        """
        result["status"] = JobStatus.COMPLETED
        done = dataclasses.replace(self._latest, stage="done", fraction=1.0, eta_s=0.0, detail=None)
        result["progress"] = done.to_json()
        return await in_thread(self._update, result)

    @contextlib.asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Send heartbeats while the body runs. If it fails, record ERROR, TIMEOUT, NO_OUTPUT or CANCELLED."""
        me = asyncio.current_task()
        assert me is not None
        beat = asyncio.create_task(self._beat(me))
        try:
            yield
        except asyncio.CancelledError:
            if self._lost is None:
                await self._end(JobStatus.CANCELLED, CANCELLED)
                raise
            me.uncancel()
            raise self._lost from None
        except WorkerError as error:
            await self._end(JobStatus[error.status], JobError(error.code, str(error), error.hint))
            raise
        except Exception:
            await self._end(JobStatus.ERROR, JobError("INTERNAL", "Internal error; see the worker's log.", ""))
            raise
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    async def _beat(self, rendering: asyncio.Task[object]) -> None:
        """Keep the heartbeat fresh, and the recorded progress at most a fifth of a heartbeat old."""
        written, idle_looks = self._latest, 0
        while True:
            await asyncio.sleep(self._heartbeat_s / _LOOKS_PER_BEAT)
            idle_looks += 1
            if self._latest is written and idle_looks < _LOOKS_PER_BEAT:
                continue
            written, idle_looks = self._latest, 0
            try:
                await in_thread(self._store.heartbeat, self.job, written.to_json())
            except Interrupted as error:
                self._lost = error
                rendering.cancel()
                return
            except WorkerError as error:
                log.warning("heartbeat not written: %s", error)

    async def _end(self, status: JobStatus, error: JobError) -> None:
        if self.job.status.is_terminal:
            return
        try:
            await in_thread(self._update, {"status": status, "error": error, "progress": self._latest.to_json()})
        except Interrupted as failure:
            log.warning("the end of the job (%s) was not recorded: %s", status.value, failure)

    def _update(self, changes: JobChanges) -> Job:
        self.job = self._store.update(self.job, **changes)
        return self.job
