"""Finish a job after its end (inputs, webhook), and resume jobs after a restart."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable
from typing import Any

from wanworker.errors import UnknownJob, WorkerError
from wanworker.jobs.model import Job, JobStatus
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import WRITTEN_AT_ONCE, Runner
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.media.threads import in_thread
from wanworker.rest.schemas.status import status_of
from wanworker.rest.service.executor import ACTION
from wanworker.rest.service.webhooks import Webhooks

log = logging.getLogger(__name__)

_EVERY_S = 15.0


class JobRecovery:
    """
    Keep a job's request while work is left, until its webhook was delivered or given up.

    *heard* is called for every job that ended here, with None if it was deleted. *is_elsewhere* says of a job whether
    another machine renders it, or has. What is done for a job after its end takes one of *turns* at the volume.
    """

    def __init__(
        self,
        store: JobStore,
        kept: PendingRequests,
        webhooks: Webhooks,
        heard: Callable[[str, Job | None], None],
        *,
        is_elsewhere: Callable[[str], bool] = lambda _request_id: False,
        every_s: float = _EVERY_S,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        self._store = store
        self._kept = kept
        self._webhooks = webhooks
        self._heard = heard
        self._is_elsewhere = is_elsewhere
        self._every_s = every_s
        self._turns = turns or asyncio.Semaphore(WRITTEN_AT_ONCE)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._done: set[str] = set()

    def ended(self, request_id: str, job: Job | None) -> None:
        """Start the work that is left for a job that has ended."""
        self._heard(request_id, job)
        task = asyncio.create_task(self._finish(request_id, job))
        self._under_way[request_id] = task
        task.add_done_callback(lambda _task: self._under_way.pop(request_id, None))

    def as_shown(self, job: Job) -> Job:
        """
        Return a record as it is to be shown: a job that ended only because its process did waits until it is taken up.

        Taking up takes some writes for each job: on a slow volume, many minutes for hundreds of them. Looks at the
        volume, so it may block. Raises WorkerError.
        """
        if not self._goes_on(job) or not self._kept.has(job.request_id):
            return job
        return dataclasses.replace(job, status=JobStatus.QUEUED, error=None, started_at=None, completed_at=None)

    async def take_up(self, runner: Runner) -> None:
        """
        Queue the jobs that waited when their process died, or that are rendered elsewhere, and end the others.

        A job that another living process has is left alone; `watch` checks it again later.
        """
        found: list[tuple[Job, dict[str, Any], bool]] = []
        for request_id in await in_thread(self._kept.ids):
            if request_id in self._done:
                await self._tidy(request_id)
            elif runner.find(request_id) is None and request_id not in self._under_way:
                found += await in_thread(self._ended_elsewhere, request_id)
        for job, kept, goes_on in sorted(found, key=lambda each: each[0].created_at):
            if goes_on:
                await self._queue_again(runner, job, kept)
            else:
                self.ended(job.request_id, job)

    async def watch(self, runner: Runner) -> None:
        """Take up what processes left, now and at intervals, until cancelled."""
        while True:
            try:
                await self.take_up(runner)
            except WorkerError as error:
                log.warning("kept requests could not be checked: %s", error)
            except Exception:  # one failure must not end the watching
                log.exception("kept requests could not be checked")
            await asyncio.sleep(self._every_s)

    async def close(self) -> None:
        """Stop delivering. Undelivered webhooks are kept and delivered after the next start."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended_elsewhere(self, request_id: str) -> list[tuple[Job, dict[str, Any], bool]]:
        """
        Return the job, its kept request and whether it goes on, if no process has it any more; else nothing.

        Without a record nothing is left to do.
        """
        kept = self._kept.get(request_id)
        try:
            job = self._store.find(request_id)
        except UnknownJob:
            # A request is kept a moment before its job is recorded, so it may belong to a living process. If it was
            # left in between, nobody was given its id.
            if self._kept.is_left(request_id):
                self._kept.remove(request_id)
            return []
        if kept is None and job.status.is_terminal:
            self._kept.remove(request_id)  # nobody can read it
        if kept is None or not job.status.is_terminal or _is_anothers(job):
            return []
        return [(job, kept, self._goes_on(job))]

    async def _queue_again(self, runner: Runner, job: Job, kept: dict[str, Any]) -> None:
        request = JobRequest(
            job.request_id,
            ACTION,
            job.spec_hash,
            prompt=job.prompt,
            seed=kept["fields"].get("seed"),
            hash_version=job.hash_version,
        )
        if await runner.resume(request):
            log.info("job %s waits again: the process that had it ended", job.request_id)

    def _goes_on(self, job: Job) -> bool:
        """
        Say whether a job ended only because its process did: it was waiting, or the process was asked to stop, or it is
        rendered on another machine, and so is to be asked for there.
        """
        if job.was_interrupted:
            return job.started_at is None or self._is_elsewhere(job.request_id)
        return job.status is JobStatus.CANCELLED

    async def _finish(self, request_id: str, job: Job | None) -> None:
        try:
            async with self._turns:
                kept = await in_thread(self._kept.get, request_id)
        except WorkerError as error:
            log.warning("the kept request of job %s could not be read: %s", request_id, error)
            return
        try:
            async with self._turns:
                await in_thread(self._kept.remove_inputs, request_id)
        except WorkerError as error:
            log.warning("the inputs of job %s could not be removed yet: %s", request_id, error)
        url = kept.get("webhook_url") if kept is not None else None
        if url and job is not None:
            await self._webhooks.deliver(url, status_of(job, ready=[output.path for output in job.outputs]))
        await self._tidy(request_id)

    async def _tidy(self, request_id: str) -> None:
        """
        Remove what is kept of a job that needs nothing more. What the disk refuses to remove is tried again later.
        """
        try:
            async with self._turns:
                await in_thread(self._kept.remove, request_id)
            self._done.discard(request_id)
        except WorkerError as error:
            self._done.add(request_id)
            log.warning("the kept request of job %s could not be removed: %s", request_id, error)


def _is_anothers(job: Job) -> bool:
    """Say whether another living process of this host had the job last. It does what is left, such as a webhook."""
    return job.owner.pid != os.getpid() and job.owner.lives() is True
