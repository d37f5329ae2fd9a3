"""The answer that the comfyui_* actions share: documented statuses, and several outputs within one size limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wanworker.actions._delivered import deliver_into
from wanworker.actions.base import Context
from wanworker.errors import EngineTimeout, GraphTimeout
from wanworker.jobs.model import Job, Output

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
        grown, _ = await deliver_into(
            entry,
            output,
            context,
            request_id=job.request_id,
            answer_bytes=used_bytes,
            want_data=want_data,
            bare=True,
        )
        used_bytes += grown


def _entry(output: Output) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": Path(output.path).name,
        "size": output.size_bytes,
        "type": output.mime,
        "path": output.path,
    }
    measures = {"width": output.width, "height": output.height, "fps": output.fps, "frames": output.frames}
    return entry | {name: value for name, value in measures.items() if value is not None}
