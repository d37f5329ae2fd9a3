"""What goes wrong on the way to a server becomes one of our errors, in time."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fakes.ports import held_port
from wanworker.comfyui.client.connection import ServerRefused, Unreachable
from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import EngineFailed, EngineUnavailable, InputRefused, RequestError, WorkerError

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def answering() -> AsyncIterator[Callable[[Answer], Awaitable[str]]]:
    """Give a function that serves one handler for every path and returns the address."""
    servers = []

    async def start(answer: Answer) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("/"))

    yield start
    for server in servers:
        await server.close()


def plain(status: int, text: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    return answer


async def test_a_server_that_is_not_there_is_the_documented_error_at_once() -> None:
    started = time.monotonic()

    async with ComfyClient(f"http://127.0.0.1:{held_port()}") as client:
        with pytest.raises(Unreachable, match=r"^ComfyUI server is not responding$") as caught:
            await client.system_stats()

    assert 5 > time.monotonic() - started
    assert "127.0.0.1" in caught.value.hint


async def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        async with ComfyClient(f"http://127.0.0.1:{deaf.getsockname()[1]}", answer_s=0.05) as client:
            with pytest.raises(EngineUnavailable, match="not responding") as caught:
                await client.system_stats()

    assert not isinstance(caught.value, Unreachable)


async def test_the_limits_end_within_ten_seconds_by_default() -> None:
    async with ComfyClient("http://127.0.0.1:9") as client:
        limits = client._http.ordinary()

    assert (limits.sock_connect or 99) + (limits.total or 99) < 14
    assert 10 > (limits.total or 99)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (502, EngineUnavailable, "not responding"), (524, EngineUnavailable, "not responding"),
        (401, ServerRefused, "HTTP 401"), (302, ServerRefused, "HTTP 302"), (500, ServerRefused, "HTTP 500"),
        (413, InputRefused, "Maximum request body size"), (200, EngineFailed, "does not answer like ComfyUI"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_is_translated(
    answering: Callable[[Answer], Awaitable[str]], status: int, kind: type[WorkerError], said: str
) -> None:
    url = await answering(plain(status, "Maximum request body size 1048576 exceeded."))

    async with ComfyClient(url) as client:
        with pytest.raises(kind, match=said):
            await client.system_stats()


async def test_an_answer_of_another_shape_is_no_comfyui(answering: Callable[[Answer], Awaitable[str]]) -> None:
    url = await answering(plain(200, "[1, 2]"))

    async with ComfyClient(url) as client:
        with pytest.raises(EngineFailed, match="gave a list, not an object"):
            await client.queue()


async def test_the_token_is_sent_and_the_base_path_kept(answering: Callable[[Answer], Awaitable[str]]) -> None:
    seen: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.raw_path, request.headers.get("Authorization")))
        return web.json_response({})

    async with ComfyClient(f"{await answering(answer)}comfy/", token="s3") as client:
        await client.node_classes(["Power/Lora Loader (rgthree)?"])

    assert [("/comfy/object_info/Power%2FLora%20Loader%20%28rgthree%29%3F", "Bearer s3")] == seen


async def test_a_hint_never_shows_a_password() -> None:
    async with ComfyClient(f"http://me:secret@127.0.0.1:{held_port()}/?key=hidden") as client:
        with pytest.raises(EngineUnavailable) as caught:
            await client.system_stats()

    assert "secret" not in caught.value.hint
    assert "hidden" not in caught.value.hint


@pytest.mark.parametrize("address", ["127.0.0.1:8188", "ftp://host", "", "http://"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="looks like http://host:8188"):
        ComfyClient(address)


async def test_a_request_can_be_cancelled() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        async with ComfyClient(f"http://127.0.0.1:{deaf.getsockname()[1]}") as client:
            asking = asyncio.create_task(client.system_stats())
            await asyncio.sleep(0)
            asking.cancel()

            with pytest.raises(asyncio.CancelledError):
                await asking
