"""A stand-in for a worker: a thread that takes the control plane's jobs and does with each what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from fakes.runpod import Job, RunPod

WORKER_ID = "stand-in"


class StandInWorker:
    """Hand every job to *act* from entering to leaving; `progress` and `done` are what it answers with."""

    def __init__(self, plane: RunPod, act: Callable[[StandInWorker, Job], object]) -> None:
        self.plane = plane
        self._act = act
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._take, name=WORKER_ID, daemon=True)

    def __enter__(self) -> StandInWorker:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(10)

    def progress(self, job: Job, shown: Any) -> None:
        """Post progress."""
        self.plane.take_progress(job, WORKER_ID, shown)

    def done(self, job: Job, posted: dict[str, Any]) -> None:
        """Post a result: `{"output": ...}` or `{"error": ...}`."""
        self.plane.take_result(job, WORKER_ID, json.dumps(posted).encode())

    def _take(self) -> None:
        while not self._ending.wait(0.01):
            if job := self.plane.next_job(WORKER_ID):
                self._act(self, job)
