"""Provide a running ComfyUI server: one that we start and restart, one that already runs, or a remote one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from wanworker.clocks.awake import AwakeClock
from wanworker.comfyui.client.connection import NOT_RESPONDING
from wanworker.comfyui.server._log import ServerLog
from wanworker.comfyui.server._probe import ServerProbe
from wanworker.comfyui.server.launch import Launch
from wanworker.comfyui.server.process import End, Limits, ServerProcess
from wanworker.errors import EngineError, EngineUnavailable

log = logging.getLogger(__name__)

__all__ = ["Launch", "Limits", "OnStage", "Server", "Status"]

Status = Literal["online", "starting", "offline"]
OnStage = Callable[[str], None]


class Server:
    """
    Keep a ComfyUI server answering.

    *where* is the address of a remote server (http or https, *token* as its bearer token), or says how to start one
    here. A server that already answers on the port is used and never stopped, because pods start their own. Ours is
    started on first use, and again on the next use after it has died.
    """

    def __init__(
        self,
        where: str | Launch,
        *,
        token: str | None = None,
        limits: Limits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = AwakeClock(clock)
        self._limits = limits or Limits()
        self._launch = where if isinstance(where, Launch) else None
        self._log = ServerLog(self._launch.log_path, clock=self._clock) if self._launch else None
        self._probe = ServerProbe(
            where.url if isinstance(where, Launch) else where,
            token=token,
            connect_s=self._limits.connect_s,
            answer_s=self._limits.answer_s,
            is_ours_to_start=self._launch is not None,
        )
        self._sleep = sleep
        self._process: ServerProcess | None = None
        self._search: asyncio.Task[None] | None = None
        self._listeners: list[OnStage] = []
        self._stage = ""
        self._online = self._closed = False
        self._failures = self._generation = 0
        self._last_end: End | None = None

    @property
    def status(self) -> Status:
        """Return the known status at once. For a server that is not ours, it is the status when it was last asked."""
        if self._online:
            return "online"
        searching = self._search is not None and not self._search.done()
        return "starting" if searching and self._launch else "offline"

    @property
    def generation(self) -> int:
        """Return a number that grows with every new server. What was learned from an older server is then invalid."""
        return self._generation

    @property
    def is_local(self) -> bool:
        """Say whether this is a server of this machine, which we may start."""
        return self._launch is not None

    @property
    def is_ours(self) -> bool:
        """Say whether we started the current server, and so may end it."""
        return self._process is not None

    @property
    def last_end(self) -> End | None:
        """Return how our own server last ended by itself, or None if it never did."""
        return self._last_end

    async def ensure(self, on_stage: OnStage = lambda _stage: None) -> None:
        """
        Return when the server answers, after starting it if needed. *on_stage* gets the stage that is being waited for.

        If the caller is cancelled, a running start goes on for the next caller. Raises EngineUnavailable if a server
        that is not ours does not answer (within 10 s), or if ours does not start; the message then has the last lines
        of its log.
        """
        if await self._ours_answers():
            return
        search = self._searching()
        self._listeners.append(on_stage)
        try:
            if self._stage:
                on_stage(self._stage)
            await asyncio.wait({search})
        finally:
            self._listeners.remove(on_stage)
        if search.cancelled():
            raise EngineUnavailable(f"{NOT_RESPONDING}. It was stopped while it started.")
        search.result()

    async def probe(self) -> Status:
        """Ask a server that is not ours whether it is there, without starting one. Return the status."""
        if self._process is None:
            with contextlib.suppress(EngineError):
                await (self._find() if self._launch else self._ask())
        return self.status

    async def stop(self) -> bool:
        """
        End our own server, and say whether there was one. The next `ensure` starts another.

        This is for a server that hangs, or to free its memory. A server that is not ours is left alone.
        """
        if self._search is not None and not self._search.done():
            self._search.cancel()
            await asyncio.wait({self._search})
        process, self._process = self._process, None
        if process is None:
            return False
        self._online = False
        await process.stop()
        return True

    async def close(self) -> None:
        """End our own server for good, and close all connections."""
        self._closed = True
        await self.stop()
        await self._probe.close()

    async def _ours_answers(self) -> bool:
        """Say whether our own server is up. End one that no longer listens or that hangs."""
        process = self._process
        if process is None or not self._online:
            return False
        if await self._probe.listens():
            if await self._answers(process):
                return True
            log.warning("the ComfyUI server listens, but has not answered for %g s; it is ended", self._limits.hung_s)
            await self.stop()
        elif not await process.end_within(self._limits.stop_grace_s) and self._process is process:
            await self.stop()
        return False

    async def _answers(self, process: ServerProcess) -> bool:
        """Wait for an answer of a server that may be busy, while it lives and for at most `hung_s`."""
        until = self._clock() + self._limits.hung_s
        async with self._clock.looking():
            while not await self._probe.is_up():
                if self._clock() >= until or await process.end_within(self._limits.poll_s):
                    return False
        return True

    def _searching(self) -> asyncio.Task[None]:
        if self._closed:
            raise EngineUnavailable(f"{NOT_RESPONDING}. The worker is stopping.")
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._find_or_start())
            self._search.add_done_callback(_log_failure)
        return self._search

    async def _find_or_start(self) -> None:
        if self._launch is None:
            await self._ask()
        elif not await self._find():
            await self._start_again(self._launch)

    async def _ask(self) -> None:
        """Note whether the remote server answers. Raises EngineUnavailable if not."""
        try:
            await self._probe.ask()
        except EngineError:
            self._online = False
            raise
        self._note(answers=True)

    async def _find(self) -> bool:
        """Say whether a server answers on our port. Raises EngineUnavailable if another program has the port."""
        try:
            answers = await self._probe.is_taken()
        except EngineError:
            self._online = False
            raise
        self._note(answers=answers)
        return answers

    async def _start_again(self, launch: Launch) -> None:
        try:
            if self._failures:
                await self._pause()
            await self._start(launch)
        except EngineError:
            self._failures += 1
            raise
        finally:
            self._stage = ""
        self._failures = 0

    def _note(self, *, answers: bool) -> None:
        if answers and not self._online:
            self._generation += 1
        self._online = answers

    async def _pause(self) -> None:
        """Wait before another start: not after the first failure, and twice as long after each further one."""
        self._tell("waiting to start ComfyUI again")
        pause_s = 2.0 ** (self._failures - 2) if self._failures > 1 else 0.0
        await self._sleep(min(pause_s, self._limits.longest_pause_s))

    async def _start(self, launch: Launch) -> None:
        assert self._log is not None, "made with the launch"
        self._tell("starting ComfyUI")
        process = ServerProcess(launch, self._log, self._limits, on_end=self._on_end, clock=self._clock)
        self._process = process
        try:
            trouble = await process.until(self._probe.is_up)
        except BaseException:
            self._process = None
            await process.stop()
            raise
        if trouble is None and process.is_alive:
            self._note(answers=True)
            return
        self._process = None
        await process.stop()
        # Another starter was quicker: the port is taken, by the server that we want.
        if not await self._find():
            trouble = trouble or str(process.end)
            raise EngineUnavailable(f"{NOT_RESPONDING}. {trouble}", hint=f"The whole log is in {self._log.path}.")

    def _on_end(self, process: ServerProcess) -> None:
        if self._process is not process or not self._online:
            return  # it never came up, and the start reports that
        self._process = None
        self._online = False
        self._last_end = process.end
        log.warning("the ComfyUI server has died; it is started again when it is needed. %s", self._last_end)

    def _tell(self, stage: str) -> None:
        self._stage = stage
        for listener in tuple(self._listeners):
            listener(stage)


def _log_failure(search: asyncio.Task[None]) -> None:
    """Log the failure once for all callers that wait, and for a start whose callers have gone."""
    if not search.cancelled() and (error := search.exception()) is not None:
        log.warning("no ComfyUI server: %s", error)
