"""Read and write the files of a job: its record, its alias by RunPod id, and the mark of a running attempt."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wanworker.errors import DiskFull, EngineUnavailable
from wanworker.jobs.model import Job, is_request_id
from wanworker.jobs.store._pulse import Observer
from wanworker.jobs.store.disk import LEFTOVER_AFTER_S, Disk, Version

_log = logging.getLogger(__name__)

#: How many records of ended jobs are remembered for listings; a page has at most a thousand.
_REMEMBERED = 4000


#: How many seconds a record in a listing counts as unchanged, unless this process changes it.
_LOOK_HOLDS_S = 0.5


@dataclass(frozen=True, slots=True)
class _Ended:
    """Hold the record of an ended job, what tells whether its file was replaced, and when that was last looked at."""

    job: Job | None
    version: Version | None
    checked_at: float


class Records:
    """
    Keep the three kinds of files of a job.

    `ab/<id>.json` is a record. `ab/<RunPod id>.alias` holds the request id that belongs to a RunPod id. (`ab` is the
    first two hex digits of the id's sha256, so that 100,000 jobs make 256 folders of 400.) `running/<id>.<attempt>` is
    the claim to an attempt. It is also the mark by which a start finds the unfinished jobs without reading all records.

    File names are built from ids only here; each id has to be a checked request id.

    The end of an attempt that the volume does not take is kept in memory. This process answers from it, and
    `write_ends` tries again to write it.
    """

    def __init__(
        self,
        disk: Disk,
        observer: Observer,
        *,
        clock: Callable[[], float],
        at_death: Callable[[Job], None] = lambda _job: None,
    ) -> None:
        self._disk = disk
        self._observer = observer
        self._clock = clock
        self._at_death = at_death
        self._ends: dict[str, Job] = {}
        self._ended: dict[str, _Ended] = {}
        self._writing_ends = threading.Lock()

    def read(self, request_id: str) -> Job | None:
        """Return a job, or None if it has no record or one that cannot be read (which is logged)."""
        data = self._disk.read(_path(request_id, "json"))
        if data is None:
            return None
        try:
            return Job.from_json(data)
        except ValueError as error:
            _log.warning("the record of job %s is ignored: %s", request_id, error)
            return None

    def listed(self, request_id: str) -> Job | None:
        """
        Read a job as `current` does, but an ended one only once, as long as its file is the same.

        Only for showing: what another process changes in it may be seen some seconds late.
        """
        known = self._ended.get(request_id)
        now = self._observer.elapsed()
        if known is not None and now - known.checked_at < _LOOK_HOLDS_S:
            return known.job
        version = self._disk.version(_path(request_id, "json"))
        if known is None or known.version != version:
            job = self.current(request_id)
            is_kept = (
                version is not None and job is not None and job.status.is_terminal and request_id not in self._ends
            )
            known = _Ended(job, version, now) if is_kept else None
            if known is None:
                self._ended.pop(request_id, None)
                return job
        if len(self._ended) >= _REMEMBERED:
            self._ended.clear()
        self._ended[request_id] = _Ended(known.job, version, now)
        return known.job

    def current(self, request_id: str) -> Job | None:
        """
        Read a job. If its worker has died, record the job as interrupted first, so that every process sees the same.
        """
        since = self._observer.elapsed()
        job = self.latest(request_id)
        if job is None or job.status.is_terminal or not self._observer.has_died(job, since=since):
            return job
        interrupted = job.interrupted(self._clock())
        try:
            if not self.swap(job, interrupted):
                return self.current(request_id)
        except (DiskFull, EngineUnavailable) as error:
            # A job whose worker died is reported as such even if the disk is full or read-only.
            _log.warning("job %s was interrupted, and that could not be recorded: %s", request_id, error)
            return interrupted
        self.unmark(job.request_id, job.attempt)
        self._observer.bury(job.owner)
        self._at_death(job)
        return interrupted

    def latest(self, request_id: str) -> Job | None:
        """Read a job, or return its end if that could not be written yet."""
        end = self._ends.get(request_id)
        try:
            stored = self.read(request_id)
        except (DiskFull, EngineUnavailable):
            if end is None:
                raise
            return end
        return end if end is not None and stored is not None and _is_open_in(stored, end) else stored

    def keep_end(self, end: Job, *, instead_of: Job | None = None) -> bool:
        """
        Keep the end of an attempt until it can be written. Return False unless the end kept so far is *instead_of*.
        """
        if instead_of is not None and self._ends.get(end.request_id) is not instead_of:
            return False
        self._ends[end.request_id] = end
        return True

    def write_ends(self) -> list[Job]:
        """Try to write the kept ends. Return those that need no further try."""
        if not self._writing_ends.acquire(blocking=False):
            return []
        try:
            return [end for end in list(self._ends.values()) if self._write_end(end)]
        finally:
            self._writing_ends.release()

    def _write_end(self, end: Job) -> bool:
        try:
            stored = self.read(end.request_id)
            while stored is not None and _is_open_in(stored, end) and not self.swap(stored, end):
                stored = self.read(end.request_id)
        except (DiskFull, EngineUnavailable) as error:
            _log.warning("the end of job %s (%s) is still not recorded: %s", end.request_id, end.status.value, error)
            return False
        if self._ends.get(end.request_id) is end:
            del self._ends[end.request_id]
        self.unmark(end.request_id, end.attempt)
        return True

    def swap(self, before: Job | None, after: Job, *, is_claim: bool = False) -> bool:
        """
        Write *after* if the record is still *before* (None: no record). Return False if another writer came first.

        If it *is_claim*, a mark of the next attempt says so too: we were slow, and another worker took us for dead.
        """
        name = _path(after.request_id, "json")
        expected = before and before.to_json()
        next_mark = _mark(after.request_id, after.attempt + 1)

        def is_still_before() -> bool:
            stored = self.read(after.request_id)
            is_overtaken = is_claim and self._disk.version(next_mark) is not None
            return not is_overtaken and expected == (stored and stored.to_json())

        try:
            return self._disk.replace(name, after.to_json(), still_right=is_still_before, is_new=before is None)
        finally:
            self._ended.pop(after.request_id, None)

    def remove(self, job: Job) -> bool:
        """Remove a job's record, alias and mark. Return False if the record was already gone."""
        removed = self._disk.remove(_path(job.request_id, "json"), is_locked=True)
        self._ended.pop(job.request_id, None)
        self._ends.pop(job.request_id, None)
        if job.runpod_id is not None and self.aliased(job.runpod_id) == job.request_id:
            self._disk.remove(_path(job.runpod_id, "alias"))
        self.unmark(job.request_id, job.attempt)
        return removed

    def alias(self, runpod_id: str, request_id: str) -> None:
        """Make the job findable by *runpod_id*, unless that is its request id."""
        # `find` accepts no id of another form, so an alias for one would be useless.
        if runpod_id != request_id and is_request_id(runpod_id) and self.aliased(runpod_id) != request_id:
            self._disk.replace(_path(runpod_id, "alias"), request_id.encode())

    def aliased(self, runpod_id: str) -> str | None:
        """Return the request id that belongs to *runpod_id*, or None."""
        data = self._disk.read(_path(runpod_id, "alias")) if is_request_id(runpod_id) else None
        request_id = data.decode("ascii", "replace") if data else ""
        return request_id if is_request_id(request_id) else None

    def mark(self, job: Job) -> bool:
        """Claim an attempt. Of all that try at once, on any host, exactly one gets True. The mark names its owner."""
        return self._disk.make(_mark(job.request_id, job.attempt), job.owner.to_json())

    def marked(self, request_id: str, attempt: int) -> bytes | None:
        """Return what the mark of an attempt says, or None if there is none."""
        return self._disk.read(_mark(request_id, attempt))

    def unmark(self, request_id: str, attempt: int) -> None:
        """Remove a mark after the record says that its attempt ended. If that fails, the next start removes it."""
        try:
            self._disk.remove(_mark(request_id, attempt))
        except (DiskFull, EngineUnavailable) as error:
            _log.warning("the mark of job %s could not be removed: %s", request_id, error)

    def marks(self) -> Iterator[tuple[str, int]]:
        """Yield the request id and attempt of each running mark. Other files there are ignored."""
        for name in self._disk.names("running"):
            request_id, _, attempt = name.rpartition(".")
            if is_request_id(request_id) and attempt.isascii() and attempt.isdigit():
                yield request_id, int(attempt)

    def remove_leftovers(self) -> None:
        """
        Remove what processes left that were killed between two steps: files half written, marks that no record follows.
        """
        self._disk.remove_leftovers()
        ages_s = self._disk.ages_s("running")
        for request_id, attempt in self.marks():
            is_old = ages_s.get(f"{request_id}.{attempt}", 0.0) > LEFTOVER_AFTER_S
            if is_old and ((job := self.read(request_id)) is None or job.attempt < attempt):
                self.unmark(request_id, attempt)


def _is_open_in(stored: Job, end: Job) -> bool:
    """Say whether *stored* is the attempt of *end* and has not ended yet."""
    same = (stored.attempt, stored.owner.token) == (end.attempt, end.owner.token)
    return same and not stored.status.is_terminal


def _mark(request_id: str, attempt: int) -> str:
    return f"running/{request_id}.{attempt}"


def _path(any_id: str, ending: str) -> str:
    return f"{hashlib.sha256(any_id.encode()).hexdigest()[:2]}/{any_id}.{ending}"
