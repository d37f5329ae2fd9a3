"""Start, watch and stop one process of a local ComfyUI server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wanworker.clocks.awake import AwakeClock
from wanworker.comfyui.client.history import says_out_of_memory
from wanworker.comfyui.server._log import ServerLog
from wanworker.comfyui.server.launch import Launch
from wanworker.errors import EngineError
from wanworker.process import Exit, run

#: A shell (a wrapper around the interpreter) reports SIGKILL as 137.
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


#: How many of the last lines may explain a death. Older ones may be about memory that the server has freed since.
_DYING_LINES = 20


@dataclass(frozen=True, slots=True)
class End:
    """
    Say how a server ended, in a sentence with its last lines.

    `out_of_memory` is set if that is the likely cause, and `is_guess` if only a SIGKILL hints at it.
    """

    text: str
    out_of_memory: bool = False
    is_guess: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Say how long to wait, in seconds.

    `start_s` is for a whole start, and `quiet_s` for the next line of its log meanwhile: importing torch from a network
    volume may take silent minutes. `connect_s` and `answer_s` are for one question, together at most 10. `hung_s` is
    for an answer of a server that was up: a node may hold Python's lock that long, but hardly longer. `stop_grace_s` is
    the time between SIGTERM and SIGKILL. `longest_pause_s` is the longest pause before another start after many failed
    ones.
    """

    start_s: float = 900
    quiet_s: float = 300
    poll_s: float = 0.2
    connect_s: float = 4
    answer_s: float = 8
    hung_s: float = 60
    stop_grace_s: float = 3
    longest_pause_s: float = 30


class ServerProcess:
    """
    Run the server of *launch* in its own process group, with its output in *log*.

    The kernel kills the server when this worker dies, however it dies. *on_end* is called when the server ends by
    itself, not when it is stopped. Raises EngineUnavailable if something that it needs is missing.
    """

    def __init__(
        self,
        launch: Launch,
        log: ServerLog,
        limits: Limits,
        *,
        on_end: Callable[[ServerProcess], None],
        clock: AwakeClock,
    ) -> None:
        argv = launch.prepare()
        log.begin(" ".join(argv))
        self._log = log
        self._limits = limits
        self._on_end = on_end
        self._clock = clock
        self._stopped = False
        self._run = asyncio.create_task(
            run(
                argv,
                cwd=launch.root,
                env=launch.environment(),
                on_line=lambda _stream, line: log.add(line),
                stop_grace_s=limits.stop_grace_s,
            )
        )
        self._run.add_done_callback(self._ended)

    @property
    def is_alive(self) -> bool:
        """Say whether the server still runs."""
        return not self._run.done()

    async def until(self, is_up: Callable[[], Awaitable[bool]]) -> str | None:
        """Wait until *is_up* says yes, while the server lives and its log grows. Return what is wrong, or None."""
        limits, started = self._limits, self._clock()
        async with self._clock.looking():
            while not await is_up():
                if await self.end_within(limits.poll_s):
                    return f"It did not start. {self.end}"
                waited_s, quiet_s = self._clock() - started, self._clock() - self._log.moved_at
                if waited_s > limits.start_s:
                    return self._with_last_words(f"It did not answer within {waited_s:.0f} s of its start.")
                if quiet_s > limits.quiet_s:
                    return self._with_last_words(f"It hangs in its start: {quiet_s:.0f} s without a line.")
        return None

    async def end_within(self, seconds: float) -> bool:
        """Wait at most *seconds* for the server's end, and say whether it has ended."""
        await asyncio.wait({self._run}, timeout=seconds)
        return self._run.done()

    async def stop(self) -> None:
        """End the server and all its children: SIGTERM, the grace time, SIGKILL. Return when nothing is left."""
        self._stopped = True
        self._run.cancel()
        await asyncio.wait({self._run})

    @property
    def end(self) -> End:
        """Return how the server ended and what it wrote last. Call it only after the end."""
        says_so = says_out_of_memory("\n".join(self._log.tail[-_DYING_LINES:]))
        was_killed = self._was_killed()
        return End(self._with_last_words(self._how_it_ended()), was_killed or says_so, was_killed and not says_so)

    def _with_last_words(self, sentence: str) -> str:
        words = self._log.last_words()
        return f"{sentence} Its last lines: {words}" if words else sentence

    def _how_it_ended(self) -> str:
        if self._run.cancelled():
            return "It was stopped."
        error = self._run.exception()
        return str(error) if error is not None else _how(self._run.result())

    def _was_killed(self) -> bool:
        """Say whether the server got SIGKILL. If nobody sent it by hand, the kernel did because memory ran out."""
        return not self._run.cancelled() and self._run.exception() is None and self._run.result().code in _KILLED

    def _ended(self, finished: asyncio.Task[Exit]) -> None:
        if not finished.cancelled() and not isinstance(finished.exception(), EngineError | None):
            self._log.add(f"--- {finished.exception()!r}")
        self._log.close()
        if not self._stopped and not finished.cancelled():
            self._on_end(self)


def _how(ended: Exit) -> str:
    if ended.code in _KILLED:
        return "It was killed (SIGKILL): by hand, or by the system because the machine's memory ran out."
    if ended.code < 0:
        return f"It was ended by {signal.Signals(-ended.code).name}."
    return f"It ended with exit code {ended.code}."
