"""The jobs of a queue by place: which of them wait for a slot there, and which have one."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

from wanworker.errors import WorkerError
from wanworker.jobs._active_job import ActiveJob
from wanworker.jobs.model import Job

log = logging.getLogger(__name__)

#: Return the place of a QUEUED job, one of the queue's.
PlaceOf = Callable[[Job], Awaitable[str]]


class Slots:
    """
    Say which job may begin: at each place as many at a time as *counts* says, in order of arrival.

    *place_of* tells where a job will be. A job that has begun has a slot of its place until it leaves.
    """

    def __init__(self, counts: Mapping[str, int], place_of: PlaceOf | None) -> None:
        self._counts = counts
        self._place_of = place_of
        self._arrived: asyncio.Queue[tuple[ActiveJob, PlaceOf]] = asyncio.Queue()
        self._unplaced: set[ActiveJob] = set()
        self._waiting: dict[str, OrderedDict[ActiveJob, None]] = {place: OrderedDict() for place in counts}
        self._begun: dict[str, set[ActiveJob]] = {place: set() for place in counts}

    def put(self, live: ActiveJob, place_of: PlaceOf | None = None) -> None:
        """Let a job wait. Its place is found out first, from *place_of* if given, unless there is only one."""
        place_of = place_of or self._place_of
        if place_of is None or len(self._counts) == 1:
            self._wait(live, self._first)
        else:
            self._unplaced.add(live)
            self._arrived.put_nowait((live, place_of))

    async def find_places(self, on_found: Callable[[], None]) -> None:
        """
        Find out where each job will be, until cancelled. *on_found* is called after each.

        They are looked up one after the other, so that those of one place wait in order of arrival. A job whose place
        is known does not wait for the others' lookups.
        """
        while True:
            live, place_of = await self._arrived.get()
            if live not in self._unplaced:
                continue
            place = await self._asked(live.job, place_of)
            if live in self._unplaced:  # it was not called off meanwhile
                self._unplaced.discard(live)
                self._wait(live, place)
                on_found()

    def take(self) -> ActiveJob | None:
        """Give a free slot to the job that waits longest for one of that place. Return None if no slot has one."""
        for place, count in self._counts.items():
            if len(self._begun[place]) < count and self._waiting[place]:
                live, _ = self._waiting[place].popitem(last=False)
                self._begun[place].add(live)
                return live
        return None

    def move(self, live: ActiveJob, place: str) -> bool:
        """
        Give a job that has begun a slot of *place* in exchange for its own. Return False if nothing changes.

        It is there whatever we say, so *place* may have more jobs than slots for a while. Then none begins there.
        """
        if place == live.place or place not in self._counts or live not in self._begun.get(live.place or "", ()):
            return False
        self.leave(live)
        live.place = place
        self._begun[place].add(live)
        return True

    def leave(self, live: ActiveJob) -> None:
        """Forget a job, whether it waits or has a slot."""
        self._unplaced.discard(live)
        for place in self._counts:
            self._waiting[place].pop(live, None)
            self._begun[place].discard(live)

    def _wait(self, live: ActiveJob, place: str) -> None:
        live.place = place
        self._waiting[place][live] = None

    async def _asked(self, job: Job, place_of: PlaceOf) -> str:
        try:
            return await place_of(job)
        except WorkerError as error:
            log.info("the place of job %s is not known: %s", job.request_id, error)
        except Exception:  # the queue must go on, and the job itself ends with the reason
            log.exception("the place of job %s is not known", job.request_id)
        return self._first

    @property
    def _first(self) -> str:
        return next(iter(self._counts))
