"""Send a job's progress as server-sent events, until `completed`, `error` or `deleted` ends the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from wanworker.errors import UnknownJob
from wanworker.rest.http.errors import Busy
from wanworker.rest.service.jobs import JobService
from wanworker.serverless.answer import strict

#: After this much silence a comment is sent, so that proxies do not close the connection.
KEEPALIVE_S = 15.0
#: The least time between two events, and between two reads of a job that another process renders.
_PACE_S = 0.2
_LOOK_S = 1.0

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Pace:
    """Say how often clients get events of a job, in seconds, and how to wait."""

    keepalive_s: float = KEEPALIVE_S
    pace_s: float = _PACE_S
    look_s: float = _LOOK_S
    sleep: Sleep = asyncio.sleep


@dataclass(eq=False, slots=True)
class _Watch:
    """Hold one watched job: its newest event, and the clients that wait for the next one."""

    text: str = ""
    is_last: bool = False
    number: int = 0
    error: BaseException | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: int = 0
    task: asyncio.Task[None] | None = None

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Take the newest event. It is written as text once for all clients."""
        self.text = f"event: {name}\ndata: {json.dumps(strict(data))}\n\n"
        self.is_last = name != "progress"
        self.number += 1
        self.wake()

    def wake(self) -> None:
        """Wake all clients that wait."""
        self.changed.set()
        self.changed = asyncio.Event()


class EventStreams:
    """
    Hold at most *limit* streams. All streams of one job share one watch.

    A client that reads slowly gets only the newest event when it reads again.
    """

    def __init__(self, service: JobService, limit: int, *, pace: Pace = Pace()) -> None:
        self._service = service
        self._limit = limit
        self._pace = pace
        self._watched: dict[str, _Watch] = {}
        self._open = 0

    def respond(self, request_id: str) -> StreamingResponse:
        """Return the response that streams a job's events. Raises Busy."""
        if self._open >= self._limit:
            raise Busy(f"{self._limit} event streams are open, which is the limit.")
        self._open += 1
        return _Stream(self.follow(request_id), self._closed)

    async def follow(self, request_id: str) -> AsyncIterator[str]:
        """Yield the stream's text. Each event holds the newest JSON of /status."""
        watch = self._join(request_id)
        seen = 0
        try:
            while True:
                if watch.number == seen and not await self._news(watch):
                    yield ": still here\n\n"
                    continue
                seen = watch.number
                yield watch.text
                if watch.is_last:
                    return
        finally:
            self._leave(request_id, watch)

    async def _news(self, watch: _Watch) -> bool:
        """Wait for the next event. Return False after a silence. Raises what the watch has failed with."""
        if watch.error is None and not await _came(watch.changed, self._pace.keepalive_s):
            return False
        if watch.error is not None:
            raise watch.error
        return True

    def _join(self, request_id: str) -> _Watch:
        watch = self._watched.get(request_id)
        if watch is None:
            self._watched[request_id] = watch = _Watch()
            watch.task = asyncio.create_task(self._watch(request_id, watch))
        watch.watchers += 1
        return watch

    def _closed(self) -> None:
        self._open -= 1

    def _leave(self, request_id: str, watch: _Watch) -> None:
        watch.watchers -= 1
        if watch.watchers == 0:
            if watch.task is not None:
                watch.task.cancel()
            if self._watched.get(request_id) is watch:
                del self._watched[request_id]

    async def _watch(self, request_id: str, watch: _Watch) -> None:
        """Watch a job until its end, for all clients that follow it."""
        try:
            await self._look(request_id, watch)
        except Exception as error:  # noqa: BLE001 - the streams of the job raise it
            watch.error = error
            watch.wake()
        # Later clients start a new watch, because a deleted job may exist again.
        if self._watched.get(request_id) is watch:
            del self._watched[request_id]

    async def _look(self, request_id: str, watch: _Watch) -> None:
        sent: dict[str, Any] = {}
        while not watch.is_last:
            live = self._service.live(request_id)
            changed = live.changed if live is not None else None
            try:
                status = await self._service.status(request_id)
            except UnknownJob:
                watch.tell("deleted", {"job_id": request_id, "status": "deleted"})
                return
            if status != sent:
                sent = status
                watch.tell(status["status"] if status["status"] in {"completed", "error"} else "progress", status)
                await self._pace.sleep(self._pace.pace_s)
            elif changed is None:
                await self._pace.sleep(self._pace.look_s)
            else:
                await _came(changed, self._pace.keepalive_s)


class _Stream(StreamingResponse):
    """Stream events, and report the end of the stream, however it ends."""

    def __init__(self, content: AsyncIterator[str], on_end: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._content, self._on_end = content, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
            await cast("AsyncGenerator[str, None]", self._content).aclose()


async def _came(changed: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await changed.wait()
    except TimeoutError:
        return False
    return True
