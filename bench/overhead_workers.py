"""
The workers of overhead.py: `ours FILE` is handler.py with one engine, which hands over FILE; `bare FILE` is a handler
that does what RunPod's own examples do. Each writes the milliseconds of every job into the working folder.
"""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def ours(path: Path) -> None:
    """Be handler.py with one engine, whose every video is *path*."""
    import handler
    import runpod

    from wanworker.app import Worker
    from wanworker.engines.base import Capabilities, EngineRow, Forecast, Readiness, Rendered, Report
    from wanworker.settings import load_settings
    from wanworker.spec import TASKS, RenderSpec

    class HandsOver:
        def readiness(self, task: str) -> Readiness:
            del task
            return Readiness()

        async def forecast(self, spec: RenderSpec) -> Forecast:
            return Forecast("nothing", None, spec.size, spec.frames, spec.fps)

        async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:
            del spec, work_dir, report
            os.link(path, out_path)
            return Rendered("nothing")

        async def close(self) -> None:
            pass

    row = EngineRow("nothing", Capabilities(frozenset(TASKS), any_size=True, fps=True), lambda _settings: HandsOver())
    start, settings = runpod.serverless.start, load_settings()
    runpod.serverless.start = lambda config: start({**config, "handler": _timed(config["handler"])})
    handler.serve(Worker(settings, engines=(row,)), settings)


def bare(path: Path) -> None:
    """Answer as RunPod's examples do: read the file, encode it, return it."""
    import runpod

    async def answer(job: dict[str, Any]) -> dict[str, Any]:
        if not job["input"]["return_video"]:
            return {"path": str(path)}
        return {"result": {"data": "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()}}

    runpod.serverless.start({"handler": _timed(answer)})


def _timed(answer: Answer) -> Answer:
    """Take the time of each job inside the worker: the SDK's own 0.1 s poll would drown it."""

    async def timed(job: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        answered = await answer(job)
        _note((time.perf_counter() - started) * 1000)
        return answered

    return timed


def _note(milliseconds: float) -> None:
    with Path("milliseconds").open("a") as file:
        file.write(f"{milliseconds}\n")


if __name__ == "__main__":
    {"ours": ours, "bare": bare}[sys.argv[1]](Path(sys.argv[2]))
