"""Counters for Prometheus, in its text format 0.0.4, which is short enough to write by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from wanworker.jobs.model import Job
from wanworker.rest.schemas.status import WORDS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


class Metrics:
    """Count what this process has done since it started."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter(dict.fromkeys(("completed", "error", "deleted"), 0))
        self._submitted = 0
        self._stage_s: dict[str, float] = {}
        self._stage_jobs: Counter[str] = Counter()
        self._loads: Counter[str] = Counter()

    def submitted(self) -> None:
        """Count a job that was taken into the queue."""
        self._submitted += 1

    def ended(self, job: Job | None) -> None:
        """Count a job that has ended; None: it was deleted."""
        self._ended["deleted" if job is None else WORDS[job.status]] += 1
        for name, seconds in job.timings.items() if job is not None else ():
            stage = name.removesuffix("_s")
            self._stage_s[stage] = self._stage_s.get(stage, 0.0) + seconds
            self._stage_jobs[stage] += 1
        if job is not None and job.engine is not None and job.timings.get("load_s"):
            self._loads[job.engine] += 1

    def text(self, *, waiting: int, running: int, limit: int) -> str:
        """Return the exposition."""
        restarts = {engine: loads - 1 for engine, loads in self._loads.items()}
        families: tuple[tuple[str, str, str, list[Sample]], ...] = (
            ("jobs_submitted_total", "counter", "Jobs taken into the queue.", [({}, self._submitted)]),
            ("jobs_total", "counter", "Jobs that have ended, by status.", _by("status", self._ended)),
            ("queue_length", "gauge", "Jobs that wait.", [({}, waiting)]),
            ("queue_limit", "gauge", "How many jobs may wait.", [({}, limit)]),
            ("jobs_running", "gauge", "Jobs that render.", [({}, running)]),
            ("stage_seconds_total", "counter", "Seconds spent, by stage.", _by("stage", self._stage_s)),
            ("stage_jobs_total", "counter", "Completed jobs that had the stage.", _by("stage", self._stage_jobs)),
            ("engine_restarts_total", "counter", "Times an engine loaded again.", _by("engine", restarts)),
        )
        return "".join(_family(f"wanworker_{name}", kind, words, samples) for name, kind, words, samples in families)


def _by(label: str, counts: Mapping[str, float]) -> list[Sample]:
    return [({label: value}, count) for value, count in sorted(counts.items())]


def _family(name: str, kind: str, words: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
