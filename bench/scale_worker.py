"""
A real worker of an endpoint, handler.py's own, whose one engine sleeps: `scale_worker.py SECONDS CLIP`.

The clip is the video of every job. So what is measured is the fleet, and not this machine's two cores.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import handler

from fakes.engine import ScriptedEngine
from wanworker import logs
from wanworker.app import Worker
from wanworker.engines.base import Report
from wanworker.settings import load_settings
from wanworker.spec import RenderSpec


def main(seconds: float, clip: Path) -> None:
    """Take jobs until the end."""

    async def sleep(_spec: RenderSpec, out_path: Path, _report: Report) -> None:
        await asyncio.sleep(seconds)
        shutil.copyfile(clip, out_path)

    logs.set_up()
    settings = load_settings()
    handler.serve(Worker(settings, engines=[ScriptedEngine(clip, act=sleep).row()]), settings)


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
