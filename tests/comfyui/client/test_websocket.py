"""The websocket stays open by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.comfyui import FakeComfyUI
from wanworker.comfyui.client.events import Event, QueueStatus
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.client.websocket import listen


async def stop(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Waits:
    """A sleep that ends at once, remembers how long it should have been, and calls *then* each time."""

    def __init__(self, then: Callable[[int], Awaitable[None]]) -> None:
        self.asked: list[float] = []
        self._then = then

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._then(len(self.asked))


async def test_attempts_go_on_ever_more_slowly_until_the_server_is_there(tmp_path: Path) -> None:
    server = FakeComfyUI(tmp_path)
    await server.start()
    await server.die()
    heard, opened, arrived = list[Event](), asyncio.Event(), asyncio.Event()

    async def revive(attempt: int) -> None:
        if attempt == 4:
            await server.start()

    def on_event(event: Event) -> None:
        heard.append(event)
        arrived.set()

    waits = Waits(revive)
    async with ComfyClient(server.url) as client:
        task = asyncio.create_task(listen(client, "me", on_event, opened=opened, back_off_s=(1, 2, 4), sleep=waits))
        await asyncio.wait_for(arrived.wait(), 5)
        await stop(task)
    await server.die()

    assert [1, 2, 4, 4] == waits.asked
    assert [QueueStatus(0)] == heard
    assert opened.is_set()


async def test_a_dropped_socket_is_opened_again_and_the_waits_begin_anew(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    greetings, third = list[Event](), asyncio.Event()

    def on_event(event: Event) -> None:
        greetings.append(event)
        if len(greetings) == 3:
            third.set()
        else:
            asyncio.get_running_loop().call_soon(server.drop, "me")

    async def at_once(_: int) -> None: ...

    waits = Waits(at_once)
    task = asyncio.create_task(listen(client, "me", on_event, opened=asyncio.Event(), back_off_s=(1, 2), sleep=waits))
    await asyncio.wait_for(third.wait(), 5)
    await stop(task)

    assert [1, 1] == waits.asked


async def test_a_socket_that_says_nothing_is_replaced(client: ComfyClient, server: FakeComfyUI) -> None:
    greetings, again = list[Event](), asyncio.Event()

    def on_event(event: Event) -> None:
        greetings.append(event)
        if len(greetings) == 2:
            again.set()

    async def at_once(_: int) -> None: ...

    task = asyncio.create_task(
        listen(client, "me", on_event, opened=asyncio.Event(), quiet_s=0.05, sleep=Waits(at_once))
    )
    await asyncio.wait_for(again.wait(), 5)
    await stop(task)

    assert 2 <= server.seen["GET /ws"]


async def test_what_the_listener_raises_ends_the_listening(client: ComfyClient) -> None:
    def on_event(_: Event) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await listen(client, "me", on_event, opened=asyncio.Event())
