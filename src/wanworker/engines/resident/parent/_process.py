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
from typing import cast

from wanworker.clocks.awake import Silence
from wanworker.engines.resident import protocol
from wanworker.process import started

log = logging.getLogger(__name__)

_CHUNK_BYTES = 65_536
_LINE_BYTES = 1_000_000
_TAIL_LINES = 30
#: What has come through the pipes this long after the end is enough: something that the child left may hold them open.
_DRAIN_S = 1.0
#: SIGKILL works at once, save on a process inside a driver call; then the worker goes on without its end.
_REAP_S = 30.0
#: Bytes that may wait for a child that does not read, before it is pinged no more.
_UNREAD_BYTES = 4096
#: Lines on the event channel that are no events and are told; the others are counted.
_TOLD_LINES = 5


@dataclass(frozen=True, slots=True)
class Died:
    """The child is gone: `returncode` as asyncio gives it (negative: the signal), and its last lines on stderr."""

    returncode: int
    last_words: str


class _Streams(asyncio.subprocess.SubprocessStreamProtocol):
    """Asyncio's own streams, with the end of the process itself: its `wait` waits for the ends of all pipes too."""

    def __init__(self) -> None:
        super().__init__(limit=_CHUNK_BYTES, loop=asyncio.get_running_loop())
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast("asyncio.SubprocessTransport", transport)
        super().connection_made(transport)

    def process_exited(self) -> None:
        _signal(self._process.get_pid(), signal.SIGKILL)  # what it has started; later the number may be another group's
        self.ended.set()
        super().process_exited()


class ChildProcess:
    """
    Speak the protocol with one child; the child's end arrives as an event like any other.

    `heard` grows with each event of the child, pongs among them.
    """

    def __init__(self, transport: asyncio.SubprocessTransport, streams: _Streams) -> None:
        self._transport, self._streams = transport, streams
        self._process = asyncio.subprocess.Process(transport, streams, asyncio.get_running_loop())
        self.heard = 0
        self._unanswered = 0
        self._foreign_lines = 0
        self._answered = asyncio.Event()
        self._events: asyncio.Queue[protocol.Event | Died] = asyncio.Queue()
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        pumps = (self._pump_events(), self._pump_stderr(), self._see_to_its_end())
        self._pumps = [asyncio.create_task(pump) for pump in pumps]

    @classmethod
    async def start(cls, argv: Sequence[str], environment: Mapping[str, str]) -> ChildProcess:
        """Start the child in a process group of its own. Raises OSError when the program cannot be started."""
        starting = asyncio.get_running_loop().subprocess_exec(
            _Streams,
            *argv,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return cls(*await started(starting, _killed))

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

    def ping(self) -> None:
        """Ask for a sign of life; not of a child that is gone, or that has not read the questions before."""
        stdin = self._process.stdin
        if stdin is None or not self.is_alive or stdin.is_closing():
            return
        if stdin.transport.get_write_buffer_size() < _UNREAD_BYTES:
            stdin.write(protocol.encode(protocol.Ping()))
            self._unanswered += 1

    async def answers(self, within_s: float) -> bool:
        """Say whether the child answers a ping in time."""
        self._answered.clear()
        self.ping()
        with contextlib.suppress(TimeoutError):
            async with Silence(within_s):
                await self._answered.wait()
        return self._answered.is_set() and self.is_alive

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
                await asyncio.wait_for(self._streams.ended.wait(), grace_s)
        finally:
            self._signal(signal.SIGKILL)
            await asyncio.shield(self._reaped())

    async def _reaped(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._streams.ended.wait(), _REAP_S)
        if self.is_alive:
            log.error("render process %d does not end, not even by SIGKILL; a driver may hold it", self.pid)
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        # A loop that ends cancels the pumps together with everybody who waits for their last event.
        self._note_death()
        self._transport.close()  # something that it left behind may hold the other ends

    def _signal(self, number: signal.Signals) -> None:
        if not self._streams.ended.is_set():
            _signal(self.pid, number)

    def _note_death(self) -> None:
        returncode = -signal.SIGKILL if self._process.returncode is None else self._process.returncode
        self._events.put_nowait(Died(returncode, "\n".join(self._tail)))
        self._answered.set()  # nobody needs to wait for an answer any more

    async def _see_to_its_end(self) -> None:
        await self._streams.ended.wait()
        await asyncio.wait(self._pumps[:2], timeout=_DRAIN_S)
        self._note_death()

    async def _pump_events(self) -> None:
        if self._process.stdout is not None:
            await _each_line(self._process.stdout, self._take_line)

    async def _pump_stderr(self) -> None:
        if self._process.stderr is not None:
            await _each_line(self._process.stderr, self._take_words)

    def _take_line(self, line: bytes) -> None:
        try:
            event = protocol.decode_event(line)
        except ValueError:
            self._foreign_lines += 1
            if self._foreign_lines <= _TOLD_LINES:
                log.warning("the render process wrote something that is no event: %.200r", line)
            return
        self.heard += 1
        if isinstance(event, protocol.Pong):
            self._unanswered -= 1
            if not self._unanswered:  # an answer to an earlier ping may have come late
                self._answered.set()
        else:
            self._events.put_nowait(event)

    def _take_words(self, line: bytes) -> None:
        words = line.decode(errors="replace").rstrip()
        if words:
            self._tail.append(words[:500])
            log.debug("render process %d: %s", self.pid, words)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


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


async def _killed(child: tuple[asyncio.SubprocessTransport, _Streams]) -> None:
    transport, streams = child
    with contextlib.suppress(ProcessLookupError):
        transport.kill()
    await streams.ended.wait()
    transport.close()
