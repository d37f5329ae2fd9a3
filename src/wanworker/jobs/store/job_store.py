"""Find, claim, keep alive, list and delete the jobs on the volume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from wanworker.errors import DiskFull, EngineUnavailable, Interrupted, InvalidRequest, UnknownJob
from wanworker.jobs._owner import Owner
from wanworker.jobs.model import Job, JobChanges, JobStatus, is_request_id
from wanworker.jobs.store._claims import Claim, Claims, JobRequest
from wanworker.jobs.store._index import Entry, Index
from wanworker.jobs.store._pulse import InBackground, Observer, OwnPulse, in_thread
from wanworker.jobs.store._records import Records
from wanworker.jobs.store.disk import Disk
from wanworker.jobs.store.file_calls import FileCalls
from wanworker.jobs.store.kept_ends import KeptEnds

__all__ = ["Claim", "JobRequest", "JobStore", "Page"]

_log = logging.getLogger(__name__)

#: The most jobs that one page lists.
PAGE_LIMIT = 1000

#: A listing that meets this many entries without a record checks whether their jobs are gone for good.
_MANY_UNRECORDED = 16


@dataclass(frozen=True, slots=True)
class Page:
    """Hold jobs, newest first. `next_cursor` is None on the last page; `total` counts all jobs."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
    total: int


class JobStore:
    """
    Keep one record for each job below *root*, safely among processes and hosts that share the folder.

    Methods are short and blocking, and may be called from several threads. Any method may raise DiskFull or
    EngineUnavailable.

    A job is given up when its process is gone. On the same host that is known at once. A process elsewhere counts as
    gone when its mark has not changed for *dead_after_s* seconds of *elapsed* time while this process watched; clocks
    of different hosts are never compared. While this process has jobs, its own mark is kept fresh every *beat_s*
    seconds, *in_background*.

    *owner* is called at each claim, so that nothing is kept when this process is frozen and thawed elsewhere.
    *at_death* is called with each job that is given up here, to remove what its worker left; it must not raise.
    """

    def __init__(
        self,
        root: Path,
        *,
        owner: Callable[[], Owner] = Owner.of_this_process,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        dead_after_s: float = 30.0,
        beat_s: float = 5.0,
        in_background: InBackground = in_thread,
        files: FileCalls | None = None,
        at_death: Callable[[Job], None] = lambda _job: None,
    ) -> None:
        self._disk = disk = Disk(root, files=files, pause=pause)
        self._observer = Observer(disk, dead_after_s=dead_after_s, elapsed=elapsed)
        self._pulse = pulse = OwnPulse(
            disk, every_s=beat_s, elapsed=elapsed, in_background=in_background, also=self._write_ends
        )
        self.ends = KeptEnds(root, pulse, self._observer, owner)
        self._records = Records(disk, self._observer, clock=clock, at_death=at_death)
        self._index = Index(disk)
        self._claims = Claims(self._records, self._index, self._pulse, owner=owner, clock=clock, pause=pause)
        self._clock = clock
        self._dead_after_s = dead_after_s

    def close(self) -> None:
        """Remove this process's mark from the volume, unless it still has open jobs. A later claim makes it again."""
        self._write_ends()
        self._pulse.close()

    def check_volume(self) -> None:
        """Raise DiskFull if the volume is gone, before anything is made in its place on another disk."""
        self._disk.check()

    def find(self, any_id: str) -> Job:
        """Return the job with this request id or RunPod id. If its worker died, it is ERROR. Raises UnknownJob."""
        job = (self._records.current(any_id) or self._by_alias(any_id)) if is_request_id(any_id) else None
        if job is None:
            raise UnknownJob(f"No job {any_id[:80]!r} is known here.")
        return job

    def claim(self, request: JobRequest, *, queued: bool = False, again: bool = False) -> Claim:
        """
        Start an attempt of *request* as RUNNING (or QUEUED), owned by the caller.

        A new id starts attempt 1. If the last attempt ended without a result, the next one starts. Otherwise `is_ours`
        is False: a COMPLETED job is answered from its record, a running one is waited for by calling `find`. Of all
        that claim an id at once, on any host, one gets it. Raises InvalidRequest, RequestIdReused if the id names
        another request, and with *again* UnknownJob for a job that was deleted.
        """
        # If the last attempt's end is still in memory, it has to be written before the next attempt begins.
        self._write_ends()
        return self._claims.claim(request, queued=queued, again=again)

    def update(self, job: Job, **changes: Unpack[JobChanges]) -> Job:
        """
        Write *changes* to the record of this attempt. When it ends, also remove its mark.

        An end is never lost to the disk: if it cannot be written, this store keeps it, answers from it, and writes it
        later. Raises Interrupted for a stale writer, whose attempt was given up, replaced or deleted. Raises ValueError
        for a change of status that TRANSITIONS does not allow.
        """
        is_end = changes.get("status", JobStatus.RUNNING).is_terminal
        after = job
        try:
            while True:
                stored = self._own(job)
                after = stored.changed(self._clock(), **changes)
                if self._records.keep_end(after, instead_of=stored):
                    return after
                if self._records.swap(stored, after):
                    break
        except (DiskFull, EngineUnavailable) as error:
            if not is_end:
                raise
            after = after if after.status.is_terminal else job.changed(self._clock(), **changes)
            _log.warning("the end of job %s (%s) is kept in memory: %s", job.request_id, after.status.value, error)
            self._records.keep_end(after)
            return after
        if after.status.is_terminal:
            self._records.unmark(after.request_id, after.attempt)
            self._pulse.let_go(after.owner)
        return after

    def heartbeat(self, job: Job, progress: Mapping[str, Any] | None = None) -> Job:
        """
        Write the progress of this attempt. Due every 5 seconds while it runs. Raises Interrupted.

        This process's mark says that it lives, but older workers, which know no marks, read it from this heartbeat. A
        heartbeat after the attempt's end changes nothing.
        """
        while True:
            stored = self._own(job)
            if stored.status.is_terminal:
                return stored
            after = stored.changed(self._clock(), progress=stored.progress if progress is None else progress)
            if self._records.swap(stored, after):
                return after

    def lost(self, jobs: Iterable[Job]) -> list[Job]:
        """Return those of our waiting *jobs* that another process deleted or gave up, by reading the marks once."""
        marked = set(self._records.marks())
        return [job for job in jobs if (job.request_id, job.attempt) not in marked and not self._is_ours(job)]

    def recent(self, limit: int = 50, cursor: str | None = None) -> Page:
        """
        Return a page of at most *limit* (1 to PAGE_LIMIT) jobs, newest first, from *cursor* on.

        New jobs do not shift later pages. `total` is counted without reading the records, so a claim that a full disk
        or a crash cut short may count as one. Raises InvalidRequest.
        """
        if not 1 <= limit <= PAGE_LIMIT:
            raise InvalidRequest(f"limit must be between 1 and {PAGE_LIMIT}; got {limit}.", field="limit")
        total, entries = self._index.listing(cursor)
        return self._page(limit, total, entries)

    def after(self, limit: int, request_id: str | None = None, *, oldest_first: bool = False) -> Page:
        """
        Return a page of at most *limit* jobs, newest first unless told otherwise: those that follow *request_id*.

        Reads the whole index, of 100 bytes a job, and only the records of the page. Raises UnknownJob for other ids.
        """
        total, newest_first = self._index.listing()
        entries: Iterator[Entry] = reversed(list(newest_first)) if oldest_first else newest_first
        if request_id is not None and all(entry.request_id != request_id for entry in entries):
            raise UnknownJob(f"No job {request_id[:80]!r} is in the list.")
        return self._page(limit, total, entries)

    def _page(self, limit: int, total: int, entries: Iterator[Entry]) -> Page:
        jobs: list[Job] = []
        unrecorded: list[Entry] = []
        last_cursor = next_cursor = None
        for entry in entries:
            job = self._records.listed(entry.request_id)
            # An id that was deleted and used again also has an old entry.
            if job is None or job.created_at != entry.created_at:
                unrecorded.append(entry)
                continue
            if len(jobs) == limit:
                next_cursor = last_cursor
                break
            jobs.append(job)
            last_cursor = entry.cursor
        if len(unrecorded) >= _MANY_UNRECORDED:
            self._pass_over(unrecorded)
        return Page(tuple(jobs), next_cursor, total)

    def recover(self) -> list[Job]:
        """
        Give up the jobs whose worker died, and return them. Call it at the start of a door.

        Reads only the marks of running jobs, however many have finished. A mark without a record belongs to a claim
        that is not complete yet, or was left by a process that was killed in the middle of one: old ones are removed,
        and so are half-written files. Jobs of a process elsewhere are seen here for the first time, so they are judged
        only later.
        """
        self._observer.bury_the_dead()
        died = []
        for request_id, attempt in self._records.marks():
            stored = self._records.read(request_id)
            job = self._records.current(request_id)
            if stored is None or job is None:
                continue
            if job.was_interrupted and not stored.status.is_terminal:
                died.append(job)
            elif job.attempt > attempt or (job.attempt == attempt and job.status.is_terminal):
                self._records.unmark(request_id, attempt)
        try:
            self._records.remove_leftovers()
        except (DiskFull, EngineUnavailable) as error:
            _log.warning("what killed processes left could not be removed: %s", error)
        return died

    def delete(self, request_id: str) -> None:
        """
        Remove a job's record, alias and mark. Later writes of a worker that still renders it fail. Raises UnknownJob.

        The caller has to delete the output files before, because the record names them.
        """
        job = self._records.read(request_id) if is_request_id(request_id) else None
        if job is None or not self._records.remove(job):
            raise UnknownJob(f"No job {request_id[:80]!r} is known here.")
        self._pulse.let_go(job.owner)
        try:
            self._index.forget(job, now=self._clock())
        except (DiskFull, EngineUnavailable) as error:
            # The job is deleted all the same; only the count of the listing is one too high.
            _log.warning("the index still lists job %s, which was deleted: %s", request_id, error)

    def _pass_over(self, entries: list[Entry]) -> None:
        """
        Drop entries without a record from the index, except those of claims that are not complete yet.

        A claim makes its mark before its entry, and removes it after its record. So an entry belongs to no claim if its
        record was missing, then its mark was missing, and its record is still missing.
        """
        try:
            marked = {request_id for request_id, _ in self._records.marks()}
            gone = [entry for entry in entries if entry.request_id not in marked and not self._has_record(entry)]
            self._index.pass_over(gone)
        except (DiskFull, EngineUnavailable) as error:
            _log.warning("the index could not be compacted: %s", error)

    def _has_record(self, entry: Entry) -> bool:
        job = self._records.latest(entry.request_id)
        return job is not None and job.created_at == entry.created_at

    def _write_ends(self) -> None:
        for end in self._records.write_ends():
            self._pulse.let_go(end.owner)

    def _is_ours(self, job: Job) -> bool:
        try:
            self._own(job)
        except Interrupted:
            return False
        return True

    def _by_alias(self, runpod_id: str) -> Job | None:
        request_id = self._records.aliased(runpod_id)
        return self._records.current(request_id) if request_id is not None else None

    def _own(self, job: Job) -> Job:
        """Return the current record of *job*'s attempt. Raises Interrupted if the record belongs to another attempt."""
        stored = self._records.latest(job.request_id)
        reason = self._lost_why(job, stored)
        if stored is None or reason is not None:
            self._pulse.let_go(job.owner)
            raise Interrupted(f"Attempt {job.attempt} of job {job.request_id} {reason}")
        return stored

    def _lost_why(self, job: Job, stored: Job | None) -> str | None:
        if stored is None:
            return "has no record any more: the job was deleted."
        if (stored.attempt, stored.owner.token) != (job.attempt, job.owner.token):
            return f"was given up: attempt {stored.attempt} has taken its place."
        if stored.was_interrupted:
            return f"was given up: it had sent no heartbeat for {self._dead_after_s:g} s."
        return None
