"""A server with an engine of this machine and a remote one: each takes its own number of jobs, the others wait."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.engine import ScriptedEngine
from wanworker.app import Worker
from wanworker.engines.base import Readiness, Report
from wanworker.settings import Settings
from wanworker.spec import RenderSpec

HERE, THERE = "diffusers", "comfyui"


class Gated(ScriptedEngine):
    """An engine that holds its jobs until `gate` is set."""

    def __init__(self, clip: Path) -> None:
        super().__init__(clip, self._held)
        self.gate = asyncio.Event()

    async def _held(self, _spec: RenderSpec, path: Path, _report: Report) -> None:
        await self.gate.wait()
        shutil.copyfile(self.clip, path)

    async def seen_jobs(self, count: int) -> None:
        """Return once it was given *count* jobs."""
        async with asyncio.timeout(20):
            while len(self.seen) < count:
                await asyncio.sleep(0.01)


@pytest.fixture
def here(clip: Path) -> Gated:
    return Gated(clip)


@pytest.fixture
def there(clip: Path) -> Gated:
    return Gated(clip)


@pytest.fixture
def worker_of(make_settings: Callable[..., Settings], here: Gated, there: Gated) -> Callable[..., Worker]:
    def build(**fields: Any) -> Worker:
        remote = dataclasses.replace(there.row(THERE), remote_slots=lambda _settings: 2)
        return Worker(make_settings(**fields), engines=(here.row(HERE), remote))

    return build


async def test_a_job_that_waits_for_the_card_is_queued_and_remote_jobs_pass_it(
    worker_of: Callable[..., Worker], serve_worker: Callable[..., Any], here: Gated, there: Gated
) -> None:
    there.gate.set()
    async with serve_worker(worker_of()) as rest:
        first, second, third = [await rest.generate(engine=engine) for engine in (HERE, "auto", HERE)]
        await here.seen_jobs(1)
        passing = [await rest.generate(engine=THERE) for _ in range(3)]
        passed = [await rest.until(name) for name in passing]
        waiting = [await rest.status(name) for name in (second, third)]
        _, shown = await rest.ask("GET", "/")
        here.gate.set()
        ends = [await rest.until(name) for name in (first, second, third)]

    assert ["completed"] * 3 == [each["status"] for each in passed]
    assert [("queued", 1), ("queued", 2)] == [(each["status"], each["queue_position"]) for each in waiting]
    assert {"length": 2, "running": 1} == {name: shown["queue"][name] for name in ("length", "running")}
    assert ["completed"] * 3 == [each["status"] for each in ends]


async def test_a_job_that_auto_sends_away_does_not_wait_for_the_card(
    worker_of: Callable[..., Worker], serve_worker: Callable[..., Any], here: Gated, there: Gated
) -> None:
    there.gate.set()
    async with serve_worker(worker_of()) as rest:
        first, _ = [await rest.generate(engine=HERE) for _ in range(2)]
        await here.seen_jobs(1)
        here.state = Readiness(missing=("the weights, from now on",))
        passed = await rest.until(await rest.generate())
        waits = await rest.status(first)

    assert ("completed", THERE) == (passed["status"], passed["engine"])
    assert "processing" == waits["status"]


async def test_a_job_whose_engine_uses_one_card_waits_for_it_though_another_is_free(
    make_settings: Callable[..., Settings], serve_worker: Callable[..., Any], here: Gated
) -> None:
    row = dataclasses.replace(here.row(HERE), has_one_place=lambda _settings: True)
    async with serve_worker(Worker(make_settings(gpus="0,1"), engines=(row,))) as rest:
        names = [await rest.generate() for _ in range(2)]
        await here.seen_jobs(1)
        waiting = await rest.until(names[1], "queued")
        here.gate.set()
        ends = [await rest.until(name) for name in names]

    assert 1 == waiting["queue_position"]
    assert ["completed"] * 2 == [each["status"] for each in ends]


async def test_the_deadline_of_a_job_does_not_run_while_it_waits_for_its_engine(
    worker_of: Callable[..., Worker], serve_worker: Callable[..., Any], here: Gated, there: Gated
) -> None:
    async with serve_worker(worker_of(job_timeout_s=3)) as rest:
        fields = {"task": "ti2v-5B", "prompt": "a cat", "seed": 5, "frame_num": 5, "engine": HERE}
        body = {"input": {**fields, "timeout": 60}}
        _, at_work = await rest.ask("POST", "/v2/local/run", json=body)
        await here.seen_jobs(1)
        waits = await rest.generate(engine=HERE)
        _, waits_too = await rest.ask("POST", "/v2/local/run", json={"input": {**fields, "seed": 6}})
        hangs = await rest.generate(engine=THERE)  # with the same deadline, and it came later
        hung = await rest.until(hangs)
        meanwhile = await rest.status(waits)
        _, meanwhile_too = await rest.ask("GET", f"/v2/local/status/{waits_too['id']}")
        here.gate.set()
        end = await rest.until(waits)
        async with asyncio.timeout(20):
            while True:
                _, end_too = await rest.ask("GET", f"/v2/local/status/{waits_too['id']}")
                if end_too["status"] not in {"IN_QUEUE", "IN_PROGRESS"}:
                    break
                await asyncio.sleep(0.02)

    assert "IN_QUEUE" == at_work["status"]
    assert ("error", "ENGINE_TIMEOUT") == (hung["status"], hung["code"])
    assert ("queued", 1) == (meanwhile["status"], meanwhile["queue_position"])
    assert "IN_QUEUE" == meanwhile_too["status"]
    assert ("completed", "COMPLETED") == (end["status"], end_too["status"])
