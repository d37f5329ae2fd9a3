"""The jobs on the volume: find, claim, keep alive, list and delete them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from wanworker.errors import Interrupted, InvalidRequest, UnknownJob
from wanworker.jobs._owner import Owner
from wanworker.jobs.model import Job, JobChanges, is_request_id
from wanworker.jobs.store._claims import Claim, Claims, JobRequest
from wanworker.jobs.store._index import Index
from wanworker.jobs.store._records import Records
from wanworker.jobs.store.disk import Disk, Write, write_durably

__all__ = ["Claim", "JobRequest", "JobStore", "Page"]

#: The most jobs that one page lists.
PAGE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, newest first; `next_cursor` is None on the last page; `total` counts all jobs."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
    total: int


class JobStore:
    """
    Keep one record a job below *root*, safely among processes and hosts that share the folder.

    Methods are short and blocking, and may be called from several threads. A job is given up when its process is
    gone (told at once on its own host), or else when its heartbeat is older than *dead_after_s* by this host's
    clock: the hosts' clocks have to agree to within some seconds. Any method may raise DiskFull or EngineUnavailable.

    *owner* is asked at each claim, so that nothing outlives a freeze and thaw of this process.
    """

    def __init__(
        self,
        root: Path,
        *,
        owner: Callable[[], Owner] = Owner.of_this_process,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        dead_after_s: float = 30.0,
        write: Write = write_durably,
    ) -> None:
        disk = Disk(root, write=write)
        self._records = Records(disk, clock=clock, dead_after_s=dead_after_s)
        self._index = Index(disk)
        self._claims = Claims(self._records, self._index, owner=owner, clock=clock, pause=pause)
        self._clock = clock
        self._dead_after_s = dead_after_s

    def find(self, any_id: str) -> Job:
        """Return the job with this request id or RunPod id; one whose worker died is ERROR. Raises UnknownJob."""
        job = None
        if is_request_id(any_id):
            job = self._records.current(any_id) or self._by_alias(any_id)
        if job is None:
            raise UnknownJob(f"No job {any_id[:80]!r} is known here.")
        return job

    def claim(self, request: JobRequest, *, queued: bool = False) -> Claim:
        """
        Start an attempt of *request* as RUNNING (or QUEUED), owned by the caller.

        A new id starts attempt 1; one whose last attempt ended without a result starts the next. Otherwise `is_ours`
        is False: answer from a COMPLETED job, wait for one at work by calling `find`. Among all that claim an id at
        once, on any host, one gets it. Raises InvalidRequest, or RequestIdReused if the id names another request.
        """
        return self._claims.claim(request, queued=queued)

    def update(self, job: Job, **changes: Unpack[JobChanges]) -> Job:
        """
        Write *changes* to the record of this attempt, and take its mark away when it ends.

        Raises Interrupted for a stale writer: the attempt was given up, followed by another, or deleted. Raises
        ValueError for a change of status that the table of transitions does not have.
        """
        while True:
            stored = self._own(job)
            after = stored.changed(self._clock(), **changes)
            if self._records.swap(stored, after):
                break
        if after.status.is_terminal:
            self._records.unmark(after.request_id, after.attempt)
        return after

    def heartbeat(self, job: Job, progress: Mapping[str, Any] | None = None) -> Job:
        """
        Say that this attempt is alive, and how far it is; due every 5 seconds. Raises Interrupted.

        A beat that comes after the attempt's end changes nothing.
        """
        while True:
            stored = self._own(job)
            if stored.status.is_terminal:
                return stored
            after = stored.changed(self._clock(), progress=stored.progress if progress is None else progress)
            if self._records.swap(stored, after):
                return after

    def recent(self, limit: int = 50, cursor: str | None = None) -> Page:
        """
        Return a page of at most *limit* (1 to PAGE_LIMIT) jobs, newest first, from *cursor* on.

        New jobs do not shift later pages. `total` is counted without reading the records: a claim that a full disk
        or a crash cut short may count for one. Raises InvalidRequest.
        """
        if not 1 <= limit <= PAGE_LIMIT:
            raise InvalidRequest(f"limit must be between 1 and {PAGE_LIMIT}; got {limit}.", field="limit")
        jobs: list[Job] = []
        last_cursor = next_cursor = None
        total, entries = self._index.listing(cursor)
        for entry in entries:
            job = self._records.current(entry.request_id)
            # An id that was deleted and used again has an old entry too.
            if job is None or job.created_at != entry.created_at:
                continue
            if len(jobs) == limit:
                next_cursor = last_cursor
                break
            jobs.append(job)
            last_cursor = entry.cursor
        return Page(tuple(jobs), next_cursor, total)

    def recover(self) -> list[Job]:
        """
        Give up the jobs whose worker died, and return them; for the start of a door.

        Reads the marks of running jobs, however many have finished. A mark without a record is a claim on its way.
        """
        died = []
        for request_id, attempt in self._records.marks():
            stored = self._records.read(request_id)
            job = self._records.current(request_id)
            if stored is None or job is None:
                continue
            if job.was_interrupted and not stored.status.is_terminal:
                died.append(job)
            elif job.status.is_terminal or job.attempt > attempt:
                self._records.unmark(request_id, attempt)
        return died

    def delete(self, request_id: str) -> None:
        """
        Remove a job's record, alias and mark; whoever still renders it is refused from then on. Raises UnknownJob.

        Its output files are the caller's to delete, before: the record names them.
        """
        job = self._records.read(request_id) if is_request_id(request_id) else None
        if job is None or not self._records.remove(job):
            raise UnknownJob(f"No job {request_id[:80]!r} is known here.")
        self._index.forget(job, now=self._clock())

    def _by_alias(self, runpod_id: str) -> Job | None:
        request_id = self._records.aliased(runpod_id)
        return self._records.current(request_id) if request_id is not None else None

    def _own(self, job: Job) -> Job:
        """Return the record of *job*'s attempt as it is now. Raises Interrupted if it is no longer that attempt's."""
        stored = self._records.read(job.request_id)
        name = f"Attempt {job.attempt} of job {job.request_id}"
        if stored is None:
            raise Interrupted(f"{name} has no record any more: the job was deleted.")
        if (stored.attempt, stored.owner.token) != (job.attempt, job.owner.token):
            raise Interrupted(f"{name} was given up: attempt {stored.attempt} has taken its place.")
        if stored.was_interrupted:
            raise Interrupted(f"{name} was given up: it had sent no heartbeat for {self._dead_after_s:g} s.")
        return stored
