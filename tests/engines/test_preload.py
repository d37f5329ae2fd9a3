"""WAN_PRELOAD: engines that are warmed beside the jobs, once, and whose failure is a fact and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from fakes.engine import CAN_DO_ALL, ScriptedEngine
from wanworker.engines.base import EngineRow, Readiness
from wanworker.engines.preload import Preloader
from wanworker.engines.registry import EngineRegistry
from wanworker.errors import OutOfMemory
from wanworker.settings import Settings

Act = Callable[[str | None], Awaitable[None]]


class Warm(ScriptedEngine):
    """An engine that can be warmed; *warm* says what comes of it."""

    warm: Act | None = None
    asked: list[str | None]

    async def preload(self, task: str | None) -> None:
        self.asked.append(task)
        if self.warm is not None:
            await self.warm(task)


def warm(act: Act | None = None, *, missing: tuple[str, ...] = ()) -> Warm:
    engine = Warm(Path("unused.mp4"), state=Readiness(missing=missing))
    engine.warm, engine.asked = act, []
    return engine


def row(engine: ScriptedEngine, name: str) -> EngineRow:
    return EngineRow(name, CAN_DO_ALL, lambda _settings: engine)


class Clock:
    def __init__(self) -> None:
        self._times: Iterator[int] = iter(range(1000))

    def __call__(self) -> float:
        return float(next(self._times))


def preloader(settings: Settings, rows: list[EngineRow], *wanted: str, asked: str = "auto") -> Preloader:
    return Preloader(EngineRegistry(rows, settings), wanted, asked=asked, mini_allowed=True)


async def states(preloader: Preloader) -> list[tuple[str, str | None, str]]:
    """Begin, wait until all have ended, and return each one's name, engine and state."""
    preloader.begin()
    while any(preload.state in {"waiting", "loading"} for preload in preloader.preloads):
        await asyncio.sleep(0)
    return [(preload.name, preload.engine, preload.state) for preload in preloader.preloads]


async def test_each_tasks_engine_is_warmed_and_the_server_by_its_name(settings: Settings) -> None:
    diffusers, comfyui = warm(), warm()
    rows = [row(diffusers, "diffusers"), row(comfyui, "comfyui")]

    ended = await states(preloader(settings, rows, "t2v-A14B", "comfyui"))

    assert [("t2v-A14B", "diffusers", "ready"), ("comfyui", "comfyui", "ready")] == ended
    assert (["t2v-A14B"], [None]) == (diffusers.asked, comfyui.asked)


async def test_the_engine_is_the_one_that_auto_or_the_setting_would_choose(settings: Settings) -> None:
    rows = [row(warm(missing=("weights",)), "diffusers"), row(warm(), "comfyui"), row(warm(), "mini")]

    by_auto = await states(preloader(settings, rows, "t2v-A14B"))
    by_name = await states(preloader(settings, rows, "t2v-A14B", asked="mini"))

    assert ("comfyui", "mini") == (by_auto[0][1], by_name[0][1])


async def test_one_that_fails_says_why_and_stops_no_other(settings: Settings) -> None:
    async def fails(task: str | None) -> None:
        raise OutOfMemory("CUDA out of memory.")

    async def breaks(task: str | None) -> None:
        raise ZeroDivisionError

    rows = [row(warm(fails), "diffusers"), row(warm(), "comfyui"), row(warm(breaks), "mini")]
    made = preloader(settings, rows, "t2v-A14B", "comfyui")
    ended = await states(made)
    broken = preloader(settings, rows, "t2v-A14B", asked="mini")
    await states(broken)

    assert ["failed", "ready"] == [state for _, _, state in ended]
    assert "CUDA out of memory." == made.preloads[0].to_json()["error"]
    assert "Internal error; see the worker's log." == broken.preloads[0].to_json()["error"]


async def test_missing_weights_and_an_engine_with_nothing_to_keep_warm_are_named(
    settings: Settings, tmp_path: Path
) -> None:
    nothing = [row(warm(missing=("weights",)), "diffusers")]
    cold = [row(ScriptedEngine(tmp_path / "none.mp4"), "wan_cli")]
    missing, anew = preloader(settings, nothing, "t2v-A14B"), preloader(settings, cold, "t2v-A14B")
    await states(missing)
    await states(anew)

    assert "Model 'Wan2.2-T2V-A14B' not found" in (missing.preloads[0].error or "")
    assert "wan_cli loads its weights for each job" in (anew.preloads[0].error or "")


async def test_of_two_tasks_on_one_engine_the_first_named_comes_first(settings: Settings) -> None:
    order: list[str] = []

    async def slow(task: str | None) -> None:
        order.append(f"{task} begins")
        await asyncio.sleep(0)
        order.append(f"{task} ends")

    await states(preloader(settings, [row(warm(slow), "diffusers")], "t2v-A14B", "ti2v-5B"))

    assert ["t2v-A14B begins", "t2v-A14B ends", "ti2v-5B begins", "ti2v-5B ends"] == order


async def test_beginning_never_waits_and_happens_once(settings: Settings) -> None:
    engine = warm()
    made = preloader(settings, [row(engine, "diffusers")], "t2v-A14B")
    made.begin()
    begun = [preload.state for preload in made.preloads]
    await states(made)
    await states(made)

    assert ["waiting"] == begun
    assert ["t2v-A14B"] == engine.asked


async def test_closing_ends_what_still_loads(settings: Settings) -> None:
    loading = asyncio.Event()

    async def for_ever(task: str | None) -> None:
        loading.set()
        await asyncio.Event().wait()

    made = preloader(settings, [row(warm(for_ever), "diffusers")], "t2v-A14B")
    made.begin()
    await loading.wait()
    during = made.preloads[0].state
    await made.close()

    assert ("loading", "failed") == (during, made.preloads[0].state)
    assert "The worker ends." == made.preloads[0].error


async def test_nothing_wanted_is_nothing_done(settings: Settings) -> None:
    made = preloader(settings, [])
    made.begin()
    await made.close()

    assert () == made.preloads


async def test_the_seconds_count_from_the_load_and_stand_still_after_it(settings: Settings) -> None:
    made = Preloader(
        EngineRegistry([row(warm(), "diffusers")], settings),
        ("t2v-A14B",),
        asked="auto",
        mini_allowed=True,
        clock=Clock(),
    )
    await states(made)
    first, second = (made.preloads[0].to_json() for _ in range(2))

    assert {"name": "t2v-A14B", "engine": "diffusers", "state": "ready", "seconds": 1.0} == first == second
