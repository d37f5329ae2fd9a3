"""Decide whether a child hangs, from its events and the time that passes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from wanworker.engines.resident.protocol import Event, Stage, Step

#: What a stage without steps, or the wait for a step, may take. Each is some ten times the longest that is known of a
#: card that renders at all (720p with offload on 16 GB takes about 2 minutes a step; decoding costs two or three).
_STAGES_S: Mapping[str, float] = {"text": 600.0, "sampling": 300.0, "decoding": 900.0, "encoding": 300.0}


@dataclass(frozen=True, slots=True)
class Patience:
    """
    How long a child may say nothing and do nothing, in seconds.

    `quiet_s` is the longest silence to pings in a job: its I/O thread answers within milliseconds while Python runs,
    and native code that keeps Python's lock does so for seconds at most. `quiet_loading_s` is that of a load: torch's
    libraries come from a network volume, and the linker keeps the lock meanwhile. `quiet_stopping_s` is that of a job
    that was cancelled, and of an idle child that a job is about to be given to: it has nothing to do but answer.

    `first_step_s` is the wait for the first step, with the pictures, the move of the weights and any compiling in it.
    A later step, and the decoding, may take what `stages_s` says, or `times_longest` the longest step of this job,
    whichever is more. `stopping_s` is the most, and `stopping_least_s` the least, that a cancelled job gets to come
    to the end of its step; in between it is what is left of twice the longest step.
    """

    quiet_s: float = 60.0
    quiet_loading_s: float = 300.0
    quiet_stopping_s: float = 15.0
    first_step_s: float = 900.0
    stages_s: Mapping[str, float] = field(default_factory=lambda: _STAGES_S)
    times_longest: float = 5.0
    stopping_s: float = 120.0
    stopping_least_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Hung:
    """The child lives and does not go on; `how` is a sentence for the caller."""

    how: str


class Watchdog:
    """Keep watch over one load or one job of a child."""

    def __init__(self, patience: Patience, *, stage: str = "") -> None:
        self._patience = patience
        self._stage = stage
        self._step = self._steps = 0
        self._quiet_s = self._still_s = self._longest_s = 0.0
        self._limit_s: float | None = None  # of stillness, once the job is to stop

    def take(self, event: Event) -> None:
        """Note that the job moved."""
        if isinstance(event, Stage):
            self._stage, self._step, self._steps = event.name, 0, 0
        elif isinstance(event, Step):
            self._step, self._steps = event.step, event.steps
            if event.stage == "sampling":
                self._longest_s = max(self._longest_s, self._still_s)
        else:
            return
        if self._limit_s is None:
            self._still_s = 0.0

    def passed(self, seconds: float, *, heard: bool) -> Hung | None:
        """Let *seconds* pass, in which the child was *heard* or not; say what is wrong with it, None for nothing."""
        self._quiet_s = 0.0 if heard else self._quiet_s + seconds
        self._still_s += seconds
        if self._quiet_s >= self._quiet_limit_s:
            return Hung(f"It gave no sign of life for {self._quiet_s:.0f} s, {self._where}.")
        if self._still_s >= self._still_limit_s:
            longest = f"; its longest step took {self._longest_s:.0f} s" if self._longest_s else ""
            return Hung(f"It made no progress for {self._still_s:.0f} s, {self._where}{longest}.")
        return None

    def stop(self) -> None:
        """Be less patient from now on: the job was told to stop, and does so at the end of its step."""
        known = self._stage == "sampling" and self._step > 0
        left_s = (2 * self._longest_s if known else self._patience.stopping_s) - self._still_s
        self._limit_s = min(max(left_s, self._patience.stopping_least_s), self._patience.stopping_s)
        self._still_s = 0.0

    @property
    def _quiet_limit_s(self) -> float:
        if self._limit_s is not None:
            return self._patience.quiet_stopping_s
        return self._patience.quiet_loading_s if self._stage == "loading" else self._patience.quiet_s

    @property
    def _still_limit_s(self) -> float:
        if self._limit_s is not None:
            return self._limit_s
        if self._stage == "loading":
            return math.inf  # a load says nothing on its way, and has a limit as a whole
        if self._stage == "sampling" and not self._step:
            return self._patience.first_step_s
        least_s = self._patience.stages_s.get(self._stage, self._patience.first_step_s)
        return max(least_s, self._patience.times_longest * self._longest_s)

    @property
    def _where(self) -> str:
        at = f" after step {self._step} of {self._steps}" if self._step else ""
        return f"in stage {self._stage}{at}" if self._stage else "before its first stage"
