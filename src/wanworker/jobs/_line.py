"""The jobs that wait or render in this process, in order of arrival. What is asked of all of them costs no walk."""

from __future__ import annotations

from collections.abc import Iterator

from wanworker.errors import RequestError
from wanworker.jobs._active_job import ActiveJob


class QueueFull(RequestError):
    """The queue is full. `retry_after_s` says when to try again."""

    code = "QUEUE_FULL"
    http_status = 429
    default_hint = "Send the request again after the time in Retry-After."

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Line:
    """
    Hold the jobs of a queue, by their request ids.

    They are counted when one of them changes, because many clients ask and a queue may be long: whoever changes the
    `task` or the progress of a job calls `note`. The places of those that wait are numbered at the first question after
    one of them left the line or began to render.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, ActiveJob] = {}
        self._arrivals: dict[str, int] = {}
        self._arrived = 0
        self._rendering: set[str] = set()
        self._with_room: set[str] = set()
        self._positions: dict[str, int] | None = {}

    def __iter__(self) -> Iterator[ActiveJob]:
        """Return the jobs as they are now, in order of arrival. They may leave meanwhile."""
        return iter(list(self._jobs.values()))

    def find(self, request_id: str) -> ActiveJob | None:
        """Return a job of the line, or None."""
        return self._jobs.get(request_id)

    @property
    def waiting(self) -> int:
        """Return how many jobs do not render."""
        return len(self._jobs) - len(self._rendering)

    @property
    def taking_room(self) -> int:
        """Return how many jobs have one of the queue's places; see ActiveJob."""
        return len(self._with_room)

    @property
    def rendering(self) -> tuple[ActiveJob, ...]:
        """Return the jobs that render, the one that came first at the front."""
        return tuple(self._jobs[name] for name in sorted(self._rendering, key=self._arrivals.__getitem__))

    def position(self, request_id: str) -> int:
        """Return the place of a job that waits. The next one has place 1."""
        if self._positions is None:
            waiting = (name for name in self._jobs if name not in self._rendering)
            self._positions = {name: place for place, name in enumerate(waiting, 1)}
        return self._positions[request_id]

    def put(self, live: ActiveJob) -> None:
        """Let a job join at the end, in place of an earlier one of the same id."""
        request_id = live.job.request_id
        if (earlier := self._jobs.get(request_id)) is not None:
            self.remove(earlier)
        self._arrived += 1
        self._jobs[request_id], self._arrivals[request_id] = live, self._arrived
        if self._positions is not None:
            self._positions[request_id] = len(self._positions) + 1
        self.note(live)

    def note(self, live: ActiveJob) -> bool:
        """Count a job as what it is by now. Return whether it began to render or waits again since the last time."""
        request_id = live.job.request_id
        if self._jobs.get(request_id) is not live:
            return False
        (self._with_room.add if live.takes_room else self._with_room.discard)(request_id)
        if live.is_rendering is (request_id in self._rendering):
            return False
        (self._rendering.add if live.is_rendering else self._rendering.discard)(request_id)
        self._positions = None
        return True

    def remove(self, live: ActiveJob) -> None:
        """Let a job leave."""
        request_id = live.job.request_id
        if self._jobs.get(request_id) is live:
            del self._jobs[request_id], self._arrivals[request_id]
            self._rendering.discard(request_id)
            self._with_room.discard(request_id)
            self._positions = None
