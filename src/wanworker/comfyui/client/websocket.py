"""Listen to the websocket of one client id, and reconnect when it drops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import aiohttp

from wanworker.comfyui.client.events import Event, parse_frame
from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import EngineUnavailable

#: Waits before the first, second ... attempt to connect again; the last one repeats.
BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)

#: A server can forget a socket that it holds open (an older one of the same id closed after it). Who hears nothing
#: for so long opens a new one: it costs a millisecond, and a long node's silence is no harm.
QUIET_S = 30.0

_FRAMES = frozenset({aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY})
_ENDS = frozenset({
    aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR,
})  # fmt: skip


async def listen(
    client: ComfyClient,
    client_id: str,
    on_event: Callable[[Event], None],
    *,
    opened: asyncio.Event,
    back_off_s: Sequence[float] = BACK_OFF_S,
    quiet_s: float = QUIET_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """
    Pass every event for *client_id* to *on_event* until cancelled; *opened* is set once the first attempt is over.

    Nothing is replayed after a gap, so whoever listens must ask the history as well. What *on_event* raises ends the
    listening.
    """
    waits = iter(back_off_s)
    while True:
        try:
            heard = await _listen_once(client, client_id, on_event, opened, quiet_s)
        except EngineUnavailable:
            heard = False
        opened.set()
        if heard:
            waits = iter(back_off_s)
        await sleep(next(waits, back_off_s[-1]))


async def _listen_once(
    client: ComfyClient,
    client_id: str,
    on_event: Callable[[Event], None],
    opened: asyncio.Event,
    quiet_s: float,
) -> bool:
    """Listen to one socket until it ends or falls silent; return whether it said anything."""
    # The old socket must be closed before a new one with its id is opened: when it goes later, the server drops both.
    socket = await client.open_socket(client_id)
    heard = False
    try:
        opened.set()
        while True:
            message = await socket.receive(timeout=quiet_s)
            if message.type in _ENDS:
                return heard
            heard = True
            event = parse_frame(message.data) if message.type in _FRAMES else None
            if event is not None:
                on_event(event)
    except TimeoutError:
        return heard
    finally:
        await socket.close()
