"""How fast the SDK may ask for jobs; tests/serverless/test_malformed_jobs.py has the jobs that are dropped."""

from __future__ import annotations

from typing import Any

import pytest

from wanworker.serverless._valid_jobs import LONGEST_PAUSE_S, SHORT_PAUSE_S, valid_jobs

JOB = {"id": "a", "input": {}}


class Time:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def asking(answers: list[Any], time: Time, held_s: float = 0.0) -> Any:
    """Return the wrapped question; *answers* come one after another, each after *held_s* seconds."""

    async def fetch() -> Any:
        time.now += held_s
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return valid_jobs(fetch, pause=time.pause, clock=time.clock)


async def test_each_failure_in_a_row_doubles_the_wait_up_to_a_limit_and_a_job_ends_it() -> None:
    time = Time()
    ask = asking([*[ConnectionError()] * 8, [JOB], ConnectionError()], time)

    for _ in range(8):
        with pytest.raises(ConnectionError):
            await ask()
    assert await ask() == [JOB]
    with pytest.raises(ConnectionError):
        await ask()

    assert time.pauses[:3] == [SHORT_PAUSE_S, SHORT_PAUSE_S * 2, SHORT_PAUSE_S * 4]
    assert time.pauses[7:] == [LONGEST_PAUSE_S, SHORT_PAUSE_S]


@pytest.mark.parametrize(("held_s", "pauses"), [(0.0, [SHORT_PAUSE_S]), (90.0, [])])
async def test_an_empty_answer_that_was_not_held_is_followed_by_a_short_wait(
    held_s: float, pauses: list[float]
) -> None:
    time = Time()

    assert await asking([None], time, held_s)() == []

    assert time.pauses == pauses


async def test_a_job_is_passed_on_at_once() -> None:
    time = Time()

    assert await asking([[JOB]], time)() == [JOB]

    assert time.pauses == []
