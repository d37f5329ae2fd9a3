"""Engines for tests of what goes round an engine: each does one thing, with real files and the real contract."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wanworker.engines.base import Capabilities, EngineRow, Forecast, Readiness, Rendered, Report
from wanworker.media.video.writer import VideoWriter
from wanworker.progress import Progress
from wanworker.spec import TASKS, RenderSpec

CAN_DO_ALL = Capabilities(
    tasks=frozenset(TASKS),
    any_size=True,
    negative_prompt=True,
    fps=True,
    lora=True,
    last_image=frozenset(TASKS),
    guidance_per_expert=True,
    names_models=True,
)


def write_clip(path: Path, *, width: int = 64, height: int = 48, frames: int = 5, fps: float = 8) -> Path:
    """Write a small real mp4 whose brightness rises from frame to frame."""
    with VideoWriter(path, width, height, fps) as writer:
        for index in range(frames):
            writer.write(bytes([40 + index * 30 % 200]) * (width * height * 3))
    return path


@dataclass
class ScriptedEngine:
    """Render by handing over *clip*; `act`, when given, runs in place of that and may raise, hang or write junk."""

    clip: Path
    act: Callable[[RenderSpec, Path, Report], object] | None = None
    state: Readiness = field(default_factory=Readiness)
    seen: list[RenderSpec] = field(default_factory=list)
    stopped: bool = False
    closed: bool = False

    def readiness(self, task: str) -> Readiness:
        return self.state

    async def forecast(self, spec: RenderSpec) -> Forecast:
        return Forecast("scripted-1", None, spec.size, spec.frames, spec.fps, ("a word from the engine",))

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:
        self.seen.append(spec)
        report(Progress("sampling", 0.5, 1, 2, 1.0))
        try:
            if self.act is None:
                shutil.copyfile(self.clip, out_path)
            else:
                result = self.act(spec, out_path, report)
                if asyncio.iscoroutine(result):
                    await result
        except asyncio.CancelledError:
            self.stopped = True
            raise
        return Rendered("scripted-1", ("a word from the engine",), {"load_s": 0.25})

    async def close(self) -> None:
        self.closed = True

    def row(self, name: str = "diffusers", capabilities: Capabilities = CAN_DO_ALL) -> EngineRow:
        """Return the row of the ENGINES table under which this engine runs."""
        return EngineRow(name, capabilities, lambda _settings: self)
