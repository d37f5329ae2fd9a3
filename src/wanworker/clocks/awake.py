"""
Judge how long others have been silent, without the time in which this process itself did not run.

A worker may be frozen for minutes (FlashBoot, SIGSTOP, a laptop's lid), or get no turn. Nobody can be heard then, so
that time is nobody's silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

#: Between two looks at the clock.
_LOOK_S = 1.0

#: If more than this has passed between two looks, this process did not run. A busy machine skips some looks.
LONGEST_GAP_S = 10.0


class AwakeClock:
    """
    Tell the seconds in which this process ran. Each call is a look at *clock*, and `looking` adds others.

    A time of more than *longest_gap_s* between two looks does not count.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        longest_gap_s: float = LONGEST_GAP_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock, self._longest_gap_s, self._sleep = clock, longest_gap_s, sleep
        self._looked_at = clock()
        self._awake_s = 0.0

    def __call__(self) -> float:
        """Return the seconds that count so far."""
        now = self._clock()
        gap_s, self._looked_at = now - self._looked_at, now
        if gap_s <= self._longest_gap_s:
            self._awake_s += gap_s
        return self._awake_s

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look at the clock again and again while the block waits for something, so that its time counts."""
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()

    async def _look(self) -> None:
        while True:
            await self._sleep(_LOOK_S)
            self()


class Silence:
    """
    Run a block until nothing was `heard` for *limit_s* seconds in which this process ran. Then it raises TimeoutError.

    Where nothing calls `heard`, that is the limit of the whole block.
    """

    def __init__(
        self,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._limit_s, self._sleep = limit_s, sleep
        self._now = AwakeClock(clock)
        self._heard_at = 0.0
        self._timeout = asyncio.timeout(None)

    def heard(self) -> None:
        """Begin to wait anew."""
        self._heard_at = self._now()

    def expired(self) -> bool:
        """Say whether the block was ended."""
        return self._timeout.expired()

    async def __aenter__(self) -> Self:
        """Begin to wait."""
        await self._timeout.__aenter__()
        self.heard()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait no more. Raises TimeoutError if the block was ended."""
        self._watching.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    async def _watch(self) -> None:
        while (left_s := self._heard_at + self._limit_s - self._now()) > 0:
            await self._sleep(min(left_s, _LOOK_S))
        self._timeout.reschedule(asyncio.get_running_loop().time())
