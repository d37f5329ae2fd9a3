"""A worker asked through the real RunPod door, as the SDK would hand it a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fakes.ports import held_port
from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.serverless.handler import handle


async def ask(
    worker: Worker, job: Mapping[str, Any], *, job_id: str = "sync-1234", limit: int | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Send *job* through the door; return its answer, which is strict JSON, and the progress that was posted."""
    sent: list[dict[str, Any]] = []
    answer = await handle(
        {"id": job_id, **json.loads(json.dumps(job))},
        worker=worker,
        make_call=Call,
        send=lambda _job, shown: sent.append(shown),
        in_worker=True,
        max_answer_bytes=limit,
    )
    json.dumps(answer, allow_nan=False).encode()
    return answer, sent


def contains(answer: Mapping[str, Any], documented: Mapping[str, Any]) -> None:
    """Check that every documented key is in *answer*, with the same nesting and type."""
    for key, value in documented.items():
        assert key in answer, f"{key} is missing in {sorted(answer)}"
        if isinstance(value, dict):
            contains(answer[key], value)
        else:
            assert type(answer[key]) is type(value), f"{key} is {answer[key]!r}"


def refused_port() -> int:
    """Return a port of loopback on which nothing listens, unless the test starts a server there."""
    return held_port()
