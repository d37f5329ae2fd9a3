"""Put one output of a job into its place in the answer, within the answer's limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wanworker.actions.base import Context
from wanworker.errors import NoOutput
from wanworker.jobs.model import Output
from wanworker.media.outputs.delivery import deliver
from wanworker.media.outputs.upload_url import UploadUrl
from wanworker.media.scratch import scratch_folder
from wanworker.media.threads import entered
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.writer import probe

#: Names and punctuation of the keys that a delivery adds.
_KEYS_BYTES = 64


async def deliver_into(
    entry: dict[str, Any],
    output: Output,
    context: Context,
    *,
    request_id: str,
    answer_bytes: int,
    want_data: bool,
    bare: bool = False,
    upload_to: UploadUrl | None = None,
) -> tuple[int, str]:
    """
    Add `path`, `data` or `url` and `delivery` of *output* to *entry*.

    *answer_bytes* is the size of the answer so far. Returns by how many bytes it grew, and why the caller's URL did not
    take the file, or nothing.
    """
    path = Path(output.path)
    if not path.is_file():
        entry["path"] = output.path
        entry["delivery"] = {"how": "none", "reason": f"{output.path} is no longer on the volume."}
        return len(json.dumps(entry["delivery"])) + _KEYS_BYTES, ""
    async with entered(scratch_folder()) as work_dir:
        delivered = await deliver(
            path,
            mime=output.mime,
            facts=await _facts_if_whole(path) if output.frames is not None else None,
            want_data=want_data,
            answer_bytes=answer_bytes,
            limit_bytes=context.call.answer_limit_bytes,
            bucket=context.bucket(),
            key=f"{request_id}/{path.name}",
            work_dir=work_dir,
            always_upload=context.own_bucket is not None,
            bare=bare,
            upload_to=upload_to,
        )
    entry["delivery"] = delivered.report
    if delivered.url is not None:
        entry["url"] = delivered.url
    if delivered.data is None:
        entry["path"] = output.path
    else:
        entry.pop("path", None)
        entry["data"] = delivered.data
    told = len(json.dumps(delivered.report)) + len(delivered.url or "") + len(output.path)
    return told + len(delivered.data or "") + _KEYS_BYTES, delivered.trouble


async def _facts_if_whole(path: Path) -> VideoFacts | None:
    """
    Return what re-encoding must know. A file that was damaged after it was made gives None and is delivered as it is.
    """
    try:
        return await probe(path)
    except NoOutput:
        return None
