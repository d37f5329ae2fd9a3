"""Cancel one prompt on a ComfyUI server, queued or running, and wait until it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import EngineError

_log = logging.getLogger(__name__)


async def cancel_prompt(
    client: ComfyClient,
    prompt_id: str,
    *,
    within_s: float,
    step_s: float = 0.05,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> bool:
    """
    Dequeue or interrupt *prompt_id* until it neither waits nor runs. Return False if it still does after *within_s*
    seconds.

    Prompts of others are not touched. A node that cannot be interrupted (a VAE, a model being loaded) ends first. If a
    node hangs or the server's worker thread is dead, the prompt stays for ever. Also returns False if the server does
    not answer.
    """
    try:
        async with asyncio.timeout(within_s):
            await _until_gone(client, prompt_id, step_s, sleep)
    except TimeoutError:
        _log.warning("ComfyUI still runs prompt %s %g s after it was interrupted", prompt_id, within_s)
        return False
    except EngineError as error:
        _log.warning("ComfyUI prompt %s could not be cancelled: %s", prompt_id, error)
        return False
    return True


async def _until_gone(
    client: ComfyClient, prompt_id: str, step_s: float, sleep: Callable[[float], Awaitable[None]]
) -> None:
    await client.cancel(prompt_id)
    while not await withdrawn(client, prompt_id):
        await sleep(step_s)


async def withdrawn(client: ComfyClient, prompt_id: str) -> bool:
    """
    Ask the server once to end *prompt_id*, and say whether it is already gone. Raises EngineError without an answer.
    """
    queue = await client.queue()
    if prompt_id not in {*queue.running, *queue.pending}:
        return True
    await client.cancel(prompt_id)
    return False
