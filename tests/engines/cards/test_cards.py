"""Cards that are lent to jobs: in order, by warmth, with rests after failures."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.engine import CAN_DO_ALL, ScriptedEngine
from wanworker.engines.base import Engine, EngineRow, Readiness
from wanworker.engines.cards.cards import Cards
from wanworker.engines.registry import EngineRegistry
from wanworker.errors import EngineFailed, EngineUnavailable
from wanworker.settings import Card, Settings
from wanworker.spec import GraphSpec, RenderSpec, Size

SPEC = RenderSpec(task="t2v-A14B", prompt="", size=Size(64, 48), size_given=True, fps=8, fps_given=True, seed=7)
OTHER = RenderSpec(task="ti2v-5B", prompt="", size=Size(64, 48), size_given=True, fps=8, fps_given=True, seed=7)
BOTH = {0, 1}

Make = Callable[..., EngineRegistry]


class OnCard(ScriptedEngine):
    """An engine of one card: it notes what it is asked, and what it preloads may fail."""

    def __init__(self, settings: Settings, did: list[tuple[str, int, str]], name: str) -> None:
        super().__init__(Path("unused.mp4"))
        self.card, self._did, self._name = settings.card, did, name
        self.fails: set[int] = set()

    def readiness(self, task: str) -> Readiness:
        return Readiness(lacking=("too small",) if self.card.number in self.fails else ())

    def renders_on_gpu(self) -> bool:
        return True

    async def release_gpu(self) -> None:
        self._did.append(("release", self.card.number, self._name))

    async def preload(self, task: str | None) -> None:
        self._did.append(("preload", self.card.number, f"{self._name} {task}"))


def cards(count: int = 2, **edges: Any) -> Cards:
    return Cards([Card(number, str(number), place=number) for number in range(count)], **edges)


@pytest.fixture
def did() -> list[tuple[str, int, str]]:
    return []


@pytest.fixture
def make(make_settings: Callable[..., Settings], did: list[tuple[str, int, str]]) -> Make:
    def build(gpus: str | None = "0,1", *names: str) -> EngineRegistry:
        def row(name: str) -> EngineRow:
            return EngineRow(name, CAN_DO_ALL, lambda settings: OnCard(settings, did, name))

        return EngineRegistry([row(name) for name in names or ("diffusers", "comfyui")], make_settings(gpus=gpus))

    return build


async def test_jobs_wait_in_their_order_for_a_card_that_comes_back() -> None:
    lent = cards()
    got: list[tuple[str, int]] = []

    async def job(name: str) -> None:
        got.append((name, await lent.take("model", name, BOTH)))

    waiting = [asyncio.create_task(job(name)) for name in "abcd"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    before = list(got)
    lent.give_back(1)
    lent.give_back(0)
    await asyncio.gather(*waiting)

    assert [("a", 0), ("b", 1)] == before
    assert [("c", 1), ("d", 0)] == got[2:]


async def test_a_job_that_may_use_only_a_busy_card_holds_up_no_other() -> None:
    lent = cards()
    await lent.take("model", "a", BOTH)
    first_only = asyncio.create_task(lent.take("graph", "b", {0}))
    await asyncio.sleep(0)

    assert 1 == await lent.take("model", "c", BOTH)
    lent.give_back(0)
    assert 0 == await first_only


async def test_a_cancelled_wait_leaves_no_card_taken() -> None:
    lent = cards(1)
    await lent.take("model", "a", {0})
    waiting = asyncio.create_task(lent.take("model", "b", {0}))
    await asyncio.sleep(0)
    lent.give_back(0)  # it is given to b, which is cancelled before it runs
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert 0 == await asyncio.wait_for(lent.take("model", "c", {0}), 5)


async def test_each_failure_doubles_the_rest_and_a_success_ends_it() -> None:
    now = [100.0]
    lent = Cards([Card(0), Card(1, place=1)], clock=lambda: now[0], rest_s=10)

    lent.failed(0, "the driver fell over")
    assert 1 == await lent.take("model", "a", BOTH)
    lent.give_back(1)
    now[0] += 11
    assert ["free", "free"] == [view.state for view in lent.views()]
    lent.failed(0, "again")
    now[0] += 11
    resting, other = lent.views()
    assert ("resting", "again", 11.0, 2) == (resting.state, resting.failure, resting.failure_age_s, resting.failures)
    assert ("free", None) == (other.state, other.failure)
    lent.succeeded(0)
    assert "free" == lent.views()[0].state


@pytest.mark.parametrize("ticks", range(8))
async def test_a_card_is_tried_again_while_jobs_wait_for_it(ticks: int) -> None:
    """Whenever the rest ends: the clock goes on at every look, so that one of these ends between two looks of a job."""
    looks = itertools.count()
    lent = cards(rest_s=(ticks + 0.5) / 1000, clock=lambda: next(looks) / 1000)
    lent.failed(0, "fell over")
    got = [await asyncio.wait_for(lent.take("model", name, BOTH), 10) for name in ("a", "b")]

    assert [0, 1] == sorted(got)


async def test_a_turn_goes_where_its_model_was_loaded(make: Make) -> None:
    registry = make()
    seen: list[int] = []
    for spec in (SPEC, OTHER, OTHER, SPEC):
        async with registry.lease("diffusers", spec, "job") as lease:
            await lease.make_room()
            seen.append(await lease.tried(number_of, contextlib.nullcontext))

    assert [0, 1, 1, 0] == seen
    assert ["diffusers t2v-A14B", "diffusers ti2v-5B"] == [view.holds for view in registry.cards.views()]


async def test_another_engine_leaves_the_card_of_a_turn_and_no_other(
    make: Make, did: list[tuple[str, int, str]]
) -> None:
    registry = make()
    async with registry.lease("diffusers", SPEC, "a") as first, registry.lease("comfyui", SPEC, "b") as second:
        await first.make_room()
        await second.make_room()
        assert ["a", "b"] == [view.job for view in registry.cards.views()]

    assert [("release", 0, "comfyui"), ("release", 1, "diffusers")] == did


async def test_a_job_whose_card_fails_is_tried_once_on_another(make: Make) -> None:
    registry = make()
    tries: list[int] = []

    async def fails_on_the_first(engine: Engine) -> str:
        tries.append(await number_of(engine))
        if tries == [0]:
            raise lost()
        return "made"

    async with registry.lease("diffusers", SPEC, "job") as lease:
        await lease.make_room()
        assert "made" == await lease.tried(fails_on_the_first, contextlib.nullcontext)
        assert [None, "job"] == [view.job for view in registry.cards.views()]

    assert [0, 1] == tries
    assert ("Card 0 failed and the video was rendered on card 1: the process died",) == lease.remarks
    assert ["resting", "free"] == [view.state for view in registry.cards.views()]


async def test_a_job_that_fails_on_two_cards_fails(make: Make) -> None:
    registry = make("0,1,2")
    tries: list[int] = []

    async def fails(engine: Engine) -> None:
        tries.append(await number_of(engine))
        raise lost()

    with pytest.raises(EngineFailed, match="the process died"):
        async with registry.lease("diffusers", SPEC, "job") as lease:
            await lease.tried(fails, contextlib.nullcontext)

    assert [0, 1] == tries
    assert ["resting", "resting", "free"] == [view.state for view in registry.cards.views()]


@pytest.mark.parametrize(("gpus", "error"), [("0,1", EngineFailed("a bad number")), (None, EngineUnavailable("gone"))])
async def test_a_failure_of_the_job_or_of_the_only_card_is_told_at_once(
    make: Make, gpus: str | None, error: EngineFailed
) -> None:
    tries: list[int] = []

    async def fails(engine: Engine) -> None:
        tries.append(await number_of(engine))
        raise error

    registry = make(gpus)
    with pytest.raises(type(error)):
        async with registry.lease("diffusers", SPEC, "job") as lease:
            await lease.tried(fails, contextlib.nullcontext)

    assert [0] == tries
    assert "free" == registry.cards.views()[0].state


async def test_a_job_goes_only_where_it_fits_and_a_named_engine_without_any_anywhere(make: Make) -> None:
    registry = make()
    small = registry.engine("diffusers", 0)
    assert isinstance(small, OnCard)
    small.fails = {0}
    large = registry.engine("diffusers", 1)
    assert isinstance(large, OnCard)

    assert registry.readiness("diffusers", "t2v-A14B").is_ready
    async with registry.lease("diffusers", SPEC, "job") as lease:
        assert 1 == await lease.tried(number_of, contextlib.nullcontext)
    large.fails = {1}
    assert not registry.readiness("diffusers", "t2v-A14B").is_ready
    async with registry.lease("diffusers", SPEC, "job") as lease:
        assert 0 == await lease.tried(number_of, contextlib.nullcontext)


async def test_a_server_that_we_do_not_start_renders_on_the_first_card_only(
    make_settings: Callable[..., Settings], did: list[tuple[str, int, str]]
) -> None:
    rows = [
        EngineRow("diffusers", CAN_DO_ALL, lambda settings: OnCard(settings, did, "diffusers")),
        EngineRow(
            "comfyui", CAN_DO_ALL, lambda settings: OnCard(settings, did, "comfyui"), has_one_place=lambda _: True
        ),
    ]
    registry = EngineRegistry(rows, make_settings(gpus="0,1"))
    async with registry.lease("comfyui", GraphSpec({}), "a"), registry.lease("diffusers", SPEC, "b") as lease:
        await lease.make_room()
        waits = asyncio.create_task(enter(registry, "comfyui"))
        await asyncio.sleep(0)
        assert [("comfyui workflow", "a"), ("diffusers t2v-A14B", "b")] == [
            (view.holds or "comfyui workflow", view.job) for view in registry.cards.views()
        ]
        assert not waits.done()

    await asyncio.wait_for(waits, 10)
    assert [] == did


@pytest.mark.parametrize(
    ("gpus", "names", "expected"),
    [
        (None, ["t2v-A14B", "ti2v-5B"], {0: ["t2v-A14B", "ti2v-5B"]}),
        ("0,1", ["t2v-A14B"], {0: ["t2v-A14B"], 1: ["t2v-A14B"]}),
        ("0,1", ["t2v-A14B", "ti2v-5B"], {0: ["t2v-A14B"], 1: ["ti2v-5B"]}),
        ("0,1", ["t2v-A14B", "ti2v-5B", "s2v-14B"], {0: ["t2v-A14B", "s2v-14B"], 1: ["ti2v-5B"]}),
        ("0,1,2", ["t2v-A14B", "ti2v-5B"], {0: ["t2v-A14B"], 1: ["ti2v-5B"], 2: ["t2v-A14B"]}),
    ],
)
async def test_preloads_are_dealt_out_to_the_cards(
    make: Make, did: list[tuple[str, int, str]], gpus: str | None, names: list[str], expected: dict[int, list[str]]
) -> None:
    registry = make(gpus)
    for nth, name in enumerate(names):
        await registry.preload("diffusers", name, nth=nth, count=len(names))

    found: dict[int, list[str]] = {}
    for _, number, what in did:
        found.setdefault(number, []).append(what.removeprefix("diffusers "))
    assert expected == found
    assert [f"diffusers {tasks[0]}" for tasks in expected.values()] == [view.holds for view in registry.cards.views()]


async def number_of(engine: Engine) -> int:
    assert isinstance(engine, OnCard)
    return engine.card.number


async def enter(registry: EngineRegistry, name: str) -> None:
    async with registry.lease(name, GraphSpec({}), "waits"):
        pass


def lost() -> EngineFailed:
    error = EngineFailed("the process died")
    error.lost_engine = True
    return error
