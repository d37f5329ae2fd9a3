"""How many jobs of a queue may begin at each place."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from wanworker.errors import WorkerError
from wanworker.jobs._active_job import ActiveJob
from wanworker.jobs.model import Job

log = logging.getLogger(__name__)

#: Return the place of a QUEUED job, one of the queue's.
PlaceOf = Callable[[Job], Awaitable[str]]


class Slots:
    """Say which jobs may begin: at each place as many as *counts* says. *place_of* tells where a job will be."""

    def __init__(self, counts: Mapping[str, int], place_of: PlaceOf | None) -> None:
        self._counts = counts
        self._place_of = place_of

    def free(self, jobs: Iterable[ActiveJob]) -> set[str]:
        """Return the places with a free slot. A job that has begun has a slot of its place until it ends."""
        taken = Counter(live.place for live in jobs if live.task is not None)
        return {place for place, count in self._counts.items() if taken[place] < count}

    async def find_place(self, live: ActiveJob) -> None:
        """Find out the place of a job. Nobody is asked where there is only one."""
        live.place = await self._asked(live.job)

    async def _asked(self, job: Job) -> str:
        first = next(iter(self._counts))
        if self._place_of is None or len(self._counts) == 1:
            return first
        try:
            return await self._place_of(job)
        except WorkerError as error:
            log.info("the place of job %s is not known: %s", job.request_id, error)
        except Exception:  # the queue must go on, and the job itself ends with the reason
            log.exception("the place of job %s is not known", job.request_id)
        return first
