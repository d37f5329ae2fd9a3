"""WAN_GPUS=cpu:2 with the real miniature: two processes render twice as much, and the death of one loses no job."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.engines.mini import MiniEngine
from wanworker.jobs.model import JobStatus
from wanworker.progress import Progress
from wanworker.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Report = Callable[[str, Progress], object]


def quiet(_name: str, _progress: Progress) -> None:
    """Take no notice."""


async def clip(worker: Worker, name: str, report: Report = quiet) -> dict[str, Any]:
    job = {"task": "ti2v-5B", "prompt": "a red circle moves right", "size": "256*256", "frames": 17, "seed": 1}
    call = Call(name, None, lambda progress: report(name, progress), answer_limit_bytes=10_000_000, s3_config=None)
    return await worker.perform(job, call)


async def seconds_for(settings: Settings, clips: int) -> float:
    """Return how long *clips* take once the weights are loaded."""
    worker = Worker(settings)
    try:
        await asyncio.gather(*(clip(worker, f"warm-{number}") for number in range(worker.cards)))
        started = time.monotonic()
        await asyncio.gather(*(clip(worker, f"clip-{number}") for number in range(clips)))
        return time.monotonic() - started
    finally:
        await worker.close()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core cannot render two clips at once")
async def test_two_miniatures_need_at_most_six_tenths_of_the_time_of_one(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ratios: list[float] = []
    for number in range(3):  # other programs on this machine can spoil one comparison
        places = {
            gpus: make_settings(gpus=gpus, engine="mini", out_dir=tmp_path / f"{gpus}-{number}")
            for gpus in ("cpu:1", "cpu:2")
        }
        one, two = [await seconds_for(settings, 20) for settings in places.values()]
        ratios.append(two / one)
        if ratios[-1] <= 0.6:
            break

    assert min(ratios) <= 0.6, ratios


async def test_no_job_is_lost_when_one_of_two_miniatures_is_killed(make_settings: Callable[..., Settings]) -> None:
    worker = Worker(make_settings(gpus="cpu:2", engine="mini"))
    killed: list[str] = []

    def kill_the_second_at_work(name: str, progress: Progress) -> None:
        _, second = worker.registry.cards.views()
        engine = worker.registry.engine("mini", second.card.number)
        assert isinstance(engine, MiniEngine)
        if progress.stage == "sampling" and second.job == name and engine._supervisor.pid and not killed:
            killed.append(name)
            os.kill(engine._supervisor.pid, signal.SIGKILL)

    names = [f"clip-{number}" for number in range(6)]
    try:
        answers = await asyncio.gather(*(clip(worker, name, kill_the_second_at_work) for name in names))
        jobs = [worker.store.find(name) for name in names]
        first, second = worker.registry.cards.views()
    finally:
        await worker.close()

    assert [(JobStatus.COMPLETED, 1)] * 6 == [(job.status, job.attempt) for job in jobs]
    assert 6 == first.jobs + second.jobs
    assert (0, 1) == (first.failures, second.failures)
    assert "SIGKILL" in str(second.failure)
    told = {
        answer["request_id"]
        for answer in answers
        for line in answer["warnings"]
        if line.startswith("Card 1 failed and the video was rendered on card 0: ")
    }
    assert told == set(killed)
