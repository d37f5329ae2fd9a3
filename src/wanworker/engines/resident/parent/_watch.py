"""Wait for a child's work until it is done, or until the watchdog says that the child hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from wanworker.engines.resident.parent._process import ChildProcess
from wanworker.engines.resident.parent._watchdog import Hung, Watchdog

T = TypeVar("T")

#: Between two pings. A dozen of them fit into the shortest silence that ends a job.
_PING_S = 5.0

Beat = Callable[[], Awaitable[float]]


async def beat(
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> float:
    """
    Wait from one ping to the next, and return the seconds that may be counted.

    A worker that was frozen (FlashBoot) or had no turn for minutes must not blame the child, which stood still with it:
    what is longer than two pings does not count.
    """
    before = clock()
    await sleep(_PING_S)
    return min(clock() - before, 2 * _PING_S)


async def watched(link: ChildProcess, watchdog: Watchdog, beat: Beat, work: Coroutine[Any, Any, T]) -> T | Hung:
    """Return what *work* returns, or Hung once *watchdog* has seen enough of the child; on any end nothing goes on."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_until_hung(link, watchdog, beat))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else watching.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _until_hung(link: ChildProcess, watchdog: Watchdog, beat: Beat) -> Hung:
    while True:
        heard = link.heard
        link.ping()
        seconds = await beat()
        if hung := watchdog.passed(seconds, heard=link.heard != heard):
            return hung
