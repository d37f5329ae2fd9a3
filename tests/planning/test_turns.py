"""The turns of jobs: where each is told to be, what its deadline counts, and that no slot is lost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.engine import CAN_DO_ALL, ScriptedEngine
from wanworker.deadline import Deadline
from wanworker.engines.base import EngineRow, Readiness
from wanworker.engines.registry import HERE, EngineRegistry
from wanworker.errors import EngineTimeout
from wanworker.planning.fitting import Fitted, Fitting
from wanworker.planning.turns import Slot, Turns
from wanworker.progress import AtPlace, AwaitsTurn, Progress
from wanworker.settings import Settings
from wanworker.spec import RenderSpec, Size

SPEC = RenderSpec(task="t2v-A14B", prompt="", size=Size(64, 48), size_given=True, fps=8, fps_given=True, seed=7)
AWAY = "runpod"


class Held(ScriptedEngine):
    """An engine that says whether it is ready once `gate` is set."""

    def __init__(self) -> None:
        super().__init__(Path("unused.mp4"))
        self.gate = threading.Event()
        self.gate.set()

    def readiness(self, task: str) -> Readiness:
        assert self.gate.wait(20)
        return super().readiness(task)


@pytest.fixture
def engine() -> Held:
    return Held()


@pytest.fixture
def registry_of(make_settings: Callable[..., Settings], engine: Held) -> Callable[..., EngineRegistry]:
    def build(gpus: str | None = None, **own: object) -> EngineRegistry:
        rows = (
            engine.row(),
            dataclasses.replace(engine.row("comfyui"), **own),  # type: ignore[arg-type]
            dataclasses.replace(engine.row(AWAY), remote_slots=lambda _settings: 1),
        )
        return EngineRegistry(rows, make_settings(gpus=gpus))

    return build


class Job:
    """A job that goes through its turn until it is let go, and what it reported."""

    def __init__(self, turns: Turns, engine: str, *, place: str = HERE, timeout_s: float = 20.0) -> None:
        self.told: list[Progress] = []
        self.has_slot, self.has_turn, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run(turns, engine, place, timeout_s))

    async def _run(self, turns: Turns, engine: str, place: str, timeout_s: float) -> None:
        async with turns.slot(place, Deadline(timeout_s), self.told.append) as slot:
            self.has_slot.set()
            await self._turn(slot, Fitted(engine, SPEC, ()))

    async def _turn(self, slot: Slot, fitted: Fitted) -> None:
        async with slot.lease(fitted, "job"):
            self.has_turn.set()
            await self.go_on.wait()

    async def waits(self) -> None:
        """Return once the job has said that it waits."""
        async with asyncio.timeout(20):
            while not (self.told and isinstance(self.told[-1], AwaitsTurn)):
                await asyncio.sleep(0)

    async def called_off(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def ended(self) -> None:
        self.go_on.set()
        async with asyncio.timeout(20):
            await self.task

    @property
    def places(self) -> list[tuple[str, str | None]]:
        return [(progress.stage, progress.place) for progress in self.told if isinstance(progress, AtPlace)]


async def test_a_job_that_its_files_send_elsewhere_says_so_though_nothing_waited(
    registry_of: Callable[..., EngineRegistry],
) -> None:
    turns = Turns(registry_of())
    moves = Job(turns, AWAY)
    await moves.has_turn.wait()
    stays = Job(turns, "diffusers")
    await stays.has_turn.wait()

    assert [("preparing", HERE), ("preparing", AWAY)] == moves.places
    assert [("preparing", HERE)] == stays.places
    await moves.ended()
    await stays.ended()


async def test_a_job_that_is_called_off_wherever_it_waits_leaves_its_slots_free(
    registry_of: Callable[..., EngineRegistry],
) -> None:
    registry = registry_of()
    turns = Turns(registry)
    card = registry.cards
    at_work, away = Job(turns, "diffusers"), Job(turns, AWAY, place=AWAY)
    await at_work.has_turn.wait()
    await away.has_turn.wait()
    for waiting in (Job(turns, "diffusers"), Job(turns, AWAY, place=AWAY)):  # each waits for a slot
        await waiting.waits()
        await waiting.called_off()
    await at_work.ended()
    moves = Job(turns, AWAY)  # it waits for a slot elsewhere, and has given up its own
    await moves.has_slot.wait()
    await moves.waits()
    await moves.called_off()
    number = await card.take("another worker's", "x", {0})
    waits_for_card = Job(turns, "diffusers")
    await waits_for_card.waits()
    await waits_for_card.called_off()
    card.give_back(number)
    begins = Job(turns, "diffusers")
    await begins.has_turn.wait()
    await begins.called_off()
    await away.ended()
    last = [Job(turns, "diffusers"), Job(turns, AWAY, place=AWAY)]
    for job in last:
        await job.ended()

    assert [[("preparing", HERE)], [("preparing", AWAY)]] == [job.places for job in last]
    assert ["free"] == [view.state for view in registry.cards.views()]


async def test_the_deadline_counts_while_the_cards_are_asked(
    registry_of: Callable[..., EngineRegistry], engine: Held
) -> None:
    turns = Turns(registry_of("0,1"))
    engine.gate.clear()
    hangs = Job(turns, "diffusers", timeout_s=0.05)
    with pytest.raises(EngineTimeout):
        await asyncio.wait_for(hangs.task, 10)
    engine.gate.set()

    assert not hangs.has_turn.is_set()


async def test_jobs_of_a_server_with_one_place_hold_no_card_that_others_could_use(
    registry_of: Callable[..., EngineRegistry],
) -> None:
    registry = registry_of("0,1", has_one_place=lambda _settings: True)
    turns = Turns(registry)
    place = registry.place_of("comfyui")
    served = [Job(turns, "comfyui", place=place) for _ in range(3)]
    await served[0].has_turn.wait()
    other = Job(turns, "diffusers")
    await asyncio.wait_for(other.has_turn.wait(), 10)

    assert {HERE: 2, "comfyui": 1, AWAY: 1} == registry.slots
    assert [("preparing", HERE)] == other.places
    for job in (other, *served):
        await job.ended()


def test_an_engine_of_one_place_is_here_like_all_others_where_there_is_one_card(
    registry_of: Callable[..., EngineRegistry],
) -> None:
    registry = registry_of(has_one_place=lambda _settings: True)

    assert {HERE: 1, AWAY: 1} == registry.slots
    assert HERE == registry.place_of("comfyui")


async def test_the_place_of_a_draft_counts_the_files_that_it_will_have(
    make_settings: Callable[..., Settings], engine: Held
) -> None:
    prepares = dataclasses.replace(CAN_DO_ALL, prepares_motion=True)
    away = EngineRow(AWAY, prepares, lambda _settings: engine, remote_slots=lambda _settings: 1)
    fitting = Fitting(EngineRegistry((engine.row(), away), make_settings()), models_dir="", mini_allowed=False)
    draft = dataclasses.replace(SPEC, task="animate-14B", prepared_dir=Path("prepared_path"))
    film = dataclasses.replace(draft, prepared_dir=None, driving_video=Path("driving_video"))

    assert [HERE, AWAY] == [await fitting.place_of(each, "auto") for each in (draft, film)]
