"""Turn the child's events into progress, for both engines that run one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from wanworker.engines.base import Report
from wanworker.engines.resident.protocol import Event, Loading, Stage, Step
from wanworker.progress import Meter

#: Shares of the whole, from runs of the miniature and, for loading, from reports of the real models (wan.md 4.3).
_STAGES = {"text": 2.0, "sampling": 75.0, "decoding": 10.0, "encoding": 13.0}
_COLD_STAGES = {"loading": 60.0, **_STAGES}


def reporting(report: Report, *, is_warm: bool, clock: Callable[[], float]) -> Callable[[Event], None]:
    """Return a function that takes the events of one job and reports them; a warm model has no loading to wait for."""
    meter = Meter(_STAGES if is_warm else _COLD_STAGES, clock=clock)

    def take(event: Event) -> None:
        if isinstance(event, Loading):
            progress = meter.at("loading", event.done_bytes, event.size_bytes)
            report(dataclasses.replace(progress, step=None, steps=None, detail=_in_words(event)))
        elif isinstance(event, Stage):
            report(meter.at(event.name))
        elif isinstance(event, Step):
            report(meter.at(event.stage, event.step, event.steps))

    return take


def _in_words(event: Loading) -> str:
    """Return `12.3 of 35.6 GB`, or the same in MB for a model as small as the miniature. Pure."""
    unit, size = ("GB", 1e9) if event.size_bytes >= 1e9 else ("MB", 1e6)
    return f"{event.done_bytes / size:.1f} of {event.size_bytes / size:.1f} {unit}"
