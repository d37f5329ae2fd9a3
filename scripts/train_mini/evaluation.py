"""How often the miniature does what it is told: held-out prompts rendered one by one and read by the checkers."""

from __future__ import annotations

import collections
import dataclasses
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train_mini.checkers_masks import Pixels
from train_mini.evaluation_cases import Case, Judged, Plan, cases_of, judged
from train_mini.evaluation_pipelines import kinds_of, opened

log = logging.getLogger(__name__)

_LOG_EVERY = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What came out: shares of 0 to 1 by attribute, and of how many clips each is a share."""

    plan: dict[str, Any]
    clips: int
    rates: dict[str, float]
    counts: dict[str, int]
    #: Of the clips that began with a picture; None without any.
    first_frame_mean_db: float | None
    first_frame_worst_db: float | None
    #: The median; the first clip, which warms up, is in it.
    seconds_a_clip: float
    #: Every clip with something wrong: its prompt and seed, what was asked, what was read.
    failures: list[dict[str, Any]]

    def to_json(self) -> str:
        """Return the report as indented, strict JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"


def _nothing(_each: Judged) -> None:
    """Take a judged clip and keep nothing."""


def evaluate(folder: Path, plan: Plan, take: Callable[[Judged], None] = _nothing) -> Report:
    """Load the diffusers *folder*, render the cases of *plan* that its weights can be asked, and judge them.

    *take* is given each clip with its judgement, for contact sheets. Raises what `opened` and `measure` raise.
    """
    return measure(plan, kinds_of(folder), opened(folder, plan), take)


def measure(
    plan: Plan,
    kinds: tuple[str, ...],
    render: Callable[[Case], Pixels],
    take: Callable[[Judged], None] = _nothing,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Judge what *render* makes of the cases of *kinds*. Raises ValueError where *plan* asks for no clip of them."""
    tally = _Tally()
    for number, case in enumerate(cases_of(plan, kinds), 1):
        began = clock()
        pixels = render(case)
        found = judged(case, pixels)
        tally.add(found, clock() - began)
        take(found)
        if number % _LOG_EVERY == 0:
            log.info("evaluation: %d clips, %s", number, _said(tally.rates()))
    if not tally.seconds:
        raise ValueError(f"the plan asks for no clip of {', '.join(kinds)}: {plan}")
    return tally.report(plan)


class _Tally:
    """Count what was right."""

    def __init__(self) -> None:
        self.right: collections.Counter[str] = collections.Counter()
        self.asked: collections.Counter[str] = collections.Counter()
        self.seconds: list[float] = []
        self.likeness_db: list[float] = []
        self.failures: list[dict[str, Any]] = []

    def add(self, found: Judged, seconds: float) -> None:
        self.seconds.append(seconds)
        self.asked.update(found.right.keys())
        self.right.update({name: int(is_right) for name, is_right in found.right.items()})
        if found.first_frame_db is not None:
            self.likeness_db.append(found.first_frame_db)
        if found.wrong:
            self.failures.append(_failure(found))

    def rates(self) -> dict[str, float]:
        return {name: self.right[name] / count for name, count in sorted(self.asked.items())}

    def report(self, plan: Plan) -> Report:
        return Report(
            plan=_told(plan),
            clips=len(self.seconds),
            rates={name: round(rate, 4) for name, rate in self.rates().items()},
            counts=dict(sorted(self.asked.items())),
            first_frame_mean_db=round(statistics.mean(self.likeness_db), 2) if self.likeness_db else None,
            first_frame_worst_db=round(min(self.likeness_db), 2) if self.likeness_db else None,
            seconds_a_clip=round(statistics.median(self.seconds), 3),
            failures=self.failures,
        )


def _told(plan: Plan) -> dict[str, Any]:
    """Return the plan's fields; a folder by its name alone, for the report goes into the repository."""
    values = dataclasses.asdict(plan)
    return {name: value.name if isinstance(value, Path) else value for name, value in values.items()}


def _failure(found: Judged) -> dict[str, Any]:
    return {
        "prompt": found.case.prompt,
        "kind": found.case.kind,
        "seed": found.case.seed,
        "wrong": found.wrong,
        "asked": dataclasses.asdict(found.case.scene),
        "seen": dataclasses.asdict(found.seen),
        "last": dataclasses.asdict(found.last) if found.last else None,
        "first_frame_db": round(found.first_frame_db, 2) if found.first_frame_db is not None else None,
    }


def _said(rates: dict[str, float]) -> str:
    return " ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
