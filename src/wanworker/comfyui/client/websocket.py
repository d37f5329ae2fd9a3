"""Listen to the websocket of one client id, and reconnect when it drops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import aiohttp

from wanworker.comfyui.client.events import Event, parse_frame
from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import EngineUnavailable

#: Seconds to wait before the first, second ... attempt to reconnect. The last one repeats.
BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)

#: A server can forget an open socket, if an older one of the same id closes after it. So after this much silence a new
#: one is opened. That costs a millisecond, and does no harm while a long node runs.
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
    Pass every event for *client_id* to *on_event* until cancelled. *opened* is set after the first attempt.

    Nothing is replayed after a gap, so the caller must read the history as well. An exception of *on_event* ends the
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
    """Listen to one socket until it ends or falls silent. Return whether any message came."""
    # The old socket must be closed before a new one with its id is opened. Otherwise the server drops both.
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
