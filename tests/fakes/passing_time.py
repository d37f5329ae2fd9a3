"""A clock that a test moves by minutes, seen by a process that runs all the time: it looks before much has passed."""

from collections.abc import Callable


class PassingTime:
    """Follow *clock*, but by no more than some seconds from one look to the next, so that nobody takes it for sleep."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._now = clock()

    def __call__(self) -> float:
        self._now = min(self._clock(), self._now + 9.0)
        return self._now
