"""Progress to RunPod arrives in order, seldom, and never after the answer."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from typing import Any

import pytest

from wanworker.progress import Progress
from wanworker.serverless._progress import ProgressPosts


class Sdk:
    """Stand in for `progress_update`: a daemon thread a call, forgotten; `arrived` is what came through."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.arrived: list[dict[str, Any]] = []
        self.road = threading.Event()
        self.road.set()

    def __call__(self, shown: dict[str, Any]) -> None:
        self.started.append(shown)
        threading.Thread(target=self._post, args=(shown,), daemon=True).start()

    def has_more_than(self, count: int) -> bool:
        return len(self.arrived) > count

    def _post(self, shown: dict[str, Any]) -> None:
        self.road.wait(10)
        self.arrived.append(shown)


class Pauses:
    """A clock that moves only by the sleeps asked of it; the pause between two posts waits for `end_one`."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self.now = 0.0
        self.asked: list[float] = []
        self._ends = asyncio.Semaphore(0)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        if seconds == self.interval_s:
            await self._ends.acquire()
        else:
            await asyncio.sleep(0)
        self.now += seconds

    def long_ones(self) -> list[float]:
        """Return what was slept beside the looks at a post under way."""
        return [seconds for seconds in self.asked if seconds > 0.01]

    def end_one(self) -> None:
        self._ends.release()


def posts_to(sdk: Sdk, pauses: Pauses, patience_s: float = 1e9) -> ProgressPosts:
    return ProgressPosts(
        sdk,
        request_id=lambda: "job-1",
        interval_s=pauses.interval_s,
        patience_s=patience_s,
        clock=pauses.clock,
        sleep=pauses.sleep,
    )


async def until(is_true: Any) -> None:
    """Let the loop turn until *is_true*; pytest's timeout is the limit."""
    while not is_true():
        await asyncio.sleep(0)


async def test_the_first_progress_goes_at_once_in_the_documented_form() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    posts = posts_to(sdk, pauses)

    posts.report(Progress("sampling", 0.25, step=5, steps=20, eta_s=12.04))
    await until(lambda: sdk.arrived)
    await posts.drain()

    expected = {
        "request_id": "job-1",
        "status": "RUNNING",
        "progress": 25.0,
        "stage": "sampling",
        "step": 5,
        "steps": 20,
        "eta_s": 12.0,
    }
    assert [expected] == sdk.arrived


async def test_a_job_that_is_over_at_once_posts_nothing() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    posts = posts_to(sdk, pauses)

    posts.report(Progress("preparing", 0.0))
    await asyncio.sleep(0)
    await posts.drain()

    assert [] == sdk.started


async def test_of_many_reports_in_one_interval_the_latest_goes() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    posts = posts_to(sdk, pauses)

    posts.report(Progress("sampling", 0.0))
    await until(lambda: sdk.arrived)
    for step in range(1, 10):
        posts.report(Progress("sampling", step / 10, step=step, steps=10))
    pauses.end_one()
    await until(lambda: len(sdk.arrived) == 2)
    await posts.drain()

    assert [(None, 0.0), (9, 90.0)] == [(shown["step"], shown["progress"]) for shown in sdk.arrived]


async def test_progress_never_falls() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    posts = posts_to(sdk, pauses)

    for fraction in (0.5, 0.2, 0.6):
        seen = len(sdk.arrived)
        posts.report(Progress("sampling", fraction))
        await until(functools.partial(sdk.has_more_than, seen))
        pauses.end_one()
    await posts.drain()

    assert [50.0, 50.0, 60.0] == [shown["progress"] for shown in sdk.arrived]


async def test_drain_returns_only_when_the_last_post_has_arrived() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    sdk.road.clear()
    posts = posts_to(sdk, pauses)
    posts.report(Progress("sampling", 0.1))
    await until(lambda: sdk.started)

    draining = asyncio.create_task(posts.drain())
    await asyncio.sleep(0)
    was_done = draining.done()
    sdk.road.set()
    await draining

    assert not was_done
    assert 1 == len(sdk.arrived)


async def test_a_post_does_not_overtake_the_one_before() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    sdk.road.clear()
    posts = posts_to(sdk, pauses)
    posts.report(Progress("sampling", 0.1))
    await until(lambda: sdk.started)
    posts.report(Progress("sampling", 0.2))
    pauses.end_one()
    for _ in range(20):
        await asyncio.sleep(0)
    started_early = len(sdk.started)
    sdk.road.set()
    await until(lambda: len(sdk.arrived) == 2)
    await posts.drain()

    assert 1 == started_early
    assert [10.0, 20.0] == [shown["progress"] for shown in sdk.arrived]


async def test_a_post_that_hangs_holds_the_answer_no_longer_than_its_patience() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    sdk.road.clear()
    posts = posts_to(sdk, pauses, patience_s=3.0)
    posts.report(Progress("sampling", 0.1))
    await until(lambda: sdk.started)

    await posts.drain()
    sdk.road.set()

    assert 3.0 <= pauses.now < 7.0


async def test_nothing_is_posted_after_the_drain() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    posts = posts_to(sdk, pauses)
    posts.report(Progress("sampling", 0.1))
    await until(lambda: sdk.arrived)
    posts.report(Progress("sampling", 0.2))

    await posts.drain()
    posts.report(Progress("sampling", 0.3))
    pauses.end_one()
    for _ in range(20):
        await asyncio.sleep(0)

    assert [10.0] == [shown["progress"] for shown in sdk.started]


async def test_a_report_after_the_drain_of_a_job_that_had_none_posts_nothing() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    posts = posts_to(sdk, pauses)
    before = asyncio.all_tasks()

    await posts.drain()
    posts.report(Progress("sampling", 0.1))

    assert before == asyncio.all_tasks()


async def test_the_next_post_waits_for_a_second_to_pass() -> None:
    """The first one waits for 0.05 s: a job that is over sooner posts nothing."""
    sdk, pauses = Sdk(), Pauses(1.0)
    posts = ProgressPosts(sdk, request_id=lambda: "job-1", clock=pauses.clock, sleep=pauses.sleep)
    posts.report(Progress("sampling", 0.1))
    await until(lambda: len(pauses.long_ones()) == 2)
    posts.report(Progress("sampling", 0.2))
    early = len(sdk.started)
    pauses.end_one()
    await until(lambda: len(sdk.arrived) == 2)
    await posts.drain()

    assert [0.05, 1.0] == pauses.long_ones()[:2]
    assert 1 == early


async def test_a_post_that_hangs_is_given_ten_seconds() -> None:
    sdk, pauses = Sdk(), Pauses(1.0)
    sdk.road.clear()
    posts = ProgressPosts(sdk, request_id=lambda: "job-1", clock=pauses.clock, sleep=pauses.sleep)
    posts.report(Progress("sampling", 0.1))
    await until(lambda: sdk.started)
    started_at = pauses.now

    await posts.drain()
    sdk.road.set()

    assert 10.0 <= pauses.now - started_at < 10.9


async def test_threads_that_are_no_posts_are_not_waited_for() -> None:
    """A daemon that was there before, and an executor's thread that starts together with the post."""
    sdk, pauses, gate = Sdk(), Pauses(1.0), threading.Event()
    others = [threading.Thread(target=gate.wait, daemon=is_daemon) for is_daemon in (True, False)]

    def send(shown: dict[str, Any]) -> None:
        others[1].start()
        sdk(shown)

    others[0].start()
    posts = ProgressPosts(send, request_id=lambda: "job-1", patience_s=1e9, clock=pauses.clock, sleep=pauses.sleep)
    posts.report(Progress("sampling", 0.1))
    try:
        await until(lambda: sdk.arrived)
        async with asyncio.timeout(20):
            await posts.drain()
    finally:
        gate.set()
        for other in others:
            other.join()


async def test_where_nobody_listens_nothing_is_started() -> None:
    posts = ProgressPosts(None, request_id=lambda: "job-1")
    before = len(asyncio.all_tasks())

    posts.report(Progress("sampling", 0.1))
    after = len(asyncio.all_tasks())
    await posts.drain()

    assert before == after


async def test_a_post_that_cannot_start_is_logged_and_fails_no_job(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(shown: dict[str, Any]) -> None:
        raise RuntimeError("can't start new thread")

    pauses = Pauses(1.0)
    posts = ProgressPosts(refuse, request_id=lambda: "job-1", sleep=pauses.sleep)
    posts.report(Progress("sampling", 0.1))
    for _ in range(5):
        await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING):
        await posts.drain()

    assert ["Progress could not be posted: can't start new thread"] == caplog.messages
