"""Watch cancelled runs that the server has not stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wanworker.clocks.awake import AwakeClock
from wanworker.comfyui.client.connection import Unreachable
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.run.cancel import withdrawn
from wanworker.comfyui.server.supervisor import Server
from wanworker.errors import EngineError, EngineUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StopLimits:
    """
    Say how long a cancelled run may go on, and how often it is checked, in seconds.

    `stop_s` is how long its caller waits for its end; afterwards it is watched in the background. A node that cannot be
    interrupted, such as a VAE or the loading of a model, ends by itself. `ours_s` is what a restart of our own server
    and of its weights costs, so waiting longer would gain nothing. `others_s` is longer, because a server that is not
    ours cannot be restarted.
    """

    stop_s: float = 4.0
    ours_s: float = 30.0
    others_s: float = 60.0
    step_s: float = 0.5


class UnstoppedRuns:
    """
    Wait in the background for such runs to end. If they do not, end our own server; the next job starts a new one.

    A server that is not ours cannot be ended. As long as the run is there, the next jobs fail at once with the reason.
    """

    def __init__(
        self,
        server: Server,
        client: Callable[[], ComfyClient],
        url: str,
        *,
        limits: StopLimits,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server, self._client, self._url = server, client, url
        self._limits = limits
        self._sleep, self._clock = sleep, AwakeClock(clock)
        self._since: dict[str, float] = {}
        self._settling: asyncio.Task[None] | None = None

    def add(self, prompt_id: str) -> None:
        """Watch a run that the server still has, or that nobody could ask it about."""
        self._since.setdefault(prompt_id, self._clock())
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())

    async def settled(self) -> None:
        """Return when all runs are gone or have used up their time."""
        if self._settling is not None:
            await asyncio.wait({self._settling})

    async def check(self) -> None:
        """Raise EngineUnavailable if a run stays for good on a server that is not ours."""
        await self.settled()
        try:
            await self._forget_the_gone()
        except EngineError:
            return  # it does not answer; the next request reports that
        if self._since:
            which = "ComfyUI server, which this worker has not started," if self._server.is_local else "remote server"
            seconds = self._clock() - min(self._since.values())
            raise EngineUnavailable(
                f"The {which} did not stop the job before this one: it was interrupted {seconds:.0f} s ago and is "
                "still listed as running, and every other job would wait behind it.",
                hint=f"Restart ComfyUI at {self._url}: a node hangs there, or its worker thread is dead.",
            )

    async def close(self) -> None:
        """Stop waiting."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait({self._settling})

    async def _settle(self) -> None:
        async with self._clock.looking():
            while self._since and not self._is_too_long():
                with contextlib.suppress(EngineError):
                    await self._forget_the_gone()
                if self._since:
                    await self._sleep(self._limits.step_s)
        if not self._since:
            return
        if await self._server.stop():
            log.warning("the ComfyUI server did not stop a run and was ended; the next job starts another")
            self._since.clear()
        else:
            log.warning("the ComfyUI server at %s does not stop a run, and this worker cannot restart it", self._url)

    def _is_too_long(self) -> bool:
        limit_s = self._limits.ours_s if self._server.is_ours else self._limits.others_s
        return self._clock() - min(self._since.values()) >= limit_s

    async def _forget_the_gone(self) -> None:
        """Ask once more to end each run, and forget those that are gone. Raises EngineError without an answer."""
        for prompt_id in tuple(self._since):
            try:
                is_gone = await withdrawn(self._client(), prompt_id)
            except Unreachable:
                is_gone = True  # nothing listens, and its queue was only in its memory
            if is_gone:
                self._since.pop(prompt_id, None)
