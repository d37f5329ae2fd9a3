"""Repeat a run once on a new server when our own server dies during it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.client.connection import NOT_RESPONDING
from wanworker.comfyui.server.process import End
from wanworker.comfyui.server.supervisor import Server
from wanworker.engines.base import Rendered
from wanworker.errors import EngineUnavailable, OutOfMemory

log = logging.getLogger(__name__)

#: Seconds between two checks whether our own server still lives.
_LOOK_S = 0.2

#: A connection breaks some milliseconds before the system reports the end of the process.
_LAST_LOOKS = 5


@dataclass(slots=True)
class Attempt:
    """Hold the name of a run's files on the server, and whether the server has its prompt."""

    run_id: str
    is_queued: bool = False

    def note_queued(self) -> None:
        """Note that the server has the prompt, and that it may run out of memory because of it."""
        self.is_queued = True


Run = Callable[[Attempt], Coroutine[Any, Any, Rendered]]


class ServerDied(EngineUnavailable):
    """Our own server ended in the middle of a run. `end` says how."""

    default_hint = "Send the request again: the server is started again for the next job."

    def __init__(self, end: End) -> None:
        super().__init__(f"{NOT_RESPONDING}. It ended in the middle of the run. {end}")
        self.end = end


async def with_one_restart(server: Server, run_id: str, run: Run) -> Rendered:
    """
    Return what *run* returns. *run* gets a name for its files on the server, which begins with *run_id*.

    If our own server dies meanwhile, *run* is started once more, with another name, and a warning says so; *run* itself
    makes sure that a server is there. The caller's deadline covers both tries. Raises ServerDied for a second death.
    Raises OutOfMemory at once, because a second try would run out of memory again. A server that was killed before it
    had the prompt did not run out of memory because of it.
    """
    try:
        return await _while_it_lives(server, run, Attempt(run_id))
    except ServerDied as death:
        log.warning("the run %s is repeated, because the ComfyUI server died in the middle of it", run_id)
        warning = (
            f"The ComfyUI server died in the middle of the run and was started again for a second one. {death.end}"
        )
    rendered = await _while_it_lives(server, run, Attempt(f"{run_id}b"))
    return dataclasses.replace(rendered, warnings=(*rendered.warnings, warning))


async def _while_it_lives(server: Server, run: Run, attempt: Attempt) -> Rendered:
    """Return what *run* returns. Raises ServerDied or OutOfMemory as soon as our own server ends."""
    before = server.last_end
    running = asyncio.create_task(run(attempt))
    try:
        while not running.done() and server.last_end is before:
            await asyncio.wait({running}, timeout=_LOOK_S)
        if running.done():
            return running.result()
    except EngineUnavailable:
        if not await _has_died(server, before):
            raise
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    end = server.last_end
    assert end is not None, "it changed"
    if end.out_of_memory and attempt.is_queued:
        certain = "ran out of memory in the middle of the run and ended"
        how = "ended in the middle of the run" if end.is_guess else certain
        raise OutOfMemory(f"The ComfyUI server {how}. {end}")
    raise ServerDied(end)


async def _has_died(server: Server, before: End | None) -> bool:
    for _ in range(_LAST_LOOKS if server.is_local else 0):
        if server.last_end is not before:
            break
        await asyncio.sleep(_LOOK_S / 2)
    return server.last_end is not before
