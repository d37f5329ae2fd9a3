"""Ask a program something from blocking code, with a time limit that always holds."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wanworker.errors import EngineUnavailable
from wanworker.process._program import TAIL_LINES, Lines
from wanworker.process._tree import MARK_VARIABLE, members

_LOOK_S = 0.05
_POLL_S = 0.01
#: SIGKILL works at once, except on a process inside a driver call, which cannot be waited for.
_REAP_S = 1.0
_CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold how a program ended: `code` (-N if signal N killed it), and the last lines of both outputs."""

    code: int
    stdout: tuple[str, ...] = ()
    stderr: tuple[str, ...] = ()


def ask(argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float, cwd: Path | None = None) -> Answer:
    """
    Run *argv*, and return how it ended with its last lines. Blocks for at most *timeout_s* and a moment.

    All processes that it started are gone then. (`subprocess.run` would kill only a wrapper script, and then wait
    without a limit for its interpreter, which holds the pipes.) Raises TimeoutError, and EngineUnavailable if the
    program cannot be started.
    """
    mark = uuid.uuid4().hex
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**env, MARK_VARIABLE: mark},
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
    except OSError as error:
        raise EngineUnavailable(f"{argv[0]}: {error.strerror}") from error
    assert process.stdout is not None, "a pipe"
    assert process.stderr is not None, "a pipe"
    try:
        until = time.monotonic() + timeout_s
        out, err = _tails(process, process.stdout, process.stderr, until)
        code = process.wait(max(0.0, until - time.monotonic()))
        return Answer(code, tuple(out), tuple(err))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise TimeoutError(f"no answer within {timeout_s:g} s") from error
    finally:
        _end(process, mark)
        process.stdout.close()
        process.stderr.close()


def _tails(
    process: subprocess.Popen[bytes], stdout: IO[bytes], stderr: IO[bytes], until: float
) -> tuple[deque[str], deque[str]]:
    """Read both outputs to their ends, or to the end of the program if something else holds them open."""
    tails: tuple[deque[str], deque[str]] = (deque(maxlen=TAIL_LINES), deque(maxlen=TAIL_LINES))
    with selectors.DefaultSelector() as selector:
        for stream, tail in zip((stdout, stderr), tails, strict=True):
            selector.register(stream, selectors.EVENT_READ, (Lines(), tail))
        while selector.get_map():
            has_ended = process.poll() is not None
            ready = selector.select(_LOOK_S)
            if has_ended and not ready:
                break
            if time.monotonic() > until:
                raise TimeoutError
            for key, _ in ready:
                _read(selector, key)
    return tails


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    lines, tail = key.data
    data = os.read(key.fd, _CHUNK_BYTES)
    tail.extend(lines.feed(data) if data else lines.end())
    if not data:
        selector.unregister(key.fileobj)


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    give_up = time.monotonic() + _REAP_S
    while (left := members(process.pid, mark)) and time.monotonic() < give_up:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_S)
