"""
The resident child, `python -m wanworker.engines.resident.child`: commands on stdin, events on stdout.

It belongs to its parent: the end of stdin ends it at once, in the middle of a job too, and so does the parent's death.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TYPE_CHECKING

from wanworker.engines.resident import protocol
from wanworker.engines.resident.child._failures import StoppedByParent, failure_of, is_out_of_memory, is_sticky
from wanworker.engines.resident.protocol import (
    Failed,
    Load,
    Loading,
    Model,
    Ping,
    Pong,
    Ready,
    Render,
    Stage,
    Step,
    Stop,
    Stopped,
)

if TYPE_CHECKING:
    from wanworker.engines.resident.child._loading import Loaded
    from wanworker.engines.resident.child.weights.parts import Kept

#: Linux's prctl(2) PR_SET_PDEATHSIG: be killed when the parent dies, even while stdin is held open by someone else.
_PR_SET_PDEATHSIG = 1

#: What the first job leaves on the card for good: the libraries' workspaces.
_WORKSPACE_BYTES = 256 * 2**20


class Inbox:
    """Read commands in a thread of their own, so that `stop` arrives and `ping` is answered while a job runs."""

    def __init__(self, lines: Iterable[bytes], *, at_ping: Callable[[], None], at_end: Callable[[], None]) -> None:
        self._lines = lines
        self._at_ping, self._at_end = at_ping, at_end
        self._commands: queue.SimpleQueue[Load | Render] = queue.SimpleQueue()
        self._stopped: set[int] = set()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def __iter__(self) -> Iterator[Load | Render]:
        """Give the commands that start something, for ever."""
        while True:
            yield self._commands.get()

    def must_stop(self, job: int) -> bool:
        """Say whether the parent wants this job stopped."""
        return job in self._stopped

    def _read(self) -> None:
        try:
            for line in self._lines:
                command = protocol.decode_command(line)
                if isinstance(command, Ping):
                    self._at_ping()
                elif isinstance(command, Stop):
                    self._stopped.add(command.job)
                else:
                    self._commands.put(command)
        finally:  # a parent that cannot be understood is as good as gone
            self._at_end()


class Outbox:
    """Write events, from any thread; a parent that is gone is no reason to fail, the inbox ends the process then."""

    def __init__(self, channel: IO[bytes]) -> None:
        self._channel = channel
        self._turn = threading.Lock()

    def send(self, event: protocol.Event) -> None:
        """Send one event at once."""
        with self._turn, contextlib.suppress(BrokenPipeError):
            self._channel.write(protocol.encode(event))
            self._channel.flush()


class Reporter:
    """What a running job may say and ask: its stage, its steps, and whether to stop."""

    def __init__(self, job: int, inbox: Inbox, outbox: Outbox) -> None:
        self._job, self._inbox, self._outbox = job, inbox, outbox

    def stage(self, name: str) -> None:
        """Say which stage begins."""
        self._outbox.send(Stage(self._job, name))

    def step(self, stage: str, step: int, steps: int) -> None:
        """Say that *step* of *steps* of the stage is done."""
        self._outbox.send(Step(self._job, stage, step, steps))

    def must_stop(self) -> bool:
        """Ask whether the job was cancelled."""
        return self._inbox.must_stop(self._job)


def main() -> None:
    """Serve until the parent goes away. Torch comes last: until it is there, and while, an order to end is obeyed."""
    outbox = Outbox(_private_channel())
    _die_with_parent()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    inbox = Inbox(sys.stdin.buffer, at_ping=lambda: outbox.send(Pong()), at_end=lambda: os._exit(0))
    serve(inbox, outbox)


def serve(inbox: Inbox, outbox: Outbox) -> None:
    """Take commands for ever: a load, then jobs. A load that fails leaves nothing to serve with."""
    loaded: Loaded | None = None
    for command in inbox:
        if isinstance(command, Load):
            kept = loaded.let_go() if loaded is not None else None
            loaded = None  # before the next ones: both at once may not fit
            gc.collect()  # pipelines and their parts refer to one another
            try:
                loaded = loader()(command.model, lambda done, size: outbox.send(Loading(done, size)), kept)
            except Exception as error:  # noqa: BLE001 - this process's door: the parent gets every failure as an event
                outbox.send(_told(error, 0, usable=False))
                continue
            outbox.send(Ready())
        elif loaded is None:
            outbox.send(Failed(command.job, "ENGINE_FAILED", "No model is loaded.", usable=False))
        else:
            outbox.send(_outcome(loaded, command, Reporter(command.job, inbox, outbox)))


@functools.cache
def loader() -> Callable[[Model, Callable[[int, int], None], Kept | None], Loaded]:
    """
    Import torch and all that stands on it, and return what loads a model.

    Thousands of modules make objects that stay. Looking through them again and again for garbage is a quarter of the
    whole start, so nothing is collected meanwhile, and what is there then is never looked through again.
    """
    gc.disable()
    try:
        from wanworker.engines.resident.child import _job, _loading  # noqa: F401 - the first job finds all of it there
    finally:
        gc.enable()
    gc.freeze()
    return _loading.load


def _outcome(loaded: Loaded, request: Render, reporter: Reporter) -> protocol.Event:
    from wanworker.engines.resident.child._job import render

    try:
        return render(loaded, request, reporter)
    except StoppedByParent:
        return Stopped(request.job)
    except Exception as error:  # noqa: BLE001 - this process's door, as above
        failed = _told(error, request.job, usable=not is_sticky(error))
        if not is_out_of_memory(error):
            return failed
    # Only here, where the exception and its frames with their tensors are gone, can memory be given back.
    is_free = loaded.free() <= _WORKSPACE_BYTES
    return Failed(failed.job, failed.code, failed.message, failed.hint, usable=is_free)


def _told(error: Exception, job: int, *, usable: bool) -> Failed:
    traceback.print_exception(error)
    failed = failure_of(error, job)
    return Failed(job, failed.code, failed.message, failed.hint, usable)


def _private_channel() -> IO[bytes]:
    """Take stdout for events alone: whatever a library prints goes to stderr from here on."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return channel


def _die_with_parent() -> None:
    if sys.platform.startswith("linux"):  # elsewhere the end of stdin has to do
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
