"""The real child hangs, is killed, and prints: each costs one job, and the next works at once."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.gate import Gate
from fakes.stopped import stop
from wanworker.engines.mini import request_for
from wanworker.engines.resident.parent.supervisor import Limits, Patience, Supervisor
from wanworker.engines.resident.protocol import Model, Step
from wanworker.errors import EngineFailed, OutOfMemory, WorkerError
from wanworker.models.miniature.weights import miniature
from wanworker.settings import child_environment
from wanworker.spec import RenderSpec, Size

SPEC = RenderSpec(
    task="t2v-A14B", prompt="a red star", size=Size(64, 64), size_given=True, fps=16, fps_given=True, seed=1, steps=2
)
MODEL = Model(str(miniature().folder_of(SPEC.task)), "cpu")
CHILD = (sys.executable, "-m", "wanworker.engines.resident.child")

#: Either way of hanging alone: a child that is never silent, and one that never stands still.
ONLY_STILL = Patience(quiet_s=math.inf)
ONLY_QUIET = Patience(stages_s=dict.fromkeys(("text", "sampling", "decoding", "encoding"), math.inf))


class Time:
    """Seconds of the watchdog: none pass until the test says so, then five with each look."""

    def __init__(self) -> None:
        self.passes = False

    async def __call__(self) -> float:
        await asyncio.sleep(0.01)
        return 5.0 if self.passes else 0.0


def supervised(gate: Gate, time: Time, patience: Patience) -> Supervisor:
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    environment = {**child_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **hidden, **gate.environment}
    return Supervisor(CHILD, environment, Limits(stop_grace_s=0.2, end_grace_s=0.2, patience=patience), beat=time)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def lives(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


def slow(*case: object) -> object:
    """Return a case that the others resemble; each loads the real weights twice."""
    return pytest.param(*case, marks=pytest.mark.slow)


def nothing(_pid: int) -> None:
    """Leave the child as it is."""


def stopped(pid: int) -> None:
    stop(pid)


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("at", "deed", "strike", "patience", "error", "words"),
    [
        pytest.param(
            *("sampling", "deaf", nothing, ONLY_STILL, EngineFailed),
            r"hung while rendering.*made no progress .*after step 1 of 2",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("sampling", "lock", nothing, ONLY_QUIET, EngineFailed),
            r"hung while rendering.*no sign of life for 60 s",
            marks=pytest.mark.slow,
        ),
        slow("sampling", "wait", stopped, ONLY_QUIET, EngineFailed, r"hung while rendering.*no sign of life for 60 s"),
        slow(
            "loading", "lock", nothing, ONLY_QUIET, EngineFailed, r"hung while loading the .*no sign of life for 300 s"
        ),
        slow("loading", "wait", killed, Patience(), OutOfMemory, r"killed while loading the model \(SIGKILL\)"),
        slow("answering", "wait", killed, Patience(), OutOfMemory, r"killed while rendering \(SIGKILL\)"),
    ],
)
async def test_a_child_that_hangs_or_is_killed_costs_one_job(
    tmp_path: Path, at: str, deed: str, strike: Callable[[int], None], patience: Patience,
    error: type[WorkerError], words: str,
) -> None:  # fmt: skip
    gate, time = Gate(tmp_path / "gate", at=at, deed=deed), Time()
    supervisor = supervised(gate, time, patience)
    lost, made = tmp_path / "lost.mp4", tmp_path / "made.mp4"
    try:
        task = asyncio.create_task(supervisor.render(MODEL, request_for(SPEC, lost, 17), lambda _event: None))
        await until(lambda: gate.is_reached)
        pid = supervisor.pid
        assert pid is not None
        strike(pid)
        time.passes = True
        with pytest.raises(error, match=words):
            await task
        time.passes = False
        gone = not lives(pid)
        gate.open()
        await supervisor.render(MODEL, request_for(SPEC, made, 17), lambda _event: None)
    finally:
        await supervisor.close()

    assert gone
    assert [made] == list(tmp_path.glob("*.mp4*"))


@pytest.mark.slow
async def test_a_job_cancelled_while_its_child_hangs_ends_within_its_grace_and_the_next_works(tmp_path: Path) -> None:
    gate, time = Gate(tmp_path / "gate", deed="lock"), Time()
    supervisor = supervised(gate, time, Patience())
    try:
        task = asyncio.create_task(
            supervisor.render(MODEL, request_for(SPEC, tmp_path / "lost.mp4", 17), lambda _event: None)
        )
        await until(lambda: gate.is_reached)
        pid = supervisor.pid
        task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task
        gate.open()
        time.passes = True  # the fifteen seconds that a child may be silent whose job was told to stop
        following = asyncio.create_task(
            supervisor.render(MODEL, request_for(SPEC, tmp_path / "made.mp4", 17), lambda _event: None)
        )
        await until(lambda: not lives(pid))
        time.passes = False
        await following
    finally:
        await supervisor.close()

    assert [tmp_path / "made.mp4"] == list(tmp_path.glob("*.mp4*"))


@pytest.mark.slow
async def test_a_million_lines_and_binary_break_nothing_and_are_not_kept(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate", deed="print")
    supervisor = supervised(gate, Time(), Patience())
    steps: list[int] = []
    try:
        task = asyncio.create_task(
            supervisor.render(
                MODEL,
                request_for(SPEC, tmp_path / "made.mp4", 17),
                lambda event: steps.append(event.step) if isinstance(event, Step) else None,
            )
        )
        await until(lambda: gate.is_reached)
        before_go = task.done()
        gate.open()
        done = await task
    finally:
        await supervisor.close()

    assert not before_go  # by the `done` that was printed
    assert [1, 2] == steps[:2]
    assert done.timings["denoise_s"] > 0


@pytest.mark.slow
async def test_two_hundred_jobs_leave_nothing_open(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    gate.open()
    supervisor = supervised(gate, Time(), Patience())
    request = dataclasses.replace(request_for(SPEC, tmp_path / "made.mp4", 1), steps=1, width=32, height=32, frames=5)
    seen: list[tuple[int, int, int]] = []
    try:
        for _ in range(200):
            await supervisor.render(MODEL, request, lambda _event: None)
            (tmp_path / "made.mp4").unlink()
            own = _count("/proc/self/fd")
            child = Path(f"/proc/{supervisor.pid}")
            seen.append((own, _count(child / "fd"), _count(child / "task")))
            memory = _resident_bytes(child)
            if len(seen) == 50:
                at_fifty = memory
    finally:
        await supervisor.close()

    assert seen[9] == seen[-1]
    assert memory < at_fifty + 64 * 2**20


def _count(folder: str | Path) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def _resident_bytes(process: Path) -> int:
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
