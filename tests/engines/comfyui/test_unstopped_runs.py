"""A run that the server does not stop costs one job, never the next."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from door import refused_port
from fakes.comfyui import FakeComfyUI
from fakes.graphs import saving
from fakes.passing_time import PassingTime
from fakes.stopped import stop
from wanworker.engines.comfyui._unstopped_runs import StopLimits
from wanworker.engines.comfyui.engine import ComfyUI
from wanworker.errors import EngineUnavailable
from wanworker.settings import Settings
from wanworker.spec import GraphSpec

FAKE_MAIN = Path(__file__).resolve().parents[2] / "fakes" / "comfyui_main.py"
QUICK = StopLimits(stop_s=0.2, step_s=0.02)


class Clock:
    """Time that stands still until a test lets it jump."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def spec(prefix: str) -> GraphSpec:
    return GraphSpec(graph=saving("SaveImage", prefix=prefix), uploads=())


async def run(engine: ComfyUI, folder: Path, name: str) -> list[str]:
    """Run a graph of that name, and return the names of its files."""
    out = folder / name
    out.mkdir()
    rendered = await engine.run_graph(spec(name), out, work_dir=folder, report=lambda _progress: None)
    return [path.name for path in rendered.files]


async def called_off(engine: ComfyUI, folder: Path, is_held: Callable[[], bool]) -> None:
    """Run a graph, and cancel it once its node hangs."""
    task = asyncio.create_task(run(engine, folder, "lost"))
    await until(lambda: is_held() or task.done())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(30):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


# A server of our own


@dataclass
class Own:
    """An engine with a checkout of its own, whose server is the fake one, and a clock that stands still."""

    engine: ComfyUI
    root: Path
    clock: Clock

    def knobs(self, **knobs: Any) -> None:
        (self.root / "knobs.json").write_text(json.dumps(knobs))

    def is_held(self) -> bool:
        return (self.root / "held").exists()

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in (self.root / "pids").read_text().split()]


@pytest.fixture
async def own(tmp_path: Path, make_settings: Callable[..., Settings]) -> AsyncIterator[Own]:
    root, clock = tmp_path / "ComfyUI", Clock()
    root.mkdir()
    (root / "main.py").symlink_to(FAKE_MAIN)
    settings = make_settings(
        comfyui_root=root, comfyui_python=Path(sys.executable), comfyui_port=refused_port(), comfyui_wait_s=60
    )
    yield (made := Own(ComfyUI(settings, gpus=tuple, clock=PassingTime(clock), stop_limits=QUICK), root, clock))
    await made.engine.close()


@pytest.mark.parametrize("knobs", [{"stuck": ["SaveImage"], "leaves_a_child": True}, {"exits": ["SaveImage"]}])
async def test_our_own_server_that_does_not_stop_a_run_is_ended_and_the_next_job_gets_another(
    own: Own, tmp_path: Path, knobs: dict[str, Any]
) -> None:
    own.knobs(**knobs)
    await called_off(own.engine, tmp_path, own.is_held)
    own.knobs()
    before = own.pids
    following = asyncio.create_task(run(own.engine, tmp_path, "next"))
    alive = [lives(pid) for pid in before]
    own.clock.now = 31

    assert 1 == len(await following)
    assert [True] * len(before) == alive
    assert [False] * len(before) == [lives(pid) for pid in before]
    assert 1 == len(own.pids) - len(before)


@pytest.mark.slow
async def test_our_own_server_that_froze_in_mid_run_is_ended_and_the_next_job_gets_another(
    own: Own, tmp_path: Path
) -> None:
    own.knobs(stuck=["SaveImage"])

    def is_held_and_frozen() -> bool:
        if own.is_held():
            stop(own.pids[0])
        return own.is_held()

    await called_off(own.engine, tmp_path, is_held_and_frozen)
    own.knobs()
    own.clock.now = 31

    assert 1 == len(await run(own.engine, tmp_path, "next"))
    assert [False, True] == [lives(pid) for pid in own.pids]


async def test_a_run_that_ends_when_it_is_interrupted_costs_no_restart(own: Own, tmp_path: Path) -> None:
    own.knobs(holds=["SaveImage"])
    await called_off(own.engine, tmp_path, own.is_held)

    await own.engine.connected(lambda _progress: None)

    assert [True] == [lives(pid) for pid in own.pids]


# Another's server


@pytest.fixture
async def theirs(tmp_path: Path) -> AsyncIterator[FakeComfyUI]:
    async with FakeComfyUI(tmp_path / "theirs") as server:
        yield server


@pytest.fixture
async def remote(theirs: FakeComfyUI, make_settings: Callable[..., Settings]) -> AsyncIterator[tuple[ComfyUI, Clock]]:
    clock = Clock()
    engine = ComfyUI(make_settings(comfyui_url=theirs.url), clock=PassingTime(clock), stop_limits=QUICK)
    yield engine, clock
    await engine.close()


@pytest.mark.parametrize("deed", ["hangs", "exits"])
async def test_the_next_job_on_a_remote_server_that_is_stuck_fails_soon_and_says_why(
    remote: tuple[ComfyUI, Clock], theirs: FakeComfyUI, tmp_path: Path, deed: str
) -> None:
    engine, clock = remote
    setattr(theirs.nodes, deed, frozenset({"SaveImage"}))
    await called_off(engine, tmp_path, theirs.nodes.held.is_set)
    clock.now = 75.0
    sent = theirs.seen["POST /prompt"]

    for name in ("next", "one after"):
        with pytest.raises(
            EngineUnavailable, match=r"^The remote server did not stop the job before .* [67]\d s"
        ) as caught:
            await run(engine, tmp_path, name)

    assert sent == theirs.seen["POST /prompt"]
    assert theirs.url in str(caught.value.hint)
    assert await engine.server_lists()  # what needs no run is answered all the same


async def test_a_job_on_a_remote_server_waits_for_a_node_that_ends_late(
    remote: tuple[ComfyUI, Clock], theirs: FakeComfyUI, tmp_path: Path
) -> None:
    engine, _ = remote
    theirs.heeds_interrupts = False
    theirs.nodes.holds = frozenset({"SaveImage"})
    await called_off(engine, tmp_path, theirs.nodes.held.is_set)
    following = asyncio.create_task(run(engine, tmp_path, "next"))
    looks = theirs.seen["GET /api/jobs"]
    await until(lambda: theirs.seen["GET /api/jobs"] > looks + 2)
    waited = not following.done()
    theirs.nodes.release.set()

    assert waited
    assert 1 == len(await following)


async def test_the_time_in_which_the_worker_was_frozen_is_not_the_servers(
    theirs: FakeComfyUI, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    clock = Clock()
    engine = ComfyUI(make_settings(comfyui_url=theirs.url), clock=clock, stop_limits=QUICK)
    theirs.heeds_interrupts = False
    theirs.nodes.holds = frozenset({"SaveImage"})
    await called_off(engine, tmp_path, theirs.nodes.held.is_set)
    clock.now = 3600.0
    following = asyncio.create_task(run(engine, tmp_path, "next"))
    looks = theirs.seen["GET /api/jobs"]
    await until(lambda: theirs.seen["GET /api/jobs"] > looks + 2)
    theirs.nodes.release.set()

    assert 1 == len(await following)
    await engine.close()


async def test_a_remote_server_that_was_restarted_takes_jobs_again(
    remote: tuple[ComfyUI, Clock], theirs: FakeComfyUI, tmp_path: Path
) -> None:
    engine, clock = remote
    theirs.nodes.hangs = frozenset({"SaveImage"})
    await called_off(engine, tmp_path, theirs.nodes.held.is_set)
    clock.now = 75.0
    with pytest.raises(EngineUnavailable, match="did not stop"):
        await run(engine, tmp_path, "next")
    await theirs.die()
    theirs.nodes.hangs = frozenset()
    await theirs.start()

    assert 1 == len(await run(engine, tmp_path, "one after"))
