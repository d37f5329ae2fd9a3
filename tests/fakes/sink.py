"""A server on loopback that takes uploads and answers as a test says: S3's errors without S3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

_ERROR = (
    "<?xml version='1.0'?><Error><Code>{code}</Code><Message>About {code}.</Message>"
    "<AWSAccessKeyId>{key}</AWSAccessKeyId></Error>"
)


@dataclass
class Sink:
    """
    Where the server is, what it was sent, and the statuses that it answers with, one a request; then 200.

    `leads_to` is the Location of its redirects.
    """

    statuses: list[int] = field(default_factory=list)
    received: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
    url: str = ""
    leads_to: str = "http://127.0.0.1:9/elsewhere"


#: In place of a status: close the connection in mid-request, and never answer.
BROKEN, STALLED = 0, -1


@asynccontextmanager
async def sink(statuses: Iterable[int] = (), *, refused: tuple[str, ...] = ()) -> AsyncIterator[Sink]:
    """Run the server until the block ends; see BROKEN and STALLED. The *refused* paths get 403 each time."""
    made, closing = Sink(list(statuses)), asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        status = 403 if request.path in refused else made.statuses.pop(0) if made.statuses else 200
        if status == STALLED:
            await closing.wait()
        if status == BROKEN:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        size_bytes = 0
        async for chunk in request.content.iter_any():
            size_bytes += len(chunk)
        made.received.append((request.raw_path, dict(request.headers), size_bytes))
        headers = {"Location": made.leads_to} if status in {301, 307, 308} else {}
        text = _ERROR.format(code=f"Code{status}", key="AKIDSECRET") if status >= 300 else ""
        return web.Response(status=status, text=text, headers=headers)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        closing.set()
        await runner.cleanup()
