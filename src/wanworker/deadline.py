"""The deadline that all stages of a job share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from wanworker.errors import EngineTimeout


class Deadline:
    """Count from now. When *timeout_s* has passed, the stage that runs then is cancelled."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._at = asyncio.get_running_loop().time() + timeout_s

    @property
    def left_s(self) -> float:
        """Return the seconds that are left, 0 after the deadline."""
        return max(0.0, self._at - asyncio.get_running_loop().time())

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count while the body runs: a job that waits for its turn has not begun. Not for use in a scope."""
        began = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self._at += asyncio.get_running_loop().time() - began

    @contextlib.asynccontextmanager
    async def scope(self) -> AsyncIterator[None]:
        """Run the body until the deadline. Raises EngineTimeout with the documented text when it passes."""
        try:
            async with asyncio.timeout_at(self._at) as scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise EngineTimeout(f"Execution did not complete within {self._timeout_s:g}s") from None
