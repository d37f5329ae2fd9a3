"""A file server on loopback. It serves what a test gives it, and misbehaves at the paths below."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class FileServer:
    """
    Where the server is, what it serves and what it was asked.

    * `/files/NAME`        the bytes in `files`
    * `/redirect?to=URL`   302 to it (`?status=` another status)
    * `/slow`              a byte now and then, for ever
    * `/endless`           as fast as it can, for ever, without a length
    * `/long`              500 bytes after a Content-Length of a gigabyte
    * `/short`             500 bytes after a Content-Length of 1000
    * `/html`              an HTML page that calls itself a picture
    * `/gzip`              a Content-Encoding that nobody asked for
    * `/status/N[/...]`    that status; `/missing` is 404
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[web.BaseRequest] = field(default_factory=list)

    def url(self, path: str, *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def file_server(
    *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FileServer]:
    """Run a server on *host* until the block ends."""
    server = FileServer()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        server.requests.append(request)
        name, _, rest = request.path.removeprefix("/").partition("/")
        if name == "files" and rest in server.files:
            return web.Response(body=server.files[rest], content_type="application/octet-stream")
        behaviour = _BEHAVIOURS.get(name)
        return await behaviour(request, rest) if behaviour else web.Response(status=404)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


async def _redirect(request: web.BaseRequest, rest: str) -> web.StreamResponse:
    return web.Response(status=int(request.query.get("status", "302")), headers={"Location": request.query["to"]})


async def _slow(request: web.BaseRequest, rest: str) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.01)


async def _endless(request: web.BaseRequest, rest: str) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def _long(request: web.BaseRequest, rest: str) -> web.StreamResponse:
    return await _cut_off(request, said=10**9)


async def _short(request: web.BaseRequest, rest: str) -> web.StreamResponse:
    return await _cut_off(request, said=1000)


async def _cut_off(request: web.BaseRequest, *, said: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(said)})
    await response.prepare(request)
    await response.write(b"x" * 500)
    assert request.transport is not None
    request.transport.close()
    return response


async def _html(request: web.BaseRequest, rest: str) -> web.StreamResponse:
    return web.Response(body=b"<!DOCTYPE html><title>Sign in</title>", content_type="image/png")


async def _gzip(request: web.BaseRequest, rest: str) -> web.StreamResponse:
    return web.Response(body=b"\x1f\x8b not really", headers={"Content-Encoding": "gzip"})


async def _status(request: web.BaseRequest, rest: str) -> web.StreamResponse:
    return web.Response(status=int(rest.split("/")[0]))  # a bucket appends its name and key


_BEHAVIOURS = {
    "redirect": _redirect,
    "slow": _slow,
    "endless": _endless,
    "long": _long,
    "short": _short,
    "html": _html,
    "gzip": _gzip,
    "status": _status,
}
