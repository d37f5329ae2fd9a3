"""Send a job's progress as server-sent events, until `completed`, `error` or `deleted` ends the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from wanworker.errors import UnknownJob
from wanworker.rest.service.jobs import JobService
from wanworker.serverless.answer import strict

#: A comment after so much silence keeps proxies from closing the connection.
KEEPALIVE_S = 15.0
#: Between two events at least; between two looks at a job that another process renders.
_PACE_S = 0.2
_LOOK_S = 1.0

Sleep = Callable[[float], Awaitable[object]]


async def events(
    service: JobService,
    request_id: str,
    *,
    keepalive_s: float = KEEPALIVE_S,
    pace_s: float = _PACE_S,
    look_s: float = _LOOK_S,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[str]:
    """Yield the stream's text; each event carries the JSON of /status, the newest there is."""
    sent: dict[str, Any] = {}
    silent_s = 0.0
    while True:
        live = service.live(request_id)
        changed = live.changed if live is not None else None
        try:
            status = await service.status(request_id)
        except UnknownJob:
            yield _event("deleted", {"job_id": request_id, "status": "deleted"})
            return
        if status != sent:
            sent, silent_s = status, 0.0
            name = status["status"] if status["status"] in {"completed", "error"} else "progress"
            yield _event(name, status)
            if name != "progress":
                return
            await sleep(pace_s)
        if changed is None:
            await sleep(look_s)
            silent_s += look_s
        elif not await _came(changed, keepalive_s):
            silent_s = keepalive_s
        if silent_s >= keepalive_s:
            silent_s = 0.0
            yield ": still here\n\n"


async def _came(changed: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await changed.wait()
    except TimeoutError:
        return False
    return True


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(strict(data))}\n\n"
