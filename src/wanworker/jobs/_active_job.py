"""A job that has not ended, as its own process holds it in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from wanworker.engines.preview import Previewed
from wanworker.jobs.model import Job
from wanworker.progress import Progress


@dataclass(eq=False, slots=True)
class ActiveJob:
    """
    A job that waits or renders here, as memory has it: newer than its record, and without a look at the disk.

    `percent` never falls. `preview` has a picture of the render so far. `changed` is set, and replaced by a fresh
    event, whenever anything here changes; `ended` is set once the job is no longer here.
    """

    job: Job
    percent: float = 0.0
    progress: Progress | None = None
    preview: Previewed | None = None
    is_rendering: bool = False
    task: asyncio.Task[Job] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def touch(self) -> None:
        """Wake whoever waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()

    def take(self, progress: Progress) -> None:
        """Take the engine's progress, and its picture where it brings one."""
        self.progress = progress
        self.preview = progress if isinstance(progress, Previewed) else self.preview
        self.percent = max(self.percent, progress.to_json()["progress"])
        self.touch()
