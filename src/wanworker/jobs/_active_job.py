"""A job that waits or renders in this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from wanworker.engines.preview import Previewed
from wanworker.jobs.model import Job
from wanworker.progress import AwaitsTurn, Progress


@dataclass(eq=False, slots=True)
class ActiveJob:
    """
    Hold a job that waits or renders here. It is newer than its record, and reading it needs no disk.

    `place` is where it will be rendered, None until somebody asked. A job whose `task` has begun may still wait for its
    engine's turn; `is_rendering` says whether it does not. It is false until the render says the first word.

    `percent` never falls. `preview` is the latest picture of the render. `ended` is set once the job is no longer here.
    """

    job: Job
    percent: float = 0.0
    progress: Progress | None = None
    preview: Previewed | None = None
    place: str | None = None
    is_rendering: bool = False
    task: asyncio.Task[Job] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event | None = None

    @property
    def takes_room(self) -> bool:
        """Say whether the job has one of the queue's places: it has not begun, or waits for its engine's turn."""
        return self.task is None or isinstance(self.progress, AwaitsTurn)

    @property
    def changed(self) -> asyncio.Event:
        """Return the event of the next change here. It is made for those who ask: most jobs are watched by nobody."""
        if self._changed is None:
            self._changed = asyncio.Event()
        return self._changed

    def touch(self) -> None:
        """Wake everyone who waits for a change."""
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    def take(self, progress: Progress) -> None:
        """Take the engine's progress, and its preview if it has one."""
        self.is_rendering = not isinstance(progress, AwaitsTurn)
        self.progress = progress
        self.preview = progress if isinstance(progress, Previewed) else self.preview
        self.percent = max(self.percent, progress.to_json()["progress"])
        self.touch()
