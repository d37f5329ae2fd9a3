"""The miniature warm in one child for all tests of a file, asked through the worker's own engine."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import pytest_asyncio
from PIL import Image

from fakes.clips import read_frames
from train_mini.evaluation_cases import Case, Judged, judged
from wanworker.engines.mini import MiniEngine
from wanworker.engines.resident.parent.start import resident
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.models.miniature.weights import miniature
from wanworker.settings import Settings, child_environment
from wanworker.spec import RenderSpec

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]
Rendering = Callable[..., Awaitable[Pixels]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warm() -> AsyncIterator[Supervisor]:
    supervisor = resident({**child_environment(), "OMP_NUM_THREADS": "1"})
    yield supervisor
    await supervisor.close()


@pytest.fixture
def render(warm: Supervisor, tmp_path: Path) -> Rendering:
    """Render a prompt at the miniature's own size; every field of the spec can be given. Return the file's frames."""
    engine = MiniEngine(Settings(), supervisor=warm)
    own = miniature()
    plain = RenderSpec(
        task="t2v-A14B", prompt="", size=own.sizes[0], size_given=True, fps=16, fps_given=False, seed=7,
        frames=own.frames,
    )  # fmt: skip

    async def rendered(**changes: Any) -> Pixels:
        path = tmp_path / "out.mp4"
        await engine.render(dataclasses.replace(plain, **changes), path, work_dir=tmp_path, report=lambda _: None)
        return read_frames(path)

    return rendered


@pytest.fixture
def judge(render: Rendering, tmp_path: Path) -> Callable[..., Awaitable[Judged]]:
    """Render a case of the evaluation and read what came out of the file."""

    async def judged_case(case: Case, **changes: Any) -> Judged:
        if case.image is not None:
            Image.fromarray(case.image).save(tmp_path / "first.png")
            changes["image"] = tmp_path / "first.png"
        return judged(case, await render(prompt=case.prompt, seed=case.seed, **changes))

    return judged_case
