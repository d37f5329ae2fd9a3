"""Turn the record of a job into the documented answer of `generate` or `status`, with its video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wanworker.actions.base import Context
from wanworker.errors import NoOutput
from wanworker.jobs.model import Job, JobStatus, Output
from wanworker.media.outputs.delivery import deliver
from wanworker.media.scratch import scratch_folder
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.writer import probe


def status_block(job: Job) -> dict[str, Any]:
    """Return the nested, upper-case `status` object; a failed job's error sits inside it."""
    block: dict[str, Any] = {"status": job.status.value, "started": job.started_at}
    if job.status is JobStatus.COMPLETED:
        block |= {"completed_at": job.completed_at, "outputs": [output.path for output in job.outputs]}
    elif job.status.is_terminal:
        block["completed_at"] = job.completed_at
    else:
        block |= dict(job.progress or {})
    if job.error is not None:
        block |= {"error": job.error.text, "code": job.error.code, "hint": job.error.hint}
    return block


async def finished_answer(job: Job, context: Context, *, want_video: bool, extra: list[str]) -> dict[str, Any]:
    """
    Return the answer for a COMPLETED job.

    *extra* are the warnings of this call, beside those of the job itself. *want_video* asks for the video in the
    answer.
    """
    # A graph may save pictures before its video; the video is what `result` is about.
    output = next((each for each in job.outputs if each.kind == "video"), job.outputs[0])
    answer: dict[str, Any] = {
        "request_id": job.request_id,
        "status": status_block(job),
        "result": {"filename": Path(output.path).name},
        "warnings": [*job.warnings, *(line for line in extra if line not in job.warnings)],
        "seed": job.seed,
        "engine": job.engine,
        "model": job.model,
        "video": _video_block(output),
        "timings": dict(job.timings),
        "delivery": {},
    }
    if job.placement is not None:
        answer["placement"] = dict(job.placement)
    await _deliver_into(answer, output, context, want_video=want_video)
    return answer


async def _deliver_into(answer: dict[str, Any], output: Output, context: Context, *, want_video: bool) -> None:
    path = Path(output.path)
    result = answer["result"]
    result["path"] = output.path
    if not path.is_file():
        answer["delivery"] = {"how": "none", "reason": f"{output.path} is no longer on the volume."}
        return
    with scratch_folder() as work_dir:
        delivered = await deliver(
            path,
            mime=output.mime,
            facts=await _facts_if_whole(path) if output.frames is not None else None,
            want_data=want_video,
            answer_bytes=len(json.dumps(answer)),
            limit_bytes=context.call.answer_limit_bytes,
            bucket=context.bucket(),
            key=f"{answer['request_id']}/{path.name}",
            work_dir=work_dir,
            always_upload=context.own_bucket is not None,
        )
    if delivered.data is not None:
        result["data"] = delivered.data
        del result["path"]
    if delivered.url is not None:
        result["url"] = delivered.url
    answer["delivery"] = delivered.report


async def _facts_if_whole(path: Path) -> VideoFacts | None:
    """
    Return what re-encoding must know. A file that was damaged after it was made gives None and is delivered as it is.
    """
    try:
        return await probe(path)
    except NoOutput:
        return None


def _video_block(output: Output) -> dict[str, Any]:
    return {
        "width": output.width,
        "height": output.height,
        "fps": output.fps,
        "frames": output.frames,
        "duration_s": output.duration_s,
        "size_bytes": output.size_bytes,
        "codec": output.codec,
    }
