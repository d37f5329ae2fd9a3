"""A server that never stops talking costs little memory, and is one of our errors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from wanworker.comfyui.client._download import download
from wanworker.comfyui.client.connection import LARGEST_ANSWER_BYTES, Connection
from wanworker.comfyui.client.history import OutputFile
from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import EngineError, EngineFailed, EngineUnavailable

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MB = 1024**2
ENDLESS = [b" " * MB]


@contextlib.asynccontextmanager
async def saying(head: bytes, pieces: Callable[[], Iterable[bytes]]) -> AsyncIterator[str]:
    """Serve *head* and then *pieces* to every request, as long as the client takes them. The clients leave first."""
    answering: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            for piece in pieces():
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*filter(None, answering))


def bomb() -> bytes:
    """Return 480 MB of blanks, compressed; they are never in memory here."""
    packer = zlib.compressobj(level=1, wbits=31)
    return b"".join([packer.compress(b" " * MB) for _ in range(480)]) + packer.flush()


@pytest.mark.parametrize(
    ("head", "pieces", "kind"),
    [
        (OK, lambda: itertools.repeat(b"X: " + b"a" * 1000 + b"\r\n"), EngineUnavailable),
        (OK + b"X: ", lambda: itertools.repeat(b"a" * 1000), EngineUnavailable),
        (b"", lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), EngineUnavailable),
        (OK + b"\r\n", lambda: itertools.cycle(ENDLESS), EngineFailed),
        (OK + b"Content-Encoding: gzip\r\n\r\n", lambda: [bomb()], EngineFailed),
        (OK.replace(b"200 OK", b"500 No") + b"\r\n", lambda: itertools.cycle(ENDLESS), EngineFailed),
        (OK + b"\r\n", lambda: [b"[" * 1_000_000], EngineFailed),
    ],
    ids=["headers", "a header", "interim answers", "json", "gzip", "an error", "depth"],
)
async def test_an_answer_without_end(
    head: bytes, pieces: Callable[[], Iterable[bytes]], kind: type[EngineError]
) -> None:
    answer_s = 15 if kind is EngineFailed else 2  # the others say nothing that is an answer, and are left after it
    async with saying(head, pieces) as url, ComfyClient(url, answer_s=answer_s) as client, asyncio.timeout(20):
        tracemalloc.start()
        with pytest.raises(kind):
            await client.system_stats()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 3 * LARGEST_ANSWER_BYTES  # one and a half are usual; the endless ones know no bound, the bomb is 15


async def test_an_output_without_end(tmp_path: Path) -> None:
    async with saying(OK + b"\r\n", lambda: itertools.cycle(ENDLESS)) as url, asyncio.timeout(20):
        connection = Connection(url, token=None, connect_s=4, answer_s=8, idle_s=5)
        file = OutputFile("a.mp4", "", "output", "1", "images")
        with pytest.raises(EngineFailed, match="more than"):
            await download(connection, file, tmp_path / "a.mp4", largest_bytes=20 * MB)
        await connection.close()

    assert [] == list(tmp_path.iterdir())


async def test_a_message_of_frames_without_end_ends_the_socket() -> None:
    async def frames(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        frame = b"\x7f" + MB.to_bytes(8) + b" " * MB
        request.transport.write(b"\x01" + frame)  # type: ignore[attr-defined]
        for _ in range(LARGEST_ANSWER_BYTES // MB + 1):
            request.transport.write(b"\x00" + frame)  # type: ignore[attr-defined]
        async for _ in socket:
            pass
        return socket

    app = web.Application()
    app.router.add_get("/ws", frames)
    async with TestServer(app) as server, ComfyClient(str(server.make_url("/"))) as client, asyncio.timeout(20):
        socket = await client.open_socket("me")
        message = await socket.receive()
        await socket.close()

    assert message.type in {WSMsgType.ERROR, WSMsgType.CLOSE, WSMsgType.CLOSED}
