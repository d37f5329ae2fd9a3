"""A server on loopback that is sent webhooks."""

from __future__ import annotations

import asyncio

from aiohttp import web


class Receiver:
    """A server that notes what it is sent and answers with the next of its statuses, then 204."""

    def __init__(self, statuses=()):
        self.statuses = list(statuses)
        self.received = []
        self.came = asyncio.Event()

    async def answer(self, request):
        self.received.append((dict(request.headers), await request.content.read()))  # of any size
        self.came.set()
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    async def __aenter__(self):
        self.runner = web.ServerRunner(web.Server(self.answer), shutdown_timeout=0.0)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/hook?token=secret"
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()
