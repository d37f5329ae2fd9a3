"""What health says of the engines: looked up once, kept with its age; ComfyUI's state is always the newest known."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from fakes.comfyui_wan import WanServer
from fakes.engine import ScriptedEngine
from wanworker.engines import ENGINES
from wanworker.engines.base import Readiness
from wanworker.engines.machine.facts import Machine, MachineFacts
from wanworker.engines.registry import EngineRegistry
from wanworker.models.machine.gpu_kernel import KernelRun
from wanworker.models.machine.hardware import Gpu
from wanworker.spec import TASKS

CARD = Gpu("NVIDIA GeForce RTX 5090", 32_607, "12.0", "580.95")


@pytest.fixture
async def registry(make_settings, comfyui):
    made = EngineRegistry(ENGINES, make_settings(comfyui_url=comfyui.url))
    yield made
    await made.close()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


async def test_facts_are_kept_with_their_age_until_they_are_refreshed(registry, comfyui):
    clock = Clock()
    keeper = MachineFacts(registry, clock=clock)
    first, _ = await keeper.current(refresh=False)
    clock.now = 5.0
    kept, age_s = await keeper.current(refresh=False)
    asked = comfyui.seen["GET /system_stats"]
    _, fresh_s = await keeper.current(refresh=True)

    assert kept == first
    assert (age_s, fresh_s) == (5.0, 0.0)
    assert comfyui.seen["GET /system_stats"] > asked


async def test_a_server_with_the_weights_is_online_and_ready(registry):
    facts, _ = await MachineFacts(registry).current(refresh=False)

    assert facts.comfyui_status == "online"
    ready = {task for task, state in facts.engines["comfyui"].items() if state == "ready"}
    assert ready == set(TASKS) - {"vace-A14B", "animate2-14B"}  # whose weights this server does not have
    assert facts.can_render_real


async def test_the_plan_of_each_task_is_kept_where_an_engine_makes_one(make_settings, tmp_path):
    plan = {"device": "cuda", "experts": "slot"}
    planning = ScriptedEngine(tmp_path / "none.mp4", state=Readiness(plan=plan))
    other = ScriptedEngine(tmp_path / "none.mp4")
    registry = EngineRegistry((planning.row(), other.row("comfyui_like")), make_settings())

    facts, _ = await MachineFacts(registry).current(refresh=False)

    assert set(TASKS) == set(facts.placements)
    assert facts.placements["ti2v-5B"] == plan


async def test_what_a_job_learns_of_the_server_is_told_at_once(registry, comfyui: WanServer):
    keeper = MachineFacts(registry)
    await comfyui.die()
    before, _ = await keeper.current(refresh=False)
    await comfyui.start()
    await registry.engine("comfyui").connected(lambda _progress: None)
    after, _ = await keeper.current(refresh=False)

    assert (before.comfyui_status, after.comfyui_status) == ("offline", "online")
    assert after.engines == before.engines


async def test_a_worker_without_the_engine_is_offline(settings, tmp_path):
    engine = ScriptedEngine(tmp_path / "none.mp4", state=Readiness(missing=("weights",), lacking=("a GPU",)))
    facts, _ = await MachineFacts(EngineRegistry((engine.row(),), settings)).current(refresh=False)

    assert facts.comfyui_status == "offline"
    assert facts.engines["diffusers"]["t2v-A14B"] == "weights; a GPU"
    assert not facts.can_render_real


def keeper_of(settings, tmp_path, kernel, clock=None):
    """Keep facts of one ready engine, on a machine with a card where *kernel* says what comes of one."""
    engine = ScriptedEngine(tmp_path / "none.mp4")

    async def run(python):
        return kernel(python)

    machine = Machine(gpus=lambda: [CARD], kernel=run, free_bytes=lambda _place: 7)
    return MachineFacts(EngineRegistry((engine.row(),), settings), machine=machine, clock=clock or Clock())


async def test_a_refresh_runs_a_kernel_and_an_engine_without_one_is_not_ready(settings, tmp_path):
    clock = Clock()
    runs = [KernelRun(True, False, "a kernel ran"), KernelRun(False, True, "no kernel image")]
    keeper = keeper_of(settings, tmp_path, lambda _python: runs.pop(0), clock)
    unasked, _ = await keeper.current(refresh=False)
    good, _ = await keeper.current(refresh=True)
    clock.now = 9.0
    kept, _ = await keeper.current(refresh=False)
    bad, _ = await keeper.current(refresh=True)

    assert unasked.kernels == ()
    (kernel,) = kept.kernels
    assert (kernel.python, kernel.engines, kernel.run.ran, kernel.age_s) == (sys.executable, ("diffusers",), True, 9.0)
    assert good.engines["diffusers"]["t2v-A14B"] == "ready"
    assert bad.engines["diffusers"]["t2v-A14B"] == f"no kernel runs in {sys.executable}: no kernel image"
    assert not bad.can_render_real


async def test_a_kernel_that_the_check_before_the_first_job_ran_is_kept(settings, tmp_path):
    keeper = keeper_of(settings, tmp_path, lambda _python: pytest.fail("a second kernel"))
    keeper.note_kernel(sys.executable, KernelRun(True, False, "a kernel ran"))
    facts, _ = await keeper.current(refresh=False)

    assert [kernel.run.text for kernel in facts.kernels] == ["a kernel ran"]


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_first_kernel_runs_once_in_the_background_and_is_kept(settings, tmp_path):
    pythons = []

    def kernel(python):
        pythons.append(python)
        return KernelRun(True, False, "a kernel ran")

    keeper = keeper_of(settings, tmp_path, kernel)
    keeper.begin_kernel()
    keeper.begin_kernel()
    before = list(pythons)
    await until(lambda: keeper._first_kernel.done())
    facts, _ = await keeper.current(refresh=False)

    assert (before, pythons) == ([], [sys.executable])
    assert [kernel.run.ran for kernel in facts.kernels] == [True]


async def test_an_engine_whose_first_kernel_fails_is_not_ready(settings, tmp_path):
    keeper = keeper_of(settings, tmp_path, lambda _python: KernelRun(False, True, "no kernel image"))
    before, _ = await keeper.current(refresh=False)
    keeper.begin_kernel()
    await until(lambda: keeper._first_kernel.done())
    after, _ = await keeper.current(refresh=False)

    assert before.engines["diffusers"]["t2v-A14B"] == "ready"
    assert after.engines["diffusers"]["t2v-A14B"] == f"no kernel runs in {sys.executable}: no kernel image"


async def test_no_first_kernel_runs_without_a_card_or_for_the_miniature(settings, make_settings, tmp_path):
    async def kernel(_python):
        pytest.fail("a kernel")

    row = ScriptedEngine(tmp_path / "none.mp4").row()
    bare = MachineFacts(EngineRegistry((row,), settings), machine=Machine(gpus=tuple, kernel=kernel))
    bare.begin_kernel()
    await until(lambda: bare._first_kernel.done())
    small = MachineFacts(EngineRegistry((row,), make_settings(engine="mini")), machine=Machine(lambda: [CARD], kernel))
    small.begin_kernel()

    assert bare._first_kernel.exception() is None
    assert bare._kernels == {}
    assert small._first_kernel is None


async def test_closing_ends_the_first_kernel(settings, tmp_path):
    begun, ended = asyncio.Event(), []

    async def kernel(_python):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    row = ScriptedEngine(tmp_path / "none.mp4").row()
    keeper = MachineFacts(EngineRegistry((row,), settings), machine=Machine(lambda: [CARD], kernel))
    keeper.begin_kernel()
    await begun.wait()
    await keeper.close()

    assert ended == [True]


async def test_damaged_files_and_free_disk_are_seen_by_a_refresh(settings, tmp_path):
    keeper = keeper_of(settings, tmp_path, lambda _python: KernelRun(False, False, "no torch"))
    before, _ = await keeper.current(refresh=False)
    cut = settings.ckpt_dir / "vae" / "wan_2.1_vae.safetensors"
    cut.parent.mkdir(parents=True)
    cut.write_bytes(b"\x40\0\0\0\0\0\0\0{")
    after, _ = await keeper.current(refresh=True)

    assert before.damaged == ()
    assert [file.path for file in after.damaged] == [cut]
    assert after.free_bytes == {settings.ckpt_dir: 7, settings.out_dir: 7}
    assert after.gpus == (CARD,)


async def test_a_first_look_in_the_background_is_looked_at_once(settings, tmp_path):
    looks = []
    go = threading.Event()

    def free_bytes(place):
        looks.append(place)
        go.wait(10)
        return 7

    keeper = MachineFacts(
        EngineRegistry((ScriptedEngine(tmp_path / "none.mp4").row(),), settings), machine=Machine(free_bytes=free_bytes)
    )
    keeper.begin()
    keeper.begin()
    asked = asyncio.create_task(keeper.current(refresh=False))
    while not looks:
        await asyncio.sleep(0.01)
    go.set()
    facts, _ = await asked
    await keeper.close()

    assert len(looks) == 2  # one look at two folders
    assert facts.free_bytes[settings.out_dir] == 7


async def test_a_first_look_that_fails_is_looked_at_again_by_who_asks(settings, tmp_path):
    answers = iter([OSError("the volume is away"), 7, 7])

    def free_bytes(_place):
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    keeper = MachineFacts(
        EngineRegistry((ScriptedEngine(tmp_path / "none.mp4").row(),), settings), machine=Machine(free_bytes=free_bytes)
    )
    keeper.begin()
    facts, _ = await keeper.current(refresh=False)

    assert facts.free_bytes[settings.out_dir] == 7
