"""The websocket of one client id, kept open for as long as somebody listens: events out, reconnects within."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import aiohttp

from wanworker.comfyui.client import ComfyClient
from wanworker.comfyui.events import Event, parse_frame
from wanworker.errors import EngineUnavailable

#: Waits before the first, second ... attempt to connect again; the last one repeats.
BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)

_FRAMES = {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}


async def listen(
    client: ComfyClient,
    client_id: str,
    on_event: Callable[[Event], None],
    *,
    opened: asyncio.Event,
    back_off_s: tuple[float, ...] = BACK_OFF_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """
    Pass every event for *client_id* to *on_event* until cancelled; *opened* is set once the first attempt is over.

    Nothing is replayed after a gap, and the server may forget a socket that it still holds open, so whoever listens
    must ask the history as well. What *on_event* raises ends the listening.
    """
    waits = _waits(back_off_s)
    while True:
        try:
            heard = await _listen_once(client, client_id, on_event, opened)
        except EngineUnavailable:
            heard = False
        opened.set()
        if heard:
            waits = _waits(back_off_s)
        await sleep(next(waits))


async def _listen_once(
    client: ComfyClient, client_id: str, on_event: Callable[[Event], None], opened: asyncio.Event
) -> bool:
    # The old socket must be closed before a new one with its id is opened: when it goes later, the server drops both.
    socket = await client.open_socket(client_id)
    heard = False
    try:
        opened.set()
        async for message in socket:
            event = parse_frame(message.data) if message.type in _FRAMES else None
            heard = True
            if event is not None:
                on_event(event)
    finally:
        await socket.close()
    return heard


def _waits(back_off_s: tuple[float, ...]) -> Iterator[float]:
    yield from back_off_s
    while True:
        yield back_off_s[-1]
