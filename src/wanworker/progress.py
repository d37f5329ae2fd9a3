"""Fold tqdm bars, steps and stages into one fraction that never falls, and an ETA. Pure: time is an argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: A bare tqdm bar, as Wan's sampler writes it. A bar with a description (loading shards) does not match.
_BARE_BAR = re.compile(r"^\s*\d+%\|[^|]*\|\s*(\d{1,9})/(\d{1,9})\s*\[")


@dataclass(frozen=True, slots=True)
class Progress:
    """
    Where a render is: `fraction` 0 to 1, never falling; `eta_s` None until there is something to go by.

    `detail` says in words how far the stage is where it has no steps: "12.3 of 35.6 GB".
    """

    stage: str
    fraction: float
    step: int | None = None
    steps: int | None = None
    eta_s: float | None = None
    detail: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the form in which every door and record shows progress: `progress` is a percentage, 0 to 100."""
        shown = {
            "progress": round(self.fraction * 100, 1),
            "stage": self.stage,
            "step": self.step,
            "steps": self.steps,
            "eta_s": None if self.eta_s is None else round(self.eta_s, 1),
        }
        return shown if self.detail is None else shown | {"detail": self.detail}


@dataclass(frozen=True, slots=True)
class AtPlace(Progress):
    """Say also at which `place` of the engines' registry a render is, or waits; None if it says nothing of that."""

    place: str | None = None


class AwaitsTurn(AtPlace):
    """Say that a render waits for its engine's turn: nothing is done for it until the next report."""


def bar_steps(line: str) -> tuple[int, int] | None:
    """Return (step, steps) of a bare tqdm bar, or None for any other line."""
    match = _BARE_BAR.match(line)
    return (int(match[1]), int(match[2])) if match else None


class Meter:
    """
    Turn stages and steps into Progress values.

    *weights* gives each stage its share of the whole, in the order of the stages; only the ratios count. A stage that
    is skipped counts as done. The fraction stays below 1, because the job ends only when its file is verified.
    """

    def __init__(self, weights: Mapping[str, float], *, clock: Callable[[], float]) -> None:
        total = sum(weights.values())
        self._share = {stage: weight / total for stage, weight in weights.items()}
        self._order = list(weights)
        self._clock = clock
        self._started = clock()
        self._fraction = 0.0
        self._stage_started: tuple[str, float] = ("", self._started)

    def at(self, stage: str, step: int | None = None, steps: int | None = None) -> Progress:
        """Return the progress at *step* of *steps* in *stage*. An unknown stage leaves the fraction as it is."""
        now = self._clock()
        if stage != self._stage_started[0]:
            self._stage_started = (stage, now)
        if stage in self._share:
            before = sum(self._share[name] for name in self._order[: self._order.index(stage)])
            within = step / steps if step is not None and steps else 0.0
            self._fraction = min(0.99, max(self._fraction, before + self._share[stage] * min(1.0, within)))
        return Progress(stage, self._fraction, step, steps, self._eta_s(stage, step, steps, now))

    def _eta_s(self, stage: str, step: int | None, steps: int | None, now: float) -> float | None:
        """
        Extrapolate from this stage's own steps, because the time of loading says nothing about the time of sampling.
        """
        if not step or not steps or stage not in self._share:
            return None
        left_in_stage = (now - self._stage_started[1]) / step * (steps - step)
        stage_s = (now - self._stage_started[1]) / step * steps
        after = sum(self._share[name] for name in self._order[self._order.index(stage) + 1 :])
        return left_in_stage + stage_s * after / self._share[stage]
