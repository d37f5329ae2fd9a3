"""Claim a job: only one attempt runs at a time, and of several simultaneous claims exactly one succeeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wanworker.errors import RequestIdReused, UnknownJob
from wanworker.jobs._owner import Owner, longest_wait_s
from wanworker.jobs.model import HASH_VERSION, PROMPT_CHARS, Job, JobStatus, check_request_id, heartbeat
from wanworker.jobs.store._index import Index
from wanworker.jobs.store._pulse import OwnPulse
from wanworker.jobs.store._records import Records

# How often, and for how long, one looks for the record of another worker's mark. It comes in milliseconds, and later
# on a slow disk.
_LOOK_AGAIN_S, _LOOKED_FOR_S = 0.02, 60.0


@dataclass(frozen=True, slots=True)
class JobRequest:
    """
    Hold what starts an attempt. `runpod_id` is None outside RunPod.

    `former_hash` is what the first version recorded of the same request, None where that is not known.
    """

    request_id: str
    action: str
    spec_hash: str
    runpod_id: str | None = None
    prompt: str = ""
    engine: str | None = None
    model: str | None = None
    seed: int | None = None
    asked: Mapping[str, str] | None = None
    former_hash: str | None = None
    hash_version: int = HASH_VERSION

    def check_names(self, job: Job) -> None:
        """Raise RequestIdReused if *job*, which has this request's id, is of another request."""
        is_former = job.hash_version < HASH_VERSION and job.spec_hash == self.former_hash
        if job.spec_hash != self.spec_hash and not is_former:
            raise RequestIdReused(f"request_id {self.request_id!r} already names a different request.")


@dataclass(frozen=True, slots=True)
class Claim:
    """
    Hold the job under a request id. `is_ours` says whether the caller may render it; if not, it is completed or another
    worker has it.
    """

    job: Job
    is_ours: bool


class Claims:
    """
    Start attempts.

    The mark of an attempt is made with O_EXCL, which also works on network volumes. If a worker died between its mark
    and its record, its attempt number is skipped and never used again. If it was only slower than we wait, it finds the
    mark of the next attempt and gives way.
    """

    def __init__(
        self,
        records: Records,
        index: Index,
        pulse: OwnPulse,
        *,
        owner: Callable[[], Owner],
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._records = records
        self._index = index
        self._pulse = pulse
        self._owner = owner
        self._clock = clock
        self._pause = pause

    def claim(self, request: JobRequest, *, queued: bool, again: bool = False) -> Claim:
        """Claim a job as JobStore.claim describes."""
        check_request_id(request.request_id)
        passed_over, waited_s = 0, 0.0
        while True:
            before = self._records.current(request.request_id)
            if again and before is None:
                raise UnknownJob(f"Job {request.request_id} was deleted.")
            self._accept(request, before)
            if before is not None and not before.status.may_run_again:
                return Claim(before, is_ours=False)
            attempt = max(passed_over, before.attempt if before else 0) + 1
            job = self._attempt(request, attempt, before, queued=queued)
            if self._take(before, job):
                return Claim(job, is_ours=True)
            # Another worker made its mark a moment ago. Either its record appears now, or that worker is dead.
            mark = self._records.marked(request.request_id, attempt)
            if waited_s < longest_wait_s(mark, named_s=_LOOKED_FOR_S):
                waited_s += _LOOK_AGAIN_S
                self._pause(_LOOK_AGAIN_S)
            else:
                passed_over, waited_s = attempt, 0.0

    def _accept(self, request: JobRequest, before: Job | None) -> None:
        """Refuse a different request under a used id. Otherwise make the job findable by its RunPod id."""
        if before is not None:
            request.check_names(before)
        if request.runpod_id is not None:
            self._records.alias(request.runpod_id, request.request_id)

    def _attempt(self, request: JobRequest, attempt: int, before: Job | None, *, queued: bool) -> Job:
        now = self._clock()
        status = JobStatus.QUEUED if queued else JobStatus.RUNNING
        return Job(
            request_id=request.request_id,
            runpod_id=request.runpod_id,
            action=request.action,
            spec_hash=request.spec_hash,
            hash_version=request.hash_version,
            attempt=attempt,
            owner=self._owner(),
            status=status,
            created_at=before.created_at if before else now,
            heartbeat_at=heartbeat(status, now),
            started_at=None if queued else now,
            prompt=request.prompt[:PROMPT_CHARS],
            engine=request.engine,
            model=request.model,
            seed=request.seed,
            asked=request.asked or (before.asked if before else None),
        )

    def _take(self, before: Job | None, job: Job) -> bool:
        """
        Make the mark, check again, and write the record. Return False if another worker was quicker.

        The second check (in `swap`) is needed because the mark may be free again after its attempt has already ended.
        """
        if not self._records.mark(job):
            return False
        taken = False
        try:
            # This comes first: the record of a process without a mark would be judged by its heartbeat alone.
            self._pulse.hold(job.owner)
            taken = self._write(before, job)
        finally:
            if not taken:
                self._pulse.let_go(job.owner)
                self._records.unmark(job.request_id, job.attempt)
        if taken:
            for earlier in range(before.attempt if before else 1, job.attempt):
                self._records.unmark(job.request_id, earlier)
        return taken

    def _write(self, before: Job | None, job: Job) -> bool:
        if before is not None:
            return self._records.swap(before, job, is_claim=True)
        # The entry comes first: an entry without a record is skipped, but a record without an entry is never listed.
        self._index.add(job)
        taken = self._records.swap(None, job, is_claim=True)
        if not taken:
            self._index.forget(job, now=self._clock())
        return taken
