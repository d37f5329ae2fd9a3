"""The process of one resident child, with its two pipes and its last output."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wanworker.engines.resident import protocol
from wanworker.process import started

log = logging.getLogger(__name__)

_CHUNK_BYTES = 65_536
_LINE_BYTES = 1_000_000
_TAIL_LINES = 30


@dataclass(frozen=True, slots=True)
class Died:
    """The child is gone: `returncode` as asyncio gives it (negative: the signal), and its last lines on stderr."""

    returncode: int
    last_words: str


class ChildProcess:
    """Speak the protocol with one child; the child's end arrives as an event like any other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._events: asyncio.Queue[protocol.Event | Died] = asyncio.Queue()
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._pumps = [asyncio.create_task(self._pump_events()), asyncio.create_task(self._pump_stderr())]

    @classmethod
    async def start(cls, argv: Sequence[str], environment: Mapping[str, str]) -> ChildProcess:
        """Start the child in a process group of its own. Raises OSError when the program cannot be started."""
        starting = asyncio.create_subprocess_exec(
            *argv,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return cls(await started(starting, _killed))

    @property
    def pid(self) -> int:
        """The child's process id, which is its process group too."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """The process has not ended yet."""
        return self._process.returncode is None

    async def send(self, command: protocol.Command) -> None:
        """Send one command; a child that is gone is not an error here but the next event."""
        stdin = self._process.stdin
        if stdin is None:
            return
        with contextlib.suppress(ConnectionError):
            stdin.write(protocol.encode(command))
            await stdin.drain()

    async def event(self) -> protocol.Event | Died:
        """Wait for the next event. After the child's end it is Died, every time."""
        event = await self._events.get()
        if isinstance(event, Died):
            self._events.put_nowait(event)
        return event

    async def end(self, grace_s: float) -> None:
        """End the child and whatever it started: first the end of its stream and SIGTERM, then SIGKILL."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
        finally:
            self._signal(signal.SIGKILL)
            await asyncio.shield(self._reaped())

    async def _reaped(self) -> None:
        returncode = await self._process.wait()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        # A loop that ends cancels the pumps together with everybody who waits for their last event.
        self._events.put_nowait(Died(returncode, "\n".join(self._tail)))

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _pump_events(self) -> None:
        if self._process.stdout is not None:
            await _each_line(self._process.stdout, self._take_line)
        returncode = await self._process.wait()
        # A grandchild may hold stderr open: what has come within a second is enough.
        await asyncio.wait({self._pumps[1]}, timeout=1)
        self._events.put_nowait(Died(returncode, "\n".join(self._tail)))

    async def _pump_stderr(self) -> None:
        if self._process.stderr is not None:
            await _each_line(self._process.stderr, self._take_words)

    def _take_line(self, line: bytes) -> None:
        try:
            self._events.put_nowait(protocol.decode_event(line))
        except ValueError:
            log.warning("the render process wrote something that is no event: %.200r", line)

    def _take_words(self, line: bytes) -> None:
        words = line.decode(errors="replace").rstrip()
        if words:
            self._tail.append(words[:500])
            log.debug("render process %d: %s", self.pid, words)


async def _each_line(stream: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
    """Feed every line to *take*; a line without end is cut, so that a child gone mad fills no memory."""
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if line:
                take(line)
        if len(rest) > _LINE_BYTES:
            take(rest)
            rest = b""
    if rest:
        take(rest)


async def _killed(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
