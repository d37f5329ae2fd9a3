"""A REST server by the FastWAN contract that answers what a test has written down, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

JOB_ID = "0b5e7c1e-job"


@dataclass
class FastWan:
    """The answers to come (each status is used once, the last one for ever) and the requests so far."""

    statuses: list[dict[str, Any]]
    video: bytes = b"an mp4"
    generate: list[web.Response] = field(default_factory=list)
    plans: list[web.Response] = field(default_factory=list)
    thumbnails: list[web.Response] = field(default_factory=list)
    listed: list[dict[str, Any]] = field(default_factory=list)
    cut_downloads: int = 0  # so many transfers break off in the middle
    asked: list[str] = field(default_factory=list)
    body: Any = None
    key: str | None = None
    url: str = ""

    async def answer_generate(self, request: web.Request) -> web.Response:
        self._note(request)
        self.body = await request.json()
        if self.generate:
            return self.generate.pop(0)
        return web.json_response({"job_id": JOB_ID, "status": "queued", "message": "Video generation started"})

    async def answer_status(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.json_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])

    async def answer_download(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if not self.cut_downloads:
            return web.Response(body=self.video)
        self.cut_downloads -= 1
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half of a video")
        assert request.transport is not None
        request.transport.close()
        return response

    async def answer_plan(self, request: web.Request) -> web.Response:
        self._note(request)
        self.body = await request.json()
        return self.plans.pop(0)

    async def answer_thumbnail(self, request: web.Request) -> web.Response:
        self._note(request)
        return self.thumbnails.pop(0) if self.thumbnails else web.Response(body=b"a jpeg")

    async def answer_jobs(self, request: web.Request) -> web.Response:
        self._note(request)
        listed = self.listed[: int(request.query["limit"])]
        return web.json_response({"jobs": listed, "total": len(self.listed), "next_cursor": None})

    async def answer_delete(self, request: web.Request) -> web.Response:
        self._note(request)
        return web.json_response({"job_id": JOB_ID, "deleted": True})

    def _note(self, request: web.Request) -> None:
        self.asked.append(f"{request.method} {request.path_qs}")
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            raise web.HTTPUnauthorized


@asynccontextmanager
async def serving(server: FastWan) -> AsyncIterator[FastWan]:
    """Serve on a free loopback port; `url` says which."""
    app = web.Application(client_max_size=1 << 26)
    app.add_routes([
        web.post("/generate", server.answer_generate),
        web.post("/plan", server.answer_plan),
        web.get("/status/{job}", server.answer_status),
        web.get("/download/{job}", server.answer_download),
        web.get("/thumbnail/{job}", server.answer_thumbnail),
        web.get("/jobs", server.answer_jobs),
        web.delete("/jobs/{job}", server.answer_delete),
    ])  # fmt: skip
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
