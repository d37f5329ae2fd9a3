"""Run a program, read its output live, and end all of its processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanworker.errors import EngineUnavailable
from wanworker.process._start import started, to_the_end
from wanworker.process._tree import MARK_VARIABLE, end_all

#: Longer lines are cut, so that a program without line ends does not fill our memory.
MAX_LINE_BYTES = 16 * 1024

_BREAK = re.compile(rb"[\r\n]")


class Lines:
    r"""
    Cut bytes into lines at \r and \n.

    A progress bar is rewritten in place: its text follows a \r, and only the next \r ends it, seconds or minutes later.
    Such text is therefore returned as soon as it arrives, and not again when its end arrives.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._given = b""
        self._after_return = False

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that *data* completes. Empty ones are left out, long ones are cut to MAX_LINE_BYTES."""
        buffer = self._pending + data
        *ended, rest = _BREAK.split(buffer)
        if ended:
            self._after_return = buffer[-len(rest) - 1 :][:1] == b"\r"
            if ended[0] == self._given:
                del ended[0]
            self._given = b""
        self._pending = rest[:MAX_LINE_BYTES]
        if self._after_return and self._pending and self._pending != self._given:
            self._given = self._pending
            ended.append(self._pending)
        return _texts(ended)

    def end(self) -> list[str]:
        """Return the last line if it has no end."""
        return _texts([self._pending] if self._pending != self._given else [])


def _texts(lines: Sequence[bytes]) -> list[str]:
    texts = (line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip() for line in lines)
    return [text for text in texts if text]


OnLine = Callable[[str, str], None]

TAIL_LINES = 80
#: How long, in seconds, a child of the program may hold the pipes open after the program's end.
_DRAIN_S = 1.0
#: A dead program is collected at once, save when the kernel will not let go of it (see _tree.py).
_REAP_S = 5.0

_BAR = re.compile(r"\d%\|")

#: Starts the program below a process of its own, which ends all of its descendants with it, and when this worker dies.
#: A `preexec_fn` would have to run between fork and exec of this process, which forbids the fast vfork and can deadlock
#: in a process with threads; this takes 20 ms once a run.
_GUARDIAN = Path(__file__).with_name("_guardian.py")


@dataclass(frozen=True, slots=True)
class Exit:
    """Hold how a program ended: `code` (-N if signal N killed it), and its last lines without progress bars."""

    code: int
    tail: tuple[str, ...] = ()
    stderr_tail: tuple[str, ...] = ()


async def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_line: OnLine,
    stop_grace_s: float = 2.0,
    death_signal: signal.Signals = signal.SIGKILL,
) -> Exit:
    """
    Run *argv* in its own session and return how it ended.

    *on_line* gets each line of "stdout" and "stderr" as it is written; an exception of it ends the run. On any error
    and on cancellation, every process of the run gets SIGTERM, after *stop_grace_s* seconds SIGKILL, and is gone before
    the error is raised. Processes that the program leaves behind when it ends by itself are ended too. *death_signal*
    is sent to the program if this process dies (Linux only). Raises EngineUnavailable if it cannot be started.
    """
    _check_program(argv, cwd, env)
    mark = uuid.uuid4().hex
    watch = _Watch(on_line)
    try:
        starting = asyncio.get_running_loop().subprocess_exec(
            lambda: watch,
            *_guarded(argv, death_signal, stop_grace_s),
            cwd=cwd,
            env={**env, MARK_VARIABLE: mark},
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        transport, _ = await started(starting, lambda start: _stop(start[0], watch, mark, stop_grace_s))
    except (OSError, ValueError) as error:
        raise EngineUnavailable(f"{argv[0]} cannot be started in {cwd}: {error}.") from error
    try:
        await watch.ended.wait()
        if watch.error is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watch.drained.wait(), _DRAIN_S)
        if watch.error is not None:
            raise watch.error
        return Exit(_code_of(transport), tuple(watch.tail), tuple(watch.stderr_tail))
    finally:
        await to_the_end(_stop(transport, watch, mark, stop_grace_s))


def _code_of(transport: asyncio.SubprocessTransport) -> int:
    code = transport.get_returncode()
    assert code is not None, "called before the program ended"
    return code


def _check_program(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
    """Raise EngineUnavailable unless the program, a path or a name on PATH, is there and may be run with *argv*."""
    program = argv[0]
    if any("\0" in argument for argument in argv):  # uvloop would cut the argument there
        raise EngineUnavailable(f"{program} cannot be started: an argument holds a zero byte.")
    place = str(cwd / program) if os.sep in program else program
    if shutil.which(place, path=env.get("PATH", os.defpath)) is None:
        what = "is not executable" if Path(place).exists() else "was not found"
        raise EngineUnavailable(f"The program {program} {what}.")


def _guarded(argv: Sequence[str], death_signal: signal.Signals, grace_s: float) -> Sequence[str]:
    if sys.platform != "linux":
        return argv
    ours = (sys.executable, "-I", "-S", str(_GUARDIAN), str(os.getpid()), str(int(death_signal)), str(grace_s))
    return [*ours, *argv]


class _Watch(asyncio.SubprocessProtocol):
    """
    Read the program's output and note its end.

    The end is noted when the program ends, not when its pipes end, because something that it left running may hold
    those.
    """

    def __init__(self, on_line: OnLine) -> None:
        self.ended = asyncio.Event()  # the program, or reading its output
        self.reaped = asyncio.Event()
        self.drained = asyncio.Event()
        self.error: BaseException | None = None
        self.closed = False
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.stderr_tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self._open = {1: Lines(), 2: Lines()}

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self._give(fd, self._open[fd].feed(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._give(fd, self._open.pop(fd).end())
        if not self._open:
            self.drained.set()

    def process_exited(self) -> None:
        self.reaped.set()
        self.ended.set()

    def _give(self, fd: int, lines: Iterable[str]) -> None:
        if self.closed:
            return
        try:
            for line in lines:
                self._keep(fd, line)
                self._on_line("stderr" if fd == 2 else "stdout", line)
        except BaseException as error:  # noqa: BLE001 - run() raises it; raised here, asyncio would only log it
            self.error = self.error or error
            self.ended.set()

    def _keep(self, fd: int, line: str) -> None:
        if _BAR.search(line):
            return
        self.tail.append(line)
        if fd == 2:
            self.stderr_tail.append(line)


async def _stop(transport: asyncio.SubprocessTransport, watch: _Watch, mark: str, grace_s: float) -> None:
    await end_all(transport.get_pid(), mark, grace_s=grace_s)
    watch.closed = True
    transport.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(watch.reaped.wait(), _REAP_S)
