"""Delete the videos of REST jobs after their time to live, or the oldest ones above the quota."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wanworker.errors import WorkerError
from wanworker.jobs.model import Job
from wanworker.jobs.store.job_store import PAGE_LIMIT, JobStore
from wanworker.media.threads import in_thread
from wanworker.rest.service.executor import ACTION

log = logging.getLogger(__name__)

_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Kept:
    """Hold the files of one job, as its record names them."""

    ended_at: float
    size_bytes: int
    paths: tuple[Path, ...]


class Sweeper:
    """
    Know the files of all of this door's jobs: from the records at the start, then from the end of each job.

    Nothing else is ever removed, because the volume is the user's. *ttl_s* 0 and *quota_bytes* None mean no limit.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        ttl_s: float,
        quota_bytes: int | None,
        every_s: float = _EVERY_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._quota_bytes = quota_bytes
        self._every_s = every_s
        self._clock = clock
        self._kept: dict[str, Kept] = {}

    def add(self, job: Job) -> None:
        """Add the files of a job that has ended."""
        if job.action == ACTION and job.status.is_terminal and job.outputs:
            size_bytes = sum(output.size_bytes for output in job.outputs)
            paths = tuple(Path(output.path) for output in job.outputs)
            self._kept[job.request_id] = Kept(job.completed_at or job.created_at, size_bytes, paths)

    def forget(self, request_id: str) -> None:
        """Forget a job that was deleted with its files."""
        self._kept.pop(request_id, None)

    async def watch(self) -> None:
        """Read the records once, then sweep at intervals, until cancelled."""
        await in_thread(self._look)
        while True:
            try:
                await in_thread(self.sweep)
            except Exception:  # one failure must not end the sweeping
                log.exception("old videos could not be removed")
            await asyncio.sleep(self._every_s)

    def sweep(self) -> list[str]:
        """
        Remove the videos that are too old, then the oldest while there is too much. Return the ids of the jobs
        concerned.
        """
        for request_id, kept in list(self._kept.items()):
            if not any(map(_may_be_there, kept.paths)):
                self._kept.pop(request_id, None)
        oldest_first = sorted(self._kept.items(), key=lambda item: item[1].ended_at)
        total = sum(kept.size_bytes for _, kept in oldest_first)
        swept = []
        for request_id, kept in oldest_first:
            is_old = bool(self._ttl_s) and self._clock() - kept.ended_at > self._ttl_s
            if not is_old and (self._quota_bytes is None or total <= self._quota_bytes):
                continue
            total -= kept.size_bytes
            self._remove(request_id, kept)
            swept.append(request_id)
        return swept

    def _remove(self, request_id: str, kept: Kept) -> None:
        self._kept.pop(request_id, None)
        for path in kept.paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s cannot be removed: %s", path, error.strerror)
        log.info("the video of job %s was removed, to make room or because its time was over", request_id)

    def _look(self) -> None:
        cursor = None
        try:
            while True:
                page = self._store.recent(PAGE_LIMIT, cursor)
                for job in page.jobs:
                    self.add(job)
                cursor = page.next_cursor
                if cursor is None:
                    return
        except WorkerError as error:
            log.warning("the records could not be read for sweeping: %s", error)


def _may_be_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the volume has an error, which says nothing of the file
        return True
