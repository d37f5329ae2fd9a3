"""A server gives its GPU memory back: when it is idle, seen to be done, and not waited for without end."""

from __future__ import annotations

import asyncio

import pytest

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_recordings import video_graph
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.run.free_memory import free_memory
from wanworker.errors import EngineFailed, EngineUnavailable

GIB = 1 << 30


@pytest.fixture(autouse=True)
def _card(server: FakeComfyUI) -> None:
    server.weights_bytes = 14 * GIB


async def test_a_server_that_holds_models_is_empty_afterwards(client: ComfyClient, server: FakeComfyUI) -> None:
    server.held_bytes = 14 * GIB
    server.hide_unloads = 3

    await free_memory(client, within_s=5, step_s=0.01)

    assert (0, 0) == (server.held_bytes, server.hide_unloads)


async def test_an_empty_server_costs_three_questions(client: ComfyClient, server: FakeComfyUI) -> None:
    await free_memory(client, within_s=5)

    assert {"POST /free": 1, "GET /api/jobs": 1, "GET /system_stats": 1} == dict(server.seen)


async def test_a_prompt_of_somebody_else_ends_first(client: ComfyClient, server: FakeComfyUI) -> None:
    server.nodes.holds = frozenset({"EmptyImage"})
    await client.submit(video_graph(), prompt_id="theirs", client_id="c")
    await server.nodes.held.wait()
    looks = 0

    async def look_again(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            server.nodes.release.set()
        await asyncio.sleep(0.01)

    await free_memory(client, within_s=10, sleep=look_again)

    assert looks >= 3
    assert 0 == server.held_bytes
    assert "success" == (await client.history("theirs"))["status"]["status_str"]


async def test_the_time_in_which_the_worker_was_frozen_is_not_the_servers(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    server.held_bytes = 14 * GIB
    server.hide_unloads = 3
    loop = asyncio.get_running_loop()
    before = loop.time

    async def freeze(_seconds: float) -> None:
        loop.time = lambda: before() + 3600  # type: ignore[method-assign]
        await asyncio.sleep(0.01)

    await free_memory(client, within_s=60, sleep=freeze)

    assert 0 == server.held_bytes


async def test_memory_that_does_not_come_back_is_told(client: ComfyClient, server: FakeComfyUI) -> None:
    server.hide_unloads = 1_000_000

    with pytest.raises(EngineFailed, match=r"did not free its GPU memory within 0\.1 s"):
        await free_memory(client, within_s=0.1, step_s=0.01)


async def test_a_server_that_is_gone_is_unavailable(client: ComfyClient, server: FakeComfyUI) -> None:
    await server.die()

    with pytest.raises(EngineUnavailable):
        await free_memory(client, within_s=5)
