"""The paths of a job's files: its record, its alias by RunPod id, and the mark of a running attempt."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator

from wanworker.errors import DiskFull, EngineUnavailable
from wanworker.jobs.model import Job, is_request_id
from wanworker.jobs.store.disk import Disk

_log = logging.getLogger(__name__)


class Records:
    """
    `ab/<id>.json` is a record, `ab/<RunPod id>.alias` names the request id that a RunPod id stands for (ab: the first
    two hex digits of the id's sha256, so that 100,000 jobs make 256 folders of 400), and `running/<id>.<attempt>` is
    both the claim to an attempt and the mark by which a start-up finds what ran, without reading the records.

    Ids are built into names here and nowhere else; each has to be a checked request id.
    """

    def __init__(self, disk: Disk, *, clock: Callable[[], float], dead_after_s: float) -> None:
        self._disk = disk
        self._clock = clock
        self._dead_after_s = dead_after_s

    def read(self, request_id: str) -> Job | None:
        """Return a job, None if it has no record or one that cannot be read (which is logged)."""
        data = self._disk.read(_path(request_id, "json"))
        if data is None:
            return None
        try:
            return Job.from_json(data)
        except ValueError as error:
            _log.warning("the record of job %s is passed over: %s", request_id, error)
            return None

    def current(self, request_id: str) -> Job | None:
        """Read a job; one whose worker died is written back as interrupted, so that it stays so for everyone."""
        job = self.read(request_id)
        if job is None or job.status.is_terminal or not self._is_dead(job):
            return job
        interrupted = job.interrupted(self._clock())
        try:
            if not self.swap(job, interrupted):
                return self.current(request_id)
            self.unmark(job.request_id, job.attempt)
        except (DiskFull, EngineUnavailable) as error:
            # A full or read-only disk is no reason to call a dead job alive.
            _log.warning("job %s was interrupted, and that could not be recorded: %s", request_id, error)
        return interrupted

    def swap(self, before: Job | None, after: Job) -> bool:
        """Write *after* if the record is still *before* (None: not there); False if another writer came first."""
        name = _path(after.request_id, "json")
        expected = before and before.to_json()

        def is_still_before() -> bool:
            stored = self.read(after.request_id)
            return expected == (stored and stored.to_json())

        return self._disk.replace(name, after.to_json(), still_right=is_still_before)

    def remove(self, job: Job) -> bool:
        """Remove a job's record, alias and mark; False if the record was gone already."""
        removed = self._disk.remove(_path(job.request_id, "json"))
        if job.runpod_id is not None and self.aliased(job.runpod_id) == job.request_id:
            self._disk.remove(_path(job.runpod_id, "alias"))
        self.unmark(job.request_id, job.attempt)
        return removed

    def alias(self, runpod_id: str, request_id: str) -> None:
        """Let *runpod_id* stand for *request_id*, unless the two are one."""
        # An id of another form could not be asked for either: `find` takes none.
        if runpod_id != request_id and is_request_id(runpod_id) and self.aliased(runpod_id) != request_id:
            self._disk.replace(_path(runpod_id, "alias"), request_id.encode())

    def aliased(self, runpod_id: str) -> str | None:
        """Return the request id that *runpod_id* stands for."""
        data = self._disk.read(_path(runpod_id, "alias")) if is_request_id(runpod_id) else None
        request_id = data.decode("ascii", "replace") if data else ""
        return request_id if is_request_id(request_id) else None

    def mark(self, request_id: str, attempt: int) -> bool:
        """Claim an attempt; among all that try at once, on any host, exactly one gets True."""
        return self._disk.make(f"running/{request_id}.{attempt}")

    def unmark(self, request_id: str, attempt: int) -> None:
        """Take a mark away once the record tells that its attempt ended."""
        self._disk.remove(f"running/{request_id}.{attempt}")

    def marks(self) -> Iterator[tuple[str, int]]:
        """Yield request id and attempt of what is marked as running; other files there are passed over."""
        for name in self._disk.sizes("running"):
            request_id, _, attempt = name.rpartition(".")
            if is_request_id(request_id) and attempt.isascii() and attempt.isdigit():
                yield request_id, int(attempt)

    def _is_dead(self, job: Job) -> bool:
        return self._clock() - job.heartbeat_at > self._dead_after_s or job.owner.has_died()


def _path(any_id: str, ending: str) -> str:
    return f"{hashlib.sha256(any_id.encode()).hexdigest()[:2]}/{any_id}.{ending}"
