"""Bring a remote job's video here: out of the answer, by its link, or from the shared volume."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wanworker.client import AsyncClient, JobStatus, ResultLost
from wanworker.engines.base import Rendered
from wanworker.engines.runpod._volume import Volume
from wanworker.errors import EngineFailed, NoOutput
from wanworker.media.threads import in_thread
from wanworker.media.video.writer import probe

_NO_WAY = (
    "Set BUCKET_... on the endpoint, so that it can send large videos, or WAN_RUNPOD_VOLUME on this server if both "
    "have the same network volume."
)


async def fetch(
    client: AsyncClient, status: JobStatus, out_path: Path, *, work_dir: Path, volume: Volume | None
) -> None:
    """Write the video of a completed job to *out_path*. Raises EngineError, and ClientError if it does not come."""
    if not status.files:
        raise NoOutput("The endpoint's answer has no file. Its workers must run wanworker.")
    first = status.files[0]
    if first.is_here:
        arrived = work_dir / "from-runpod.mp4"
        await client.save(status, arrived, force=True)
        await in_thread(shutil.move, arrived, out_path)
    elif volume is not None:
        await in_thread(volume.get, first.path, out_path)
    else:
        text = f"The video is on the endpoint's own disk, {first.path}: it is too large for RunPod's answer."
        raise EngineFailed(text, hint=_NO_WAY)
    try:
        await probe(out_path)
    except NoOutput as error:  # its worker has looked at it, so it was cut on its way
        raise ResultLost(f"What came is not the whole video: {error}", job_id=status.job_id) from error


def rendered(status: JobStatus, endpoint: str) -> Rendered:
    """Return what the answer says of the render. Pure."""
    answer: Mapping[str, Any] = status.answer if isinstance(status.answer, Mapping) else {}
    lines = answer.get("warnings")
    warnings = [str(line) for line in lines] if isinstance(lines, list) else []
    delivery = answer.get("delivery")
    if isinstance(delivery, Mapping) and delivery.get("how") == "reencoded":
        warnings.append(f"The video is a copy of lower quality, because RunPod's answers are limited. {_NO_WAY}")
    waits = {"remote_queue_s": status.delay_s, "remote_run_s": status.execution_s}
    timings = answer.get("timings")
    seconds = {f"remote_{name}": value for name, value in timings.items()} if isinstance(timings, Mapping) else {}
    kept = {name: float(value) for name, value in (seconds | waits).items() if isinstance(value, int | float)}
    placement = answer.get("placement")
    model = f"{answer.get('model') or 'unknown'} on RunPod ({answer.get('engine') or 'unknown'}, {endpoint})"
    return Rendered(
        model=model,
        warnings=tuple(warnings),
        timings=kept,
        placement=placement if isinstance(placement, Mapping) else None,
    )
