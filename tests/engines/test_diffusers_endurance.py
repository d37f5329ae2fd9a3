"""Many jobs in one child: its memory stays flat while models and LoRAs change."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import statistics
from pathlib import Path

import pytest

from fakes import tiny_wan
from wanworker.engines.diffusers import DiffusersEngine
from wanworker.engines.resident.parent.start import resident
from wanworker.models.machine.hardware import own_memory_mib
from wanworker.settings import Settings, child_environment
from wanworker.spec import Lora, RenderSpec, Size

ENVIRONMENT = {**child_environment(), "OMP_NUM_THREADS": "1"}
JOBS = 200
A_SPEC = RenderSpec(
    task="t2v-A14B", prompt="a cube", size=Size(64, 64), size_given=True, fps=16, fps_given=False, seed=1, frames=5,
    steps=1,
)  # fmt: skip

#: What 160 jobs may add. One that kept its LoRA or its model's tensors would add some MiB each time.
MOST_MIB = 24


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    tiny_wan.write(folder)
    shutil.copy(folder / "loras" / "plain.safetensors", folder / "loras" / "other.safetensors")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_200_jobs_of_two_tasks_and_three_loras_leave_the_memory_flat(tmp_path: Path, models: Path) -> None:
    supervisor = resident(ENVIRONMENT)
    engine = DiffusersEngine(Settings(ckpt_dir=models), gpus=lambda: (), supervisor=supervisor)
    turns = itertools.cycle(itertools.product(("t2v-A14B", "ti2v-5B"), ("style", "plain", "other")))
    used_mib: list[int] = []
    pids = set()
    try:
        for task, lora in itertools.islice(turns, JOBS):
            spec = dataclasses.replace(A_SPEC, task=task, loras=(Lora(lora, None),))
            await engine.render(spec, tmp_path / "out.mp4", work_dir=tmp_path, report=lambda _progress: None)
            assert supervisor.pid is not None
            pids.add(supervisor.pid)
            used_mib.append(own_memory_mib(supervisor.pid))
    finally:
        await engine.close()

    early, late = statistics.median(used_mib[30:50]), statistics.median(used_mib[-20:])
    assert 1 == len(pids)
    assert late - early < MOST_MIB, used_mib[::10]
