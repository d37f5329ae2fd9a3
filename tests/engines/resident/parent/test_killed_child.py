"""The real child is killed in each stage: it leaves nothing behind, and the next job works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from fakes.gate import Gate
from wanworker.engines.mini import request_for
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.resident.protocol import Model
from wanworker.errors import WorkerError
from wanworker.models.miniature.weights import miniature
from wanworker.settings import child_environment
from wanworker.spec import RenderSpec, Size

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SPEC = RenderSpec(
    task="t2v-A14B", prompt="a red star", size=Size(64, 64), size_given=True, fps=16, fps_given=True, seed=1, steps=1
)
MODEL = Model(str(miniature().folder_of(SPEC.task)), "cpu")


def processes_below(pid: int) -> set[int]:
    """Return the processes that *pid* has started, and theirs: the one that writes the video is among them."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for word in (task / "children").read_text().split():
            found |= {int(word)} | processes_below(int(word))
    return found


def is_gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


async def until(has_come: object) -> None:
    """Wait, for a minute at most, until *has_come* says so."""
    assert callable(has_come)
    async with asyncio.timeout(60):
        while not has_come():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("stage", ["loading", "text", "sampling", "decoding", "encoding"])
async def test_a_child_that_is_killed_in_a_stage_leaves_nothing(tmp_path: Path, stage: str) -> None:
    gate = Gate(tmp_path / "gate", at=stage, deed="deaf")
    out = tmp_path / "out"
    out.mkdir()
    supervisor = resident({**child_environment(), "OMP_NUM_THREADS": "1", **gate.environment})
    try:
        running = asyncio.create_task(
            supervisor.render(MODEL, request_for(SPEC, out / "a.mp4", 17), lambda _event: None)
        )
        await until(lambda: gate.is_reached or running.done())
        pid = supervisor.pid
        assert pid is not None
        below = processes_below(pid)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"ended|killed"):
            await running

        await until(lambda: all(is_gone(each) for each in {pid, *below}))
        assert [] == list(out.iterdir())
        assert (stage in {"decoding", "encoding"}) == bool(below), "the video is written by a process of its own"
        gate.open()
        await supervisor.render(MODEL, request_for(SPEC, out / "b.mp4", 17), lambda _event: None)
        assert ["b.mp4"] == [path.name for path in out.iterdir()]
    finally:
        await supervisor.close()
