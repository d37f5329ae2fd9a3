"""A server with two cards: two jobs render at once, and GET / and the metrics show each card."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.engine import CAN_DO_ALL, ScriptedEngine
from wanworker.app import Worker
from wanworker.engines.base import EngineRow, Report
from wanworker.errors import EngineFailed
from wanworker.settings import Settings
from wanworker.spec import RenderSpec


async def test_two_cards_render_two_jobs_and_are_shown(
    make_settings: Callable[..., Settings], clip: Path, serve_worker: Callable[..., Any]
) -> None:
    both_render, go_on = asyncio.Barrier(3), asyncio.Event()

    async def wait(_spec: RenderSpec, path: Path, _report: Report) -> None:
        if not go_on.is_set():
            await both_render.wait()
            await go_on.wait()
        shutil.copyfile(clip, path)

    row = EngineRow("diffusers", CAN_DO_ALL, lambda _settings: ScriptedEngine(clip, wait))
    async with serve_worker(Worker(make_settings(gpus="2,3"), engines=(row,))) as rest:
        names = [await rest.generate() for _ in range(3)]
        async with asyncio.timeout(30):
            await both_render.wait()
        _, at_work = await rest.ask("GET", "/")
        waiting = await rest.status(names[2])
        _, text = await rest.bytes_of("/metrics")
        go_on.set()
        ends = [await rest.until(name) for name in names]
        _, after = await rest.ask("GET", "/")

    assert {"length": 1, "running": 2} == {name: at_work["queue"][name] for name in ("length", "running")}
    assert [(2, "busy"), (3, "busy")] == [(card["number"], card["state"]) for card in at_work["cards"]]
    assert set(names[:2]) == {card["job"] for card in at_work["cards"]}
    assert 1 == waiting["queue_position"]
    assert b'wanworker_card{card="2",state="busy"} 1.0\n' in text
    assert b'wanworker_card{card="3",state="free"} 0.0\n' in text
    assert ["completed"] * 3 == [end["status"] for end in ends]
    assert [("free", "diffusers ti2v-5B", None)] * 2 == [
        (card["state"], card["holds"], card["job"]) for card in after["cards"]
    ]


async def test_a_card_that_failed_is_shown_with_its_reason_and_its_job_succeeds_on_the_other(
    make_settings: Callable[..., Settings], clip: Path, serve_worker: Callable[..., Any]
) -> None:
    def build(settings: Settings) -> ScriptedEngine:
        def act(_spec: RenderSpec, path: Path, _report: Report) -> None:
            if settings.card.number == 0:
                path.write_bytes(b"half a file")
                error = EngineFailed("CUDA error: an illegal memory access was encountered")
                error.lost_engine = True
                raise error
            shutil.copyfile(clip, path)

        return ScriptedEngine(clip, act)

    row = EngineRow("diffusers", CAN_DO_ALL, build)
    async with serve_worker(Worker(make_settings(gpus="0,1"), engines=(row,))) as rest:
        name = await rest.generate()
        end = await rest.until(name)
        _, shown = await rest.ask("GET", "/")
        _, text = await rest.bytes_of("/metrics")

    assert "completed" == end["status"]
    failed, other = shown["cards"]
    assert ("resting", None) == (failed["state"], failed["holds"])
    assert "illegal memory access" in failed["last_failure"]
    assert failed["last_failure_age_s"] >= 0
    assert ("free", None) == (other["state"], other["last_failure"])
    assert b'wanworker_card_failures_total{card="0"} 1.0\n' in text
    assert b'wanworker_card_jobs_total{card="1"} 1.0\n' in text
    assert any(line.startswith("Card 0 failed and the video was rendered on card 1: CUDA") for line in end["warnings"])
