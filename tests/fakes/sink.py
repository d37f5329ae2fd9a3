"""A server on loopback that takes uploads and answers as a test says: S3's errors without S3."""

from __future__ import annotations

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
    """Where the server is, what it was sent, and the statuses that it answers with, one a request; then 200."""

    statuses: list[int] = field(default_factory=list)
    received: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
    url: str = ""


@asynccontextmanager
async def sink(statuses: Iterable[int] = ()) -> AsyncIterator[Sink]:
    """Run the server until the block ends; status 0 closes the connection in mid-request."""
    made = Sink(list(statuses))

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        status = made.statuses.pop(0) if made.statuses else 200
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        size_bytes = 0
        async for chunk in request.content.iter_any():
            size_bytes += len(chunk)
        made.received.append((request.raw_path, dict(request.headers), size_bytes))
        headers = {"Location": "http://127.0.0.1:9/elsewhere"} if status in {301, 307} else {}
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
        await runner.cleanup()
