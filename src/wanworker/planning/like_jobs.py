"""Say from the records of this volume how long jobs like a planned one took."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from wanworker.engines.base import Forecast
from wanworker.jobs.model import Job, JobStatus
from wanworker.jobs.store.job_store import JobStore

#: How many of the newest records are read, and how many of the newest jobs among them count.
_LOOKED_AT, _COUNTED = 300, 20

#: Jobs are alike if their pixels differ by at most this share; within it, the time is taken to grow with them.
_PIXELS_WITHIN = 0.10

#: Timings of what only a cold worker waits for.
_COLD = ("load_s", "comfyui_start_s")


@dataclass(frozen=True, slots=True)
class Kind:
    """
    Say what jobs that are alike have in common. `pixels` is those of all frames of one output together.

    `profile` is None for an engine that has none.
    """

    engine: str
    model: str
    task: str
    steps: int
    profile: str | None
    pixels: int


@dataclass(frozen=True, slots=True)
class Expected:
    """
    Hold the median seconds of one output in `like_jobs` jobs: of all, of those that found everything loaded, and of
    those that did not. None where there is none.
    """

    like_jobs: int
    seconds: float | None = None
    warm_s: float | None = None
    cold_s: float | None = None


def kind_of(engine: str, task: str, forecast: Forecast) -> Kind | None:
    """Return what jobs like the one that is forecast have in common, None where too little is known of it. Pure."""
    if forecast.sampling is None or forecast.size is None or forecast.frames is None:
        return None
    pixels = forecast.size.area * forecast.frames
    return Kind(engine, forecast.model, task, forecast.sampling.steps, _profile(forecast.placement), pixels)


def expected(store: JobStore, kind: Kind | None) -> Expected:
    """Return how long jobs of *kind* took. Reads the newest records of the volume, at most 300 of them."""
    return of_jobs(store.recent(_LOOKED_AT).jobs, kind) if kind is not None else Expected(0)


def of_jobs(jobs: Iterable[Job], kind: Kind | None) -> Expected:
    """Return how long those of *jobs*, the newest first, took that are of *kind*. Pure."""
    alike: list[tuple[float, bool]] = []
    for seconds, is_cold in _alike(jobs, kind) if kind is not None else ():
        alike.append((seconds, is_cold))
        if len(alike) == _COUNTED:
            break
    return Expected(
        len(alike),
        _median(seconds for seconds, _ in alike),
        _median(seconds for seconds, is_cold in alike if not is_cold),
        _median(seconds for seconds, is_cold in alike if is_cold),
    )


def _alike(jobs: Iterable[Job], kind: Kind) -> Iterator[tuple[float, bool]]:
    """Yield the seconds of one output of each job that is of *kind*, scaled, and whether the job began cold."""
    for job in jobs:
        pixels = _pixels(job)
        names = (job.engine, job.model, job.task, (job.recipe or {}).get("steps"), _profile(job.placement))
        render_s = job.timings.get("render_s")
        is_alike = names == (kind.engine, kind.model, kind.task, kind.steps, kind.profile)
        if not is_alike or not pixels or render_s is None or abs(pixels / kind.pixels - 1) > _PIXELS_WITHIN:
            continue
        is_cold = any(job.timings.get(name, 0.0) > 0 for name in _COLD)
        yield render_s / len(job.outputs) * kind.pixels / pixels, is_cold


def _pixels(job: Job) -> int:
    """Return the pixels of one output of a job whose every output was made, else 0."""
    if job.status is not JobStatus.COMPLETED or job.failed_outputs or not job.outputs:
        return 0
    made = job.outputs[0]
    return (made.width or 0) * (made.height or 0) * (made.frames or 0)


def _profile(placement: Any) -> str | None:
    return placement.get("profile") if placement else None


def _median(seconds: Iterable[float]) -> float | None:
    known = list(seconds)
    return round(statistics.median(known), 1) if known else None
