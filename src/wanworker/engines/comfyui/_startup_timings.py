"""Measure how long ComfyUI took to start and how long each job waited for it."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator

from wanworker.engines.base import Report
from wanworker.progress import Progress

#: How many seconds this job has waited so far. A graph's job asks for the server at its check, and again later.
_waited_s: contextvars.ContextVar[float] = contextvars.ContextVar("comfyui_waited_s", default=0.0)


class Waits:
    """Measure the waits for one server. Each job is a task of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._untold_start_s = 0.0

    @contextlib.contextmanager
    def measured(self, report: Report) -> Iterator[Callable[[str], None]]:
        """Measure the body, which waits for the server. The yielded function takes each stage of a start."""
        began = self._clock()
        starts: list[str] = []

        def hear(stage: str) -> None:
            starts.append(stage)
            report(Progress(stage, 0.0))

        try:
            yield hear
        except BaseException:
            starts.clear()  # it did not start
            raise
        finally:
            seconds = self._clock() - began
            _waited_s.set(_waited_s.get() + seconds)
            if starts:  # of all jobs that wait for one start, the one that began it waits longest
                self._untold_start_s = max(self._untold_start_s, seconds)

    def told(self) -> dict[str, float]:
        """
        Return `wait_s` of this job. The first job after a start also gets `comfyui_start_s`, even if another waited.
        """
        timings = {"comfyui_start_s": self._untold_start_s} if self._untold_start_s else {}
        self._untold_start_s = 0.0
        waited_s = _waited_s.get()
        _waited_s.set(0.0)
        return {**timings, "wait_s": waited_s}
