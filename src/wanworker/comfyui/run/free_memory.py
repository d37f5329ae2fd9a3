"""Make a ComfyUI server free its GPU memory, and wait until it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from wanworker.clocks.awake import Silence
from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import EngineFailed

#: How much may stay in use: a server without models keeps some small tensors, and custom nodes keep more.
_LITTLE_BYTES = 1 << 30


async def free_memory(
    client: ComfyClient,
    *,
    within_s: float,
    step_s: float = 0.25,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """
    Tell the server to drop its models and cached results. Return once it runs nothing and its memory is free.

    The server obeys between two prompts and only after it has answered. So its memory is watched, and prompts of others
    end first. Raises EngineUnavailable, and EngineFailed if it takes more than *within_s* seconds.
    """
    try:
        async with Silence(within_s):
            await client.free()
            while await _is_busy(client) or await _held_bytes(client) > _LITTLE_BYTES:
                await sleep(step_s)
                # This is asked each time, because a prompt that came in between loads its models again.
                await client.free()
    except TimeoutError as error:
        raise EngineFailed(f"The ComfyUI server did not free its GPU memory within {within_s:g} s.") from error


async def _is_busy(client: ComfyClient) -> bool:
    queue = await client.queue()
    return bool(queue.running or queue.pending)


async def _held_bytes(client: ComfyClient) -> int:
    """Return how many bytes the server's torch has reserved on its cards, or 0 if the server does not say."""
    devices = (await client.system_stats()).get("devices")
    cards = [each for each in devices if isinstance(each, dict)] if isinstance(devices, list) else []
    held = [card.get("torch_vram_total") for card in cards if card.get("type") != "cpu"]
    return sum(size for size in held if isinstance(size, int))
