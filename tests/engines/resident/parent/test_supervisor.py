"""The worker's side of a resident child, against children that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.stopped import stop
from wanworker.engines.resident.parent.supervisor import Limits, Patience, Supervisor
from wanworker.engines.resident.protocol import Device, Event, Model, Render, Stage, Step
from wanworker.errors import EngineFailed, EngineUnavailable, ModelNotFound, OutOfMemory, WorkerError
from wanworker.settings import child_environment

FAKE = Path(__file__).parents[3] / "fakes" / "resident_child.py"
MODEL = Model("/models/a", "cpu")


@contextlib.asynccontextmanager
async def supervised(mode: str = "well", limits: Limits | None = None, **more: Any) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor((sys.executable, str(FAKE), mode), child_environment(), limits, **more)
    try:
        yield supervisor
    finally:
        await supervisor.close()


def job(prompt: str, out_path: Path) -> Render:
    return Render(
        job=0, prompt=prompt, width=64, height=64, frames=17, out_width=64, out_height=64, out_frames=17, fps=16,
        seed=1, steps=9, guidance=4.0, guidance_low=4.0, shift=3.0, out_path=str(out_path),
    )  # fmt: skip


def is_running(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def cancelled_at_its_first_step(supervisor: Supervisor, request: Render, model: Model = MODEL) -> None:
    stepped = asyncio.Event()
    running = asyncio.create_task(
        supervisor.render(model, request, lambda event: stepped.set() if isinstance(event, Step) else None)
    )
    await stepped.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_one_child_serves_job_after_job_and_is_loaded_once(tmp_path: Path) -> None:
    seen: list[Event] = []
    async with supervised() as supervisor:
        assert not supervisor.is_warm(MODEL)
        first = await supervisor.render(MODEL, job("succeed", tmp_path / "a"), seen.append)
        pid = supervisor.pid
        second = await supervisor.render(MODEL, job("succeed", tmp_path / "b"), seen.append)

        assert pid == supervisor.pid
        assert supervisor.is_warm(MODEL)
    assert not is_running(pid)
    assert ("a warning",) == first.warnings
    assert 0 < first.timings["wait_s"]
    assert 0 < first.timings["load_s"]
    assert {"load_s": 0.0, "wait_s": 0.0, "denoise_s": 1.5} == second.timings
    assert [Stage(0, "loading"), Stage(1, "sampling"), Step(1, "sampling", 1, 9)] == seen[:3]
    assert [Stage(2, "sampling"), Step(2, "sampling", 1, 9)] == seen[3:]


@pytest.mark.parametrize(("before", "after"), [("cuda", "cpu"), ("cpu", "cuda")])
async def test_a_model_on_another_device_gets_another_process(tmp_path: Path, before: Device, after: Device) -> None:
    async with supervised() as supervisor:
        await supervisor.render(Model("/models/a", before), job("succeed", tmp_path / "a"), lambda _: None)
        pid = supervisor.pid
        await supervisor.render(Model("/models/b", after), job("succeed", tmp_path / "b"), lambda _: None)

        assert pid != supervisor.pid
        assert not is_running(pid)


async def test_a_change_that_runs_out_of_memory_is_done_again_in_a_new_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervised() as supervisor:
        await supervisor.render(Model("/models/a", "cuda"), job("succeed", tmp_path / "a"), lambda _: None)
        pid = supervisor.pid
        await supervisor.render(Model("/models/large", "cuda"), job("succeed", tmp_path / "b"), lambda _: None)

        assert pid != supervisor.pid
        assert not is_running(pid)
    assert "loaded in a new process, because the change to it failed" in caplog.text


@pytest.mark.parametrize("device", ["cpu", "cuda"])
async def test_on_the_same_device_the_same_process_changes_to_another_model(tmp_path: Path, device: Device) -> None:
    other = Model("/models/b", device)
    seen: list[Event] = []
    async with supervised() as supervisor:
        await supervisor.render(Model("/models/a", device), job("succeed", tmp_path / "a"), lambda _: None)
        pid = supervisor.pid
        changed = await supervisor.render(other, job("succeed", tmp_path / "b"), seen.append)

        assert pid == supervisor.pid
        assert supervisor.is_warm(other)
        assert not supervisor.is_warm(MODEL)
    assert Stage(0, "loading") == seen[0]
    assert changed.timings["load_s"] > 0
    assert changed.timings["wait_s"] > 0


async def test_a_change_that_fails_takes_the_process_with_it(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)
        pid = supervisor.pid
        with pytest.raises(ModelNotFound, match="no model_index"):
            await supervisor.render(Model("/models/broken", "cpu"), job("succeed", tmp_path / "b"), lambda _: None)
        assert not is_running(pid)
        await supervisor.render(MODEL, job("succeed", tmp_path / "c"), lambda _: None)


async def test_what_a_library_prints_is_no_event_and_is_told_a_few_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervised("prints") as supervisor:
        done = await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)

    assert 1.5 == done.timings["denoise_s"]
    assert 5 == caplog.text.count("something that is no event")


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ("exit 3", EngineFailed, r"ended while rendering \(exit code 3\)\. Its last words: the last words"),
        (f"signal {int(signal.SIGSEGV)}", EngineFailed, r"signal SIGSEGV"),
        (f"signal {int(signal.SIGKILL)}", OutOfMemory, r"most likely the machine's memory ran out"),
        ("exit 137", OutOfMemory, r"most likely the machine's memory ran out"),
        ("run out of memory for good", OutOfMemory, r"CUDA out of memory"),
    ],
)
async def test_a_child_that_dies_or_is_spoilt_fails_one_job_and_is_replaced(
    tmp_path: Path, prompt: str, error: type[WorkerError], words: str
) -> None:
    async with supervised() as supervisor:
        await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)
        pid = supervisor.pid
        with pytest.raises(error, match=words):
            await supervisor.render(MODEL, job(prompt, tmp_path / "b"), lambda _: None)
        await supervisor.render(MODEL, job("succeed", tmp_path / "c"), lambda _: None)

        assert pid != supervisor.pid
        assert not is_running(pid)


async def test_a_child_that_gave_its_memory_back_stays(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        with pytest.raises(OutOfMemory, match="CUDA out of memory"):
            await supervisor.render(MODEL, job("run out of memory", tmp_path / "a"), lambda _: None)
        pid = supervisor.pid
        await supervisor.render(MODEL, job("succeed", tmp_path / "b"), lambda _: None)

        assert pid == supervisor.pid


async def test_a_child_that_was_killed_between_jobs_is_replaced(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)
        pid = supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while supervisor.is_warm(MODEL):
            await asyncio.sleep(0)

        done = await supervisor.render(MODEL, job("succeed", tmp_path / "b"), lambda _: None)

    assert done.timings["load_s"] > 0


async def test_a_child_that_hung_between_jobs_is_replaced_and_costs_no_job(tmp_path: Path) -> None:
    async with supervised(limits=Limits(end_grace_s=0.1, patience=Patience(quiet_stopping_s=0.2))) as supervisor:
        await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)
        pid = supervisor.pid
        assert pid is not None
        stop(pid)

        done = await supervisor.render(MODEL, job("succeed", tmp_path / "b"), lambda _: None)

        assert not is_running(pid)
    assert done.timings["load_s"] > 0


async def test_a_child_whose_own_child_holds_its_pipes_is_seen_to_have_died(tmp_path: Path) -> None:
    left = tmp_path / "left"
    try:
        async with asyncio.timeout(30), supervised() as supervisor:
            with pytest.raises(EngineFailed, match=r"ended while rendering \(exit code 3\)"):
                await supervisor.render(MODEL, job(f"leave behind {left}", tmp_path / "a"), lambda _: None)
            await supervisor.render(MODEL, job("succeed", tmp_path / "b"), lambda _: None)
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)


async def test_a_load_that_hung_for_a_preload_is_begun_again_for_the_job(tmp_path: Path) -> None:
    model = Model(str(tmp_path), "cpu")

    async def beat() -> float:
        await asyncio.sleep(0.01)
        return 30.0 if stopped else 0.0

    stopped = False
    async with supervised("hangs_once", Limits(end_grace_s=0.1), beat=beat) as supervisor:
        preloading = asyncio.create_task(supervisor.preload(model))
        while not (tmp_path / "hung").exists():
            await asyncio.sleep(0.01)
        pid = supervisor.pid
        assert pid is not None
        seen: list[Event] = []
        running = asyncio.create_task(supervisor.render(model, job("succeed", tmp_path / "a"), seen.append))
        while not seen:
            await asyncio.sleep(0)
        stop(pid)
        stopped = True
        while is_running(pid):
            await asyncio.sleep(0.01)
        stopped = False
        await running
        with pytest.raises(EngineFailed, match=r"hung while loading the model .* no sign of life for 300 s"):
            await preloading


async def test_a_listener_that_raises_ends_its_job_and_the_next_works(tmp_path: Path) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, Step):
            raise ConnectionError("the door is gone")

    async with supervised(limits=Limits(end_grace_s=0.1)) as supervisor:
        with pytest.raises(ConnectionError, match="the door is gone"):
            await supervisor.render(MODEL, job("never stop", tmp_path / "a"), listener)
        await supervisor.render(MODEL, job("succeed", tmp_path / "b"), lambda _: None)

    assert [tmp_path / "b"] == list(tmp_path.iterdir())


async def test_a_child_that_ends_at_its_start_tells_why(tmp_path: Path) -> None:
    async with supervised("exits_at_start") as supervisor:
        with pytest.raises(EngineFailed, match=r"while loading the model \(exit code 3\).*no module named torch"):
            await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)


async def test_a_load_that_fails_is_told_and_leaves_no_child(tmp_path: Path) -> None:
    async with supervised("cannot_load") as supervisor:
        with pytest.raises(OutOfMemory, match="CUDA out of memory"):
            await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)

        assert supervisor.pid is None


async def test_a_load_without_end_is_ended(tmp_path: Path) -> None:
    async with supervised("loads_for_ever", Limits(load_limit_s=0.3)) as supervisor:
        with pytest.raises(EngineFailed, match=r"not loaded within 0\.3 s"):
            await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)

        assert supervisor.pid is None


async def test_a_program_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    supervisor = Supervisor((str(tmp_path / "python"),), child_environment())

    with pytest.raises(EngineUnavailable, match="could not be started"):
        await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)


async def test_a_cancelled_job_stops_and_the_child_stays_warm(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        await cancelled_at_its_first_step(supervisor, job("stop at once", tmp_path / "a"))
        pid = supervisor.pid
        await supervisor.render(MODEL, job("succeed", tmp_path / "b"), lambda _: None)

        assert pid == supervisor.pid


async def test_a_job_cancelled_too_late_leaves_no_file(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        await cancelled_at_its_first_step(supervisor, job("finish all the same", tmp_path / "a"))

        assert [] == list(tmp_path.iterdir())
        assert supervisor.is_warm(MODEL)


async def test_the_next_job_waits_for_a_step_that_takes_longer_than_the_grace(tmp_path: Path) -> None:
    async with supervised(limits=Limits(stop_grace_s=0.05)) as supervisor:
        await cancelled_at_its_first_step(supervisor, job("stop late", tmp_path / "a"))
        pid = supervisor.pid
        seen: list[Event] = []
        following = asyncio.create_task(supervisor.render(MODEL, job("succeed", tmp_path / "b"), seen.append))
        await asyncio.wait({following}, timeout=0.2)
        assert not following.done()
        assert [] == seen
        (tmp_path / "go").touch()
        await following

        assert pid == supervisor.pid


async def test_a_child_that_never_stops_is_killed_and_replaced(tmp_path: Path) -> None:
    async with supervised(limits=Limits(stop_grace_s=0.05, drain_limit_s=0.2)) as supervisor:
        await cancelled_at_its_first_step(supervisor, job("never stop", tmp_path / "a"))
        pid = supervisor.pid
        await supervisor.render(MODEL, job("succeed", tmp_path / "b"), lambda _: None)

        assert not is_running(pid)
        assert [tmp_path / "b"] == list(tmp_path.iterdir())


async def test_a_job_cancelled_while_its_model_loads_leaves_the_load_to_the_next(tmp_path: Path) -> None:
    model = Model(str(tmp_path), "cpu")
    async with supervised("loads_slowly") as supervisor:
        loading = asyncio.Event()
        running = asyncio.create_task(
            supervisor.render(model, job("succeed", tmp_path / "a"), lambda _event: loading.set())
        )
        await loading.wait()
        while supervisor.pid is None:
            await asyncio.sleep(0)
        pid = supervisor.pid
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        (tmp_path / "go").touch()
        await supervisor.render(model, job("succeed", tmp_path / "b"), lambda _: None)

        assert pid == supervisor.pid


async def test_a_job_waits_for_the_load_that_a_preload_began_and_tells_how_long_both_took(tmp_path: Path) -> None:
    model = Model(str(tmp_path), "cpu")
    seen: list[Event] = []
    async with supervised("loads_slowly") as supervisor:
        preloading = asyncio.create_task(supervisor.preload(model))
        while supervisor.pid is None:
            await asyncio.sleep(0)
        pid = supervisor.pid
        running = asyncio.create_task(supervisor.render(model, job("succeed", tmp_path / "a"), seen.append))
        while not seen:
            await asyncio.sleep(0)
        (tmp_path / "go").touch()
        done = await running
        await preloading

        assert pid == supervisor.pid
    assert Stage(0, "loading") == seen[0]
    assert done.timings["load_s"] >= done.timings["wait_s"] > 0


async def test_a_job_after_a_preload_does_not_wait_and_tells_how_long_it_took(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        await supervisor.preload(MODEL)
        assert supervisor.is_warm(MODEL)
        first = await supervisor.render(MODEL, job("succeed", tmp_path / "a"), lambda _: None)
        second = await supervisor.render(MODEL, job("succeed", tmp_path / "b"), lambda _: None)

    assert (0.0, 0.0) == (first.timings["wait_s"], second.timings["load_s"])
    assert first.timings["load_s"] > 0


async def test_a_job_for_another_model_ends_the_preload(tmp_path: Path) -> None:
    async with supervised("loads_slowly") as supervisor:
        preloading = asyncio.create_task(supervisor.preload(Model(str(tmp_path / "never"), "cpu")))
        while supervisor.pid is None:
            await asyncio.sleep(0)
        pid = supervisor.pid
        (tmp_path / "go").touch()
        await supervisor.render(Model(str(tmp_path), "cpu"), job("succeed", tmp_path / "a"), lambda _: None)
        with pytest.raises(EngineUnavailable, match="a job needed another model"):
            await preloading

        assert not is_running(pid)


async def test_a_preload_does_not_take_the_place_of_a_model_that_is_loaded(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        await supervisor.preload(MODEL)
        with pytest.raises(EngineUnavailable, match="/models/a is loaded, and one model fits at a time"):
            await supervisor.preload(Model("/models/b", "cpu"))

        assert supervisor.is_warm(MODEL)


async def test_a_preload_that_fails_says_why_and_leaves_no_child() -> None:
    async with supervised("cannot_load") as supervisor:
        with pytest.raises(OutOfMemory, match="CUDA out of memory"):
            await supervisor.preload(MODEL)

        assert supervisor.pid is None


async def test_closing_ends_a_preload(tmp_path: Path) -> None:
    async with supervised("loads_for_ever") as supervisor:
        preloading = asyncio.create_task(supervisor.preload(MODEL))
        while supervisor.pid is None:
            await asyncio.sleep(0)
        pid = supervisor.pid
        await supervisor.close()
        with pytest.raises(EngineUnavailable, match="The load was ended"):
            await preloading

        assert not is_running(pid)


async def test_jobs_wait_for_one_another(tmp_path: Path) -> None:
    seen: list[Event] = []
    async with supervised() as supervisor:
        jobs = (supervisor.render(MODEL, job("succeed", tmp_path / name), seen.append) for name in "abc")
        await asyncio.gather(*jobs)

    numbers = [event.job for event in seen if isinstance(event, Step)]
    assert [1, 2, 3] == numbers


async def test_closing_ends_a_child_in_the_middle_of_a_job_that_ignores_stop(tmp_path: Path) -> None:
    async with supervised(limits=Limits(stop_grace_s=0.05, end_grace_s=0.1)) as supervisor:
        await cancelled_at_its_first_step(supervisor, job("never stop", tmp_path / "a"))
        pid = supervisor.pid

    assert not is_running(pid)
