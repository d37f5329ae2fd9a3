"""Cancel a command on Ctrl-C and other signals, then exit with the code that a shell expects."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_stoppable(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """
    Run *command* and return its exit code, or 128 and the number of the signal that stopped it.

    The signal arrives as a cancellation, so whatever the command started has ended before this returns; a second one
    cuts the clean-up short. A signal that the shell had ignored (nohup, a background job) stays ignored.
    """
    return asyncio.run(_guarded(command))


async def _guarded(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        task.cancel()

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)
    try:
        return await command()
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]
