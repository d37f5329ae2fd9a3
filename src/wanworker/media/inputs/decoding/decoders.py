"""Decode callers' pictures in child processes, which are killed if a picture takes too long or its job ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from wanworker.clocks.awake import Silence
from wanworker.errors import DiskFull, EngineUnavailable, InputRefused, InputUnavailable
from wanworker.process import to_the_end
from wanworker.settings import child_environment

#: The child imports Pillow and little else; -P keeps the current folder out of its modules.
CHILD = (sys.executable, "-P", "-m", "wanworker.media.inputs.decoding._child")

_ERRORS = {error.__name__: error for error in (DiskFull, InputRefused, InputUnavailable)}
_MOST_ANSWER_BYTES = 64 * 1024
_POLL_S = 0.005
_SAVE_AGAIN = "Open it in any program and save it again as a plain PNG or JPEG."


class PictureDecoders:
    """
    Decode pictures in at most *most* child processes, each picture in at most *limit_s* seconds of processor time.

    The limit on the clock, *patience_s*, is longer, so that a busy machine refuses no good picture. A child is started
    when there is a picture for it, also serves the next ones, and ends with `close` or with this object. It needs no
    thread and no child watcher of the event loop, because it answers on a socket.
    """

    def __init__(
        self,
        *,
        argv: Sequence[str] = CHILD,
        environment: Callable[[], Mapping[str, str]] = child_environment,
        limit_s: float = 15.0,
        patience_s: float = 60.0,
        most: int = 2,
        timeout: Callable[[float], AbstractAsyncContextManager[object]] = Silence,
    ) -> None:
        """
        Prepare the decoders; no process is started yet.

        *argv* is the program that decodes, and *timeout* the clock that *patience_s* goes by (tests use others).
        """
        self._argv = tuple(argv)
        self._environment = environment
        self._limit_s = limit_s
        self._patience_s = patience_s
        self._timeout = timeout
        self._turns = asyncio.Semaphore(most)
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._at_the_end = weakref.finalize(self, _end_all, self._children)

    async def clean_png(self, source: Path, target: Path, *, max_pixels: int) -> None:
        """
        Write the picture *source* to *target* as an upright RGB PNG; see write_clean_png.

        If it is cancelled or too slow, its process is killed and nothing of *target* is left. Raises InputRefused,
        InputUnavailable, DiskFull, and EngineUnavailable if no process can be started.
        """
        request = {
            "source": str(source.absolute()),
            "target": str(target.absolute()),
            "max_pixels": max_pixels,
            "limit_s": self._limit_s,
        }
        async with self._turns:
            child = self._child()
            try:
                answer = await self._asked(child, request)
            except BaseException:
                await to_the_end(self._end(child))
                target.unlink(missing_ok=True)
                raise
            self._idle.append(child)
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["text"], hint=answer["hint"])

    def close(self) -> None:
        """End the children. A later picture starts new ones."""
        _end_all(self._children)
        self._idle.clear()

    async def _asked(self, child: _Child, request: Mapping[str, Any]) -> dict[str, str]:
        try:
            async with self._timeout(self._patience_s):
                return await child.ask(request)
        except TimeoutError as error:
            raise _too_slow(self._patience_s) from error
        except (OSError, ValueError) as error:
            await self._end(child)
            if child.died_of == signal.SIGPROF:
                raise _too_slow(self._limit_s) from error
            raise InputRefused("the picture made its decoder crash.", hint=_SAVE_AGAIN) from error

    def _child(self) -> _Child:
        """Return an idle child, or a new one if there is none."""
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            self._children.discard(child)
            child.end()
        try:
            child = _Child(self._argv, self._environment())
        except OSError as error:
            raise EngineUnavailable(f"The decoder of pictures cannot be started: {error.strerror}.") from error
        self._children.add(child)
        return child

    async def _end(self, child: _Child) -> None:
        child.kill()
        while child.is_alive:  # noqa: ASYNC110 - no child watcher; it gives back up to 2 GiB
            await asyncio.sleep(_POLL_S)
        self._children.discard(child)
        child.end()


def _too_slow(limit_s: float) -> InputRefused:
    return InputRefused(f"the picture took longer than {limit_s:g} s to decode.", hint=_SAVE_AGAIN)


class _Child:
    """Hold one process that decodes, and the socket to it."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    argv,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=dict(environment),
                )
            except OSError:
                self._ours.close()
                raise

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def died_of(self) -> int | None:
        """Return the number of the signal that ended it, or None."""
        code = self._process.poll()
        return -code if code is not None and code < 0 else None

    async def ask(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Send *request* and return the answer. Raises OSError if the child ends, ValueError for an invalid answer."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._ours, json.dumps(request).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            data = await loop.sock_recv(self._ours, 4096)
            line += data
            if not data or len(line) > _MOST_ANSWER_BYTES:
                raise ConnectionError("the decoder ended, or its answer is too long")
        answer: dict[str, str] = json.loads(line)
        return answer

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._ours.close()


def _end_all(children: set[_Child]) -> None:
    while children:
        children.pop().end()
