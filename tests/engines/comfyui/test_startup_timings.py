"""What the timings say of a ComfyUI server: how long it took to start, and how long each job waited."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TypeVar

import pytest

from wanworker.engines.comfyui._startup_timings import Waits
from wanworker.progress import Progress

T = TypeVar("T")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait(waits: Waits, clock: Clock, seconds: float, *, starts: bool) -> list[Progress]:
    """Wait for the server, as one that finds it or one that sees it start."""
    told: list[Progress] = []
    with waits.measured(told.append) as hear:
        clock.now += seconds
        if starts:
            hear("starting ComfyUI")
    return told


def in_a_job(act: Callable[[], T]) -> T:
    """Run *act* as a task of its own would."""
    return contextvars.copy_context().run(act)


def test_the_first_job_tells_the_whole_start_and_its_own_waits_together(clock: Clock) -> None:
    waits = Waits(clock)
    in_a_job(lambda: wait(waits, clock, 30, starts=True))  # the preload, which began it

    def job() -> dict[str, float]:
        wait(waits, clock, 8, starts=True)
        wait(waits, clock, 0.5, starts=False)
        return waits.told()

    assert {"comfyui_start_s": 30, "wait_s": 8.5} == in_a_job(job)


def test_later_jobs_tell_their_own_waits_alone(clock: Clock) -> None:
    waits = Waits(clock)

    def job() -> dict[str, float]:
        wait(waits, clock, 2, starts=True)
        return waits.told()

    in_a_job(job)

    def later() -> dict[str, float]:
        wait(waits, clock, 0.25, starts=False)
        return waits.told()

    assert {"wait_s": 0.25} == in_a_job(later)


def fail(waits: Waits, clock: Clock, seconds: float) -> None:
    with waits.measured(lambda _progress: None) as hear:
        clock.now += seconds
        hear("starting ComfyUI")
        raise RuntimeError("no server")


def test_a_start_that_fails_is_a_wait_and_no_start(clock: Clock) -> None:
    waits = Waits(clock)

    def job() -> dict[str, float]:
        with pytest.raises(RuntimeError):
            fail(waits, clock, 3)
        return waits.told()

    assert {"wait_s": 3} == in_a_job(job)


def test_each_stage_of_a_start_is_reported(clock: Clock) -> None:
    assert [Progress("starting ComfyUI", 0.0)] == in_a_job(lambda: wait(Waits(clock), clock, 1, starts=True))
