"""Send a video: ranges any number of times, the whole file only once if `DOWNLOAD_ONCE` says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from wanworker.media.threads import in_thread
from wanworker.rest.http.connection import STATE_KEY, Connection
from wanworker.rest.service.jobs import JobService
from wanworker.rest.service.outputs import gone

log = logging.getLogger(__name__)

#: How long after a complete transfer a broken connection still counts as a failed download, in seconds.
GRACE_S = 20.0


class WatchedFile(FileResponse):
    """Respond with a file, and call *on_complete* when a whole 200 was sent to a client that stayed to the end."""

    def __init__(self, path: Path, *, filename: str, on_complete: Callable[[], None]) -> None:
        super().__init__(
            path,
            media_type="video/mp4",
            filename=filename,
            stat_result=path.stat(),
            headers={"Cache-Control": "no-store"},
        )
        self._on_complete = on_complete
        self._size_bytes = int(self.headers["content-length"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file and count the bytes. A client that leaves while it is being sent is noticed."""
        has_left = asyncio.Event()
        watching = asyncio.create_task(_until_left(receive, has_left))
        status, sent = 0, 0

        async def count(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            left_before = has_left.is_set()
            await send(message)
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and status == 200 and sent == self._size_bytes and not left_before:
                self._on_complete()

        try:
            await super().__call__(scope, _has_left_only(has_left), count)
        finally:
            watching.cancel()


def _has_left_only(has_left: asyncio.Event) -> Receive:
    """Return a `receive` that waits for the client to leave. The body of a GET is ignored."""

    async def receive() -> Message:
        await has_left.wait()
        return {"type": "http.disconnect"}

    return receive


async def _until_left(receive: Receive, has_left: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    has_left.set()


class Downloads:
    """Send videos and, with *once*, remove each after one complete transfer."""

    def __init__(self, service: JobService, *, once: bool, grace_s: float = GRACE_S) -> None:
        self._service = service
        self._once = once
        self._grace_s = grace_s
        self._leaving: dict[str, asyncio.Task[None]] = {}

    async def respond(
        self, request: Request, request_id: str, number: int | None = None, *, counts: bool = True
    ) -> FileResponse:
        """
        Return the response with the video of a job, or one of several. Raises UnknownJob, NotReady, Gone.

        *counts* says whether it may be the one download after which the video is removed.
        """
        path = await self._service.video(request_id, number)
        name = request_id if number is None else path.stem
        connection: Connection | None = getattr(request.state, STATE_KEY, None)

        def completed() -> None:
            if counts and self._once and request.method == "GET":
                self._let_go(path.stem, path, connection)

        try:
            return await in_thread(lambda: WatchedFile(path, filename=f"video_{name}.mp4", on_complete=completed))
        except FileNotFoundError:
            raise gone(request_id) from None

    async def close(self) -> None:
        """Remove at once the videos that were downloaded and whose connections have not ended yet."""
        tasks = list(self._leaving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _let_go(self, name: str, path: Path, connection: Connection | None) -> None:
        if name in self._leaving:
            return  # a second client took it at the same time
        self._service.mark_downloaded(name)
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if connection is None:
            ended.set_result(True)
        else:
            connection.on_end(lambda in_order: None if ended.done() else ended.set_result(in_order))
        task = asyncio.create_task(self._remove_unless_broken(name, path, ended))
        self._leaving[name] = task
        task.add_done_callback(lambda _task: self._leaving.pop(name, None))

    async def _remove_unless_broken(self, name: str, path: Path, ended: asyncio.Future[bool]) -> None:
        """Remove the file when its connection has ended well, or after the grace time. If it broke, keep the file."""
        in_order = True
        try:
            async with asyncio.timeout(self._grace_s):
                in_order = await ended
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            path.unlink(missing_ok=True)
            raise
        if in_order:
            await in_thread(path.unlink, missing_ok=True)
        else:
            log.info("the transfer of job %s broke off: its video stays", name)
            self._service.unmark_downloaded(name)
