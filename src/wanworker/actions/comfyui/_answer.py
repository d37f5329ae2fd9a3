"""The answer that the comfyui_* actions share: documented statuses, and several outputs within one size limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wanworker.actions.base import Context
from wanworker.errors import EngineTimeout, GraphTimeout, NoOutput
from wanworker.jobs.model import Job, Output
from wanworker.media.outputs.delivery import deliver
from wanworker.media.scratch import scratch_folder
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.writer import probe

#: The deadline of a comfyui_* job that names none, in seconds, as documented.
DEFAULT_TIMEOUT_S = 600.0


@contextmanager
def documented_timeout() -> Iterator[None]:
    """Answer a missed deadline with the documented lower-case word `timeout`."""
    try:
        yield
    except EngineTimeout as error:
        raise GraphTimeout(str(error), hint=error.hint) from error


async def delivered_outputs(job: Job, answer: dict[str, Any], context: Context, *, want_data: bool) -> None:
    """
    Put the job's outputs into *answer*, in the order of the graph's nodes.

    An output is sent as data while the answer stays within its limit; otherwise as a link, as a smaller copy or as a
    path. The `delivery` of each output says which, and why.
    """
    outputs: list[dict[str, Any]] = [_entry(output) for output in job.outputs]
    answer["outputs"] = outputs
    used_bytes = len(json.dumps(answer))
    for output, entry in zip(job.outputs, outputs, strict=True):
        used_bytes += await _deliver_into(
            entry, output, context, used_bytes, want_data=want_data, request_id=job.request_id
        )


def _entry(output: Output) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": Path(output.path).name,
        "size": output.size_bytes,
        "type": output.mime,
        "path": output.path,
    }
    measures = {"width": output.width, "height": output.height, "fps": output.fps, "frames": output.frames}
    return entry | {name: value for name, value in measures.items() if value is not None}


async def _deliver_into(
    entry: dict[str, Any], output: Output, context: Context, used_bytes: int, *, want_data: bool, request_id: str
) -> int:
    """Deliver one output into its entry and return by how many bytes the answer grew."""
    path = Path(output.path)
    if not path.is_file():
        entry["delivery"] = {"how": "none", "reason": f"{output.path} is no longer on the volume."}
        return 0
    with scratch_folder() as work_dir:
        delivered = await deliver(
            path,
            mime=output.mime,
            facts=await _facts(path, output),
            want_data=want_data,
            answer_bytes=used_bytes,
            limit_bytes=context.call.answer_limit_bytes,
            bucket=context.bucket(),
            key=f"{request_id}/{path.name}",
            work_dir=work_dir,
            always_upload=context.own_bucket is not None,
            bare=True,
        )
    entry["delivery"] = delivered.report
    if delivered.url is not None:
        entry["url"] = delivered.url
    if delivered.data is None:
        return len(json.dumps(delivered.report)) + len(delivered.url or "") + 32
    entry["data"] = delivered.data
    del entry["path"]
    return len(delivered.data) + len(json.dumps(delivered.report)) + 32


async def _facts(path: Path, output: Output) -> VideoFacts | None:
    """Return the facts that a smaller copy needs. A damaged file gives None, so that the other outputs still arrive."""
    if output.frames is None:
        return None
    try:
        return await probe(path)
    except NoOutput:
        return None
