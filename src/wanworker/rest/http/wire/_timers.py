"""Run the named timers of one connection, at most one for each name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """Start and stop timers on *loop* by name."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._timers

    def start(self, name: str, wait_s: float, action: Callable[[], None]) -> None:
        """Call *action* in *wait_s* seconds, unless the timer is stopped or started again before."""
        self.stop(name)
        self._timers[name] = self._loop.call_later(wait_s, self._over, name, action)

    def stop(self, *names: str) -> None:
        """Stop the timers of these names, or all timers if no name is given."""
        for name in names or tuple(self._timers):
            timer = self._timers.pop(name, None)
            if timer is not None:
                timer.cancel()

    def _over(self, name: str, action: Callable[[], None]) -> None:
        del self._timers[name]
        action()
