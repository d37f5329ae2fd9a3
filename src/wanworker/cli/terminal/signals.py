"""Cancel a command on Ctrl-C and other signals, then exit with the code that a shell expects."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

#: Signals that end a process at once. (Ctrl-C raises KeyboardInterrupt instead.)
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def exiting_on_signals() -> Iterator[None]:
    """
    Let SIGTERM and SIGHUP raise SystemExit with 128 plus their number, so that the body is cleaned up.

    A signal that the shell had ignored (nohup, a background job) stays ignored.
    """
    before = {number: signal.getsignal(number) for number in _ENDINGS}
    caught = [number for number in _ENDINGS if before[number] is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])


@contextmanager
def holding_signals() -> Iterator[None]:
    """
    Let signal handlers wait until the body has ended, because an exception at the wrong moment would break rich.

    A signal mask would not do, because another thread could get the signal. A signal without a handler acts as usual.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDINGS)}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}
    held: list[int] = []
    for number in before:
        signal.signal(number, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in held:
            before[signal.Signals(caught)](caught, None)


def run_stoppable(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """
    Run *command* and return its exit code, or 128 plus the number of the signal that stopped it.

    The signal arrives as a cancellation, so everything that the command started has ended before this returns. A second
    signal cuts the clean-up short. A signal that the shell had ignored (nohup, a background job) stays ignored.
    """
    import asyncio

    return asyncio.run(_guarded(command))


async def _guarded(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        task.cancel()

    for number in (signal.SIGINT, *_ENDINGS):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)
    try:
        return await command()
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
