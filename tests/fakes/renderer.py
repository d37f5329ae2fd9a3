"""
Render one request many times at once in a process of its own: `renderer.py FOLDER CLIP COUNT`.

It waits for a line, and then tells how each of the COUNT orders ended: status, attempt and path. A line in
FOLDER/renders stands for every time that the engine was really used.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

from fakes.engine import ScriptedEngine
from wanworker.engines.base import Report
from wanworker.engines.registry import EngineRegistry
from wanworker.jobs.store.job_store import JobRequest, JobStore
from wanworker.planning.fitting import PreparedSpec
from wanworker.render import Limits, Renderer, RenderRequest
from wanworker.settings import Settings
from wanworker.spec import RenderSpec, Size

SPEC = RenderSpec(
    task="t2v-A14B", prompt="a cat", size=Size(64, 48), size_given=True, fps=8, fps_given=True, seed=7, frames=5
)


async def prepare(_folder: Path) -> PreparedSpec:
    return PreparedSpec(SPEC)


async def main(folder: Path, clip: Path, count: int) -> None:
    def act(_spec: RenderSpec, path: Path, _report: Report) -> None:
        with (folder / "renders").open("a") as file:
            file.write("rendered\n")
        shutil.copyfile(clip, path)

    settings = Settings(ckpt_dir=folder / "models", out_dir=folder / "outputs", wan_home=folder / "Wan2.2")
    renderer = Renderer(
        store=JobStore(folder / "outputs/jobs"),
        registry=EngineRegistry((ScriptedEngine(clip, act).row(),), settings),
        out_dir=folder / "outputs",
        models_dir=str(folder / "models"),
        mini_allowed=True,
        limits=Limits(wait_step_s=0.01),
    )
    to_render = RenderRequest(JobRequest("job-1", "generate", "a" * 64), "auto", 60, prepare)
    print("ready", flush=True)
    sys.stdin.readline()
    jobs = await asyncio.gather(*(renderer.render(to_render, lambda _progress: None) for _ in range(count)))
    print(json.dumps([(job.status, job.attempt, job.outputs[0].path) for job in jobs]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
