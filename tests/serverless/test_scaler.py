"""The real SDK's job loops, its waits taken out: when jobs begin, when the next ones are asked for, how it ends."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from runpod.serverless.modules.rp_scale import JobScaler

from wanworker.serverless._scaler import without_waits

#: The SDK as it is rests a second after each job: ten of them would take longer than this.
LIMIT_S = 5.0


class IdleTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps where it would wait for time to pass; so a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: IdleTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self._loop.now += max(0.0, timeout)
        return ready


class Plane:
    """Hand out jobs one by one, and note what the loops do with them."""

    def __init__(self, jobs: int, work: Callable[[Plane], Awaitable[None]] | None = None) -> None:
        self.left, self.work = jobs, work
        self.log: list[str] = []
        self.taken_at, self.waited_s = 0.0, []
        self.scaler = without_waits(JobScaler)({
            "jobs_fetcher": self.take, "jobs_handler": self.run, "stop_signals_fetcher": self.stops,
        })  # fmt: skip

    async def take(self, _session: Any, wanted: int) -> list[dict[str, Any]]:
        self.log.append(f"take {wanted}")
        if self.left == 0:
            self.scaler.kill_worker()
            return []
        self.left -= 1
        await asyncio.sleep(0.05)  # as a poll does; the SDK's loop beside it has begun to wait by then
        self.taken_at = asyncio.get_running_loop().time()
        return [{"id": f"job-{self.left}", "input": {}}]

    async def run(self, _session: Any, _config: Any, job: dict[str, Any]) -> None:
        self.waited_s.append(asyncio.get_running_loop().time() - self.taken_at)
        self.log.append(f"{job['id']} begins")
        if self.work:
            await self.work(self)
        self.log.append(f"{job['id']} ends")

    async def stops(self, _session: Any) -> list[str]:
        return []

    async def serve(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.scaler.run()

    def serve_to_the_end(self) -> None:
        """Serve in a loop of its own, whose time passes only while nothing can be done."""
        with asyncio.Runner(loop_factory=IdleTimeLoop) as runner:
            runner.run(self.serve())


def test_a_job_begins_when_it_is_taken_and_the_next_one_is_asked_for_when_it_ends() -> None:
    plane = Plane(10)
    plane.serve_to_the_end()

    each = [[f"job-{number} begins", f"job-{number} ends", "take 1"] for number in range(9, -1, -1)]
    assert ["take 1", *(line for lines in each for line in lines)] == plane.log
    assert [0.0] * 10 == plane.waited_s


def test_the_sdk_still_waits_by_itself() -> None:
    """Without this there is no reason for ours."""
    plane = Plane(1)
    plane.scaler = JobScaler(plane.scaler.config)
    plane.serve_to_the_end()

    assert plane.waited_s[0] > 0


def test_nothing_is_asked_for_while_a_job_runs() -> None:
    async def work(plane: Plane) -> None:
        await asyncio.sleep(1.2)  # the SDK by itself looks each second
        plane.log.append("works")

    plane = Plane(1, work)
    plane.serve_to_the_end()

    assert ["take 1", "job-0 begins", "works", "job-0 ends", "take 1"] == plane.log


def test_a_worker_that_is_to_end_finishes_its_job_and_asks_for_no_other() -> None:
    async def work(plane: Plane) -> None:
        plane.scaler.kill_worker()
        await asyncio.sleep(0.01)

    plane = Plane(2, work)
    plane.serve_to_the_end()

    assert ["take 1", "job-1 begins", "job-1 ends"] == plane.log


def test_a_job_that_an_open_poll_brings_after_the_signal_to_end_is_run() -> None:
    plane = Plane(1)
    take = plane.take

    async def takes_late(session: Any, wanted: int) -> list[dict[str, Any]]:
        plane.scaler.kill_worker()
        await asyncio.sleep(0.3)  # longer than an idle loop looks whether it is to end
        return await take(session, wanted)

    plane.scaler.jobs_fetcher = takes_late
    plane.serve_to_the_end()

    assert ["take 1", "job-0 begins", "job-0 ends"] == plane.log


@pytest.mark.parametrize("stopped", ["job-1", "job-0"])
def test_after_a_job_that_was_stopped_the_worker_goes_on(stopped: str) -> None:
    async def work(plane: Plane) -> None:
        if plane.log[-1].startswith(stopped):
            await plane.scaler.stop_job(stopped)
            await asyncio.sleep(1)

    plane = Plane(2, work)
    plane.serve_to_the_end()

    begun = [line for line in plane.log if "begins" in line]
    assert ["job-1 begins", "job-0 begins"] == begun
    assert f"{stopped} ends" not in plane.log
    assert "take 1" == plane.log[-1]
