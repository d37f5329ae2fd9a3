"""Provide a running ComfyUI server: one that we start and restart, one that runs already, or a remote one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

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
    Have a ComfyUI server answer.

    *where* is the address of a remote server (http or https, *token* as its bearer token), or how to start one here.
    A server that answers on the port already is used and never stopped: pods start their own. Ours is started on the
    first use, and again on the next use after it has died.
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
        self._clock = clock
        self._limits = limits or Limits()
        self._launch = where if isinstance(where, Launch) else None
        self._log = ServerLog(self._launch.log_path, clock=clock) if self._launch else None
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
        """Return what is known, at once; of a server that is not ours, what it was when it was last asked."""
        if self._online:
            return "online"
        searching = self._search is not None and not self._search.done()
        return "starting" if searching and self._launch else "offline"

    @property
    def generation(self) -> int:
        """Return a number that grows with every server that comes up: what was learned from an older one is void."""
        return self._generation

    @property
    def is_local(self) -> bool:
        """Say whether this is a server of this machine, which is ours to start."""
        return self._launch is not None

    @property
    def is_ours(self) -> bool:
        """Say whether we have started the server that there is now, and may end it."""
        return self._process is not None

    @property
    def last_end(self) -> End | None:
        """How our own server last ended by itself; None if it never did."""
        return self._last_end

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines of our own server's log."""
        return self._log.tail if self._log else ()

    async def ensure(self, on_stage: OnStage = lambda _stage: None) -> None:
        """
        Return when the server answers, having started it if need be; *on_stage* gets what is being waited for.

        Cancelling the caller leaves a start under way to the next one. Raises EngineUnavailable: a server that is not
        ours does not answer (within 10 s), or ours does not start; the message then has the last lines of its log.
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

    def start_in_background(self) -> None:
        """Begin what `ensure` would wait for; a failure is logged, and met again by the next `ensure`."""
        self._searching()

    async def probe(self) -> Status:
        """Ask a server that is not ours whether it is there, start nothing, and return the status."""
        if self._process is None:
            with contextlib.suppress(EngineError):
                await (self._find() if self._launch else self._ask())
        return self.status

    async def stop(self) -> bool:
        """
        End our own server and say whether there was one; the next `ensure` starts another.

        For one that hangs, and to have its memory back. A server that is not ours is left alone.
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
        """End our own server for good, and all connections."""
        self._closed = True
        await self.stop()
        await self._probe.close()

    async def _ours_answers(self) -> bool:
        """Say whether our own server is up; one that no longer listens, or hangs, is seen to its end."""
        process = self._process
        if process is None or not self._online:
            return False
        if await self._probe.listens():
            if await self._answers(process):
                return True
            log.warning("the ComfyUI server listens and has not answered for %g s; it is ended", self._limits.hung_s)
            await self.stop()
        elif not await process.end_within(self._limits.stop_grace_s) and self._process is process:
            await self.stop()
        return False

    async def _answers(self, process: ServerProcess) -> bool:
        """Wait for an answer of a server that may be busy, while it lives, for `hung_s` at most."""
        until = self._clock() + self._limits.hung_s
        while not await self._probe.is_up():
            if self._clock() >= until or await process.end_within(self._limits.poll_s):
                return False
        return True

    def _searching(self) -> asyncio.Task[None]:
        if self._closed:
            raise EngineUnavailable(f"{NOT_RESPONDING}. The worker is ending.")
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
        """Note whether the remote server answers. Raises EngineUnavailable when it does not."""
        try:
            await self._probe.ask()
        except EngineError:
            self._online = False
            raise
        self._note(answers=True)

    async def _find(self) -> bool:
        """Look for a server on our port, say whether one answers. Raises EngineUnavailable: the port is in use."""
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
        """Wait before another start: twice as long after each failure, none after the first."""
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
        # Two starters at once, ours the later: then the port is taken, by what we wanted.
        if not await self._find():
            trouble = trouble or str(process.end)
            raise EngineUnavailable(f"{NOT_RESPONDING}. {trouble}", hint=f"The whole log is in {self._log.path}.")

    def _on_end(self, process: ServerProcess) -> None:
        if self._process is not process or not self._online:
            return  # it never came up: the start reports that
        self._process = None
        self._online = False
        self._last_end = process.end
        log.warning("the ComfyUI server has died and is started again when it is needed. %s", self._last_end)

    def _tell(self, stage: str) -> None:
        self._stage = stage
        for listener in tuple(self._listeners):
            listener(stage)


def _log_failure(search: asyncio.Task[None]) -> None:
    """Log it once for all who wait, and for a start in the background for which nobody waits."""
    if not search.cancelled() and (error := search.exception()) is not None:
        log.warning("no ComfyUI server: %s", error)
