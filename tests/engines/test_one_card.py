"""One GPU, several engines: before one renders there, the others give back what they keep."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from door import ask, refused_port
from fakes.comfyui_wan import WanServer
from fakes.engine import CAN_DO_ALL, ScriptedEngine, write_clip
from fakes.graphs import saving
from fakes.wan_folder import ONE_EXPERT, wan_folder
from wanworker.app import Worker
from wanworker.engines.base import EngineRow
from wanworker.engines.comfyui.engine import ComfyUI
from wanworker.engines.diffusers import DiffusersEngine
from wanworker.engines.registry import EngineRegistry
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.engines.wan_cli.engine import WanCli
from wanworker.errors import EngineFailed, EngineUnavailable
from wanworker.models.machine.hardware import Gpu
from wanworker.settings import Settings, child_environment

FAKE_CHILD = Path(__file__).resolve().parents[1] / "fakes" / "resident_child.py"
CARD = (Gpu("NVIDIA GeForce RTX 5090", 32_607, "12.0", "570.86"),)
GRAPH = {"workflow": saving("SaveImage")}


class OnCard(ScriptedEngine):
    """An engine that renders on the card; *release* is what comes of giving it back."""

    release: Callable[[], None]

    def renders_on_gpu(self) -> bool:
        return True

    async def release_gpu(self) -> None:
        self.release()


def on_card(release: Callable[[], None]) -> OnCard:
    engine = OnCard(Path("unused.mp4"))
    engine.release = release
    return engine


def pid_of(worker: Worker) -> int | None:
    engine = worker.registry.engine("diffusers")
    assert isinstance(engine, DiffusersEngine)
    return engine._supervisor.pid


@pytest.fixture
def job(settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """Return a job for diffusers, whose weights are there and whose child hands over a clip."""
    wan_folder(settings.ckpt_dir / "Wan2.2-T2V-A14B-Diffusers")
    return {"task": "t2v-A14B", "prompt": f"copy {write_clip(tmp_path / 'clip.mp4')}", "engine": "diffusers"}


Make = Callable[..., Worker]


@pytest.fixture
async def make_worker(make_settings: Callable[..., Settings], comfyui: WanServer) -> AsyncIterator[Make]:
    """Return a function that builds a worker with a card, a fake child and a fake server, which *mode* describes."""
    comfyui.weights_bytes = 14 << 30
    workers: list[Worker] = []

    def make(mode: str = "well", gpus: tuple[Gpu, ...] = CARD, **fields: Any) -> Worker:
        child = Supervisor((sys.executable, str(FAKE_CHILD), mode), child_environment())
        rows = (
            EngineRow(
                "diffusers", CAN_DO_ALL, lambda given: DiffusersEngine(given, gpus=lambda: gpus, supervisor=child)
            ),
            EngineRow("comfyui", CAN_DO_ALL, lambda given: ComfyUI(given, gpus=lambda: gpus)),
        )
        workers.append(Worker(make_settings(**{"comfyui_url": comfyui.url, "mini": False, **fields}), engines=rows))
        return workers[-1]

    yield make
    for worker in workers:
        await worker.close()


async def test_the_card_goes_from_engine_to_engine(make_worker: Make, comfyui: WanServer, job: dict[str, Any]) -> None:
    worker = make_worker()
    first, _ = await ask(worker, {"input": job}, job_id="a")
    child = pid_of(worker)
    graph, _ = await ask(worker, {"input": GRAPH}, job_id="b")
    after_graph = (pid_of(worker), comfyui.held_bytes)
    again, _ = await ask(worker, {"input": job}, job_id="c")

    assert ["COMPLETED", "completed", "COMPLETED"] == [
        first["status"]["status"], graph["status"], again["status"]["status"],
    ]  # fmt: skip
    assert child is not None
    assert (None, 14 << 30) == after_graph
    assert 0 == comfyui.held_bytes
    assert pid_of(worker) not in {None, child}


async def test_jobs_of_one_engine_keep_it_warm(make_worker: Make, comfyui: WanServer, job: dict[str, Any]) -> None:
    worker = make_worker()
    pids = []
    for job_id in "ab":
        await ask(worker, {"input": {**job, "seed": ord(job_id)}}, job_id=job_id)
        pids.append(pid_of(worker))
    other = make_worker()
    for job_id in "cd":
        await ask(other, {"input": GRAPH}, job_id=job_id)

    assert pids[0] is not None
    assert pids[0] == pids[1]
    assert 2 == comfyui.seen["POST /free"]  # by the two jobs of diffusers, and by none of its own
    assert 14 << 30 == comfyui.held_bytes


async def test_nothing_moves_without_a_card(make_worker: Make, comfyui: WanServer, job: dict[str, Any]) -> None:
    worker = make_worker(gpus=())
    await ask(worker, {"input": job}, job_id="a")
    child = pid_of(worker)
    await ask(worker, {"input": GRAPH}, job_id="b")
    await ask(worker, {"input": {**job, "seed": 5}}, job_id="c")

    assert child is not None
    assert child == pid_of(worker)
    assert 0 == comfyui.seen["POST /free"]


async def test_a_server_elsewhere_takes_nothing_of_ours_and_keeps_its_own(
    make_settings: Callable[..., Settings],
) -> None:
    engine = ComfyUI(make_settings(comfyui_url="https://comfyui.example.com"), gpus=lambda: CARD)
    await engine.release_gpu()  # without a network: it does not even ask
    await engine.close()

    assert not engine.renders_on_gpu()


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8188", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://10.0.0.7:1", False),
    ],
)
async def test_an_address_of_this_machine_is_our_card(
    make_settings: Callable[..., Settings], url: str, here: bool
) -> None:
    engine = ComfyUI(make_settings(comfyui_url=url), gpus=lambda: CARD)
    await engine.close()

    assert here == engine.renders_on_gpu()


async def test_a_server_of_our_own_that_is_not_up_is_not_started_to_be_emptied(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    engine = ComfyUI(make_settings(comfyui_root=tmp_path / "ComfyUI", comfyui_port=refused_port()), gpus=lambda: CARD)
    await engine.release_gpu()
    await engine.close()

    assert engine.renders_on_gpu()
    assert "offline" == engine.status


def test_upstreams_program_takes_the_card_and_keeps_nothing(tmp_path: Path) -> None:
    places = {"home": tmp_path, "python": sys.executable, "model_dirs": (), "env": {}}
    with_card = WanCli(gpus=lambda: CARD, **places)
    without = WanCli(gpus=lambda: (), **places)

    asyncio.run(with_card.release_gpu())
    assert with_card.renders_on_gpu()
    assert not without.renders_on_gpu()


async def test_a_preload_under_way_ends_and_a_later_one_is_refused(
    make_worker: Make, settings: Settings, job: dict[str, Any]
) -> None:
    wan_folder(
        settings.ckpt_dir / "Wan2.2-TI2V-5B-Diffusers", components=ONE_EXPERT, channels=(48, 48), expand_timesteps=True
    )
    worker = make_worker("loads_for_ever", preload=("t2v-A14B", "ti2v-5B"), engine="diffusers")
    worker.warm_up()
    while pid_of(worker) is None:
        await asyncio.sleep(0.01)
    loading = pid_of(worker)
    answer, _ = await ask(worker, {"input": GRAPH}, job_id="b")
    async with asyncio.timeout(10):
        while any(each.state in {"waiting", "loading"} for each in worker.preloader.preloads):
            await asyncio.sleep(0.01)

    assert "completed" == answer["status"]
    assert pid_of(worker) is None
    with pytest.raises(ProcessLookupError):
        os.kill(loading or 0, 0)
    first, second = worker.preloader.preloads
    assert "The load was ended: a job needed another model or engine" in str(first.error)
    assert "A job has taken the GPU for another engine" in str(second.error)


@pytest.mark.parametrize("error", [EngineUnavailable("It hangs."), RuntimeError("unforeseen")])
async def test_an_engine_that_keeps_its_memory_is_a_line_in_the_log(
    settings: Settings, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    released = []

    def fail() -> None:
        raise error

    engines = {
        "diffusers": on_card(lambda: released.append("diffusers")),
        "comfyui": on_card(fail),
        "wan_cli": on_card(lambda: released.append("wan_cli")),
        "mini": ScriptedEngine(Path("unused.mp4")),
    }
    rows = [EngineRow(name, CAN_DO_ALL, lambda _, engine=engine: engine) for name, engine in engines.items()]
    registry = EngineRegistry(rows, settings)
    await registry.free_gpu_for("mini")
    by_mini = list(released)
    await registry.free_gpu_for("wan_cli")

    assert ([], ["diffusers"]) == (by_mini, released)
    assert "engine comfyui did not free its GPU memory" in caplog.text


async def test_the_next_job_waits_until_the_one_before_it_has_ended(
    make_worker: Make, comfyui: WanServer, job: dict[str, Any]
) -> None:
    """A graph renders; a job for diffusers that comes meanwhile frees nothing before its end."""
    worker = make_worker()
    comfyui.nodes.holds = frozenset({"EmptyImage"})
    graph = asyncio.create_task(ask(worker, {"input": GRAPH}, job_id="a"))
    await comfyui.nodes.held.wait()
    video = asyncio.create_task(ask(worker, {"input": job}, job_id="b"))
    for _ in range(200):  # as far as it comes
        await asyncio.sleep(0)
    during = comfyui.seen["POST /free"]
    comfyui.nodes.release.set()
    (first, _), (second, _) = await asyncio.gather(graph, video)

    assert 0 == during
    assert comfyui.seen["POST /free"] > 0
    assert ("completed", "COMPLETED") == (first["status"], second["status"]["status"])


async def test_a_deadline_bounds_the_wait_for_the_card(
    make_worker: Make, comfyui: WanServer, job: dict[str, Any]
) -> None:
    worker = make_worker()
    await ask(worker, {"input": GRAPH}, job_id="a")
    comfyui.hide_unloads = 1_000_000
    answer, _ = await ask(worker, {"input": {**job, "timeout": 1}}, job_id="b")

    assert ("TIMEOUT", "Execution did not complete within 1s") == (answer["status"], answer["error"])
    assert pid_of(worker) is None


def test_an_engine_that_cannot_be_built_hinders_no_other(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_settings: Settings) -> ScriptedEngine:
        raise EngineFailed("no such module")

    rows = [
        EngineRow("diffusers", CAN_DO_ALL, lambda _settings: on_card(lambda: None)),
        EngineRow("comfyui", CAN_DO_ALL, broken),
    ]
    asyncio.run(EngineRegistry(rows, settings).free_gpu_for("diffusers"))

    assert "no such module" in caplog.text
