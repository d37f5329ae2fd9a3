"""Count events for Prometheus. Its own client library writes the text format 0.0.4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from wanworker.engines.cards.cards import CardView
from wanworker.jobs.model import Job
from wanworker.rest.schemas.status import WORDS

#: Every Prometheus reads this format. The library's newest one (1.0.0) has to be asked for.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


_LABELS = ("card", "state")


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
        """Count a job that has ended, or that was deleted (None)."""
        self._ended["deleted" if job is None else WORDS[job.status]] += 1
        for name, seconds in job.timings.items() if job is not None else ():
            stage = name.removesuffix("_s")
            self._stage_s[stage] = self._stage_s.get(stage, 0.0) + seconds
            self._stage_jobs[stage] += 1
        if job is not None and job.engine is not None and job.timings.get("load_s"):
            self._loads[job.engine] += 1

    def text(self, *, waiting: int, running: int, limit: int, cards: Sequence[CardView]) -> bytes:
        """Return the metrics as text."""
        # Each card loads once without any restart.
        restarts = {engine: max(0, loads - max(1, len(cards))) for engine, loads in self._loads.items()}
        registry = CollectorRegistry()
        registry.register(
            _Families(
                CounterMetricFamily("wanworker_jobs_submitted", "Jobs taken into the queue.", self._submitted),
                _counts("wanworker_jobs", "Jobs that have ended, by status.", "status", self._ended),
                GaugeMetricFamily("wanworker_queue_length", "Jobs that wait.", waiting),
                GaugeMetricFamily("wanworker_queue_limit", "How many jobs may wait.", limit),
                GaugeMetricFamily("wanworker_jobs_running", "Jobs that render.", running),
                _counts("wanworker_stage_seconds", "Seconds spent, by stage.", "stage", self._stage_s),
                _counts("wanworker_stage_jobs", "Completed jobs that had the stage.", "stage", self._stage_jobs),
                _counts("wanworker_engine_restarts", "Times an engine loaded again.", "engine", restarts),
                *_of_cards(cards),
            )
        )
        return generate_latest(registry)


class _Families(Collector):
    """Return the counts in the library's form. Its own counters would add a creation time to each."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_cards(cards: Sequence[CardView]) -> Iterable[Metric]:
    by_state = GaugeMetricFamily("wanworker_card", "The state of each card: 1 for the one it is in.", labels=_LABELS)
    for view in cards:
        for state in ("free", "busy", "resting"):
            by_state.add_metric([str(view.card.number), state], float(view.state == state))
    yield by_state
    jobs = {str(view.card.number): float(view.jobs) for view in cards}
    failures = {str(view.card.number): float(view.failures) for view in cards}
    yield _counts("wanworker_card_jobs", "Jobs that a card has rendered.", "card", jobs)
    yield _counts("wanworker_card_failures", "Times that a card has failed.", "card", failures)


def _counts(name: str, words: str, label: str, counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, words, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
