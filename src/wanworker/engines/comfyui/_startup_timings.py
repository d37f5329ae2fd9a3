"""Measure how long ComfyUI took to start and how long each job waited for it."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator

from wanworker.engines.base import Report
from wanworker.progress import Progress

#: What this job has waited so far, in seconds: a graph's job asks for the server when it is checked, and again later.
_waited_s: contextvars.ContextVar[float] = contextvars.ContextVar("comfyui_waited_s", default=0.0)


class Waits:
    """Measure the waits for one server; each job is a task of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._untold_start_s = 0.0

    @contextlib.contextmanager
    def measured(self, report: Report) -> Iterator[Callable[[str], None]]:
        """Measure the body, which waits for the server; what is given is told each stage of a start."""
        began = self._clock()
        starts: list[str] = []

        def hear(stage: str) -> None:
            starts.append(stage)
            report(Progress(stage, 0.0))

        try:
            yield hear
        except BaseException:
            starts.clear()  # it did not come up
            raise
        finally:
            seconds = self._clock() - began
            _waited_s.set(_waited_s.get() + seconds)
            if starts:  # of all who wait for one start, the one that began it waits longest
                self._untold_start_s = max(self._untold_start_s, seconds)

    def told(self) -> dict[str, float]:
        """Return `wait_s` of this job, and `comfyui_start_s` in the first job after a start, whoever waited for it."""
        timings = {"comfyui_start_s": self._untold_start_s} if self._untold_start_s else {}
        self._untold_start_s = 0.0
        waited_s = _waited_s.get()
        _waited_s.set(0.0)
        return {**timings, "wait_s": waited_s}
