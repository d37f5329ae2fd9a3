"""Choose the endpoint of a job: by weight and load, and away from those that failed a moment ago."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence

from yarl import URL

from wanworker.settings import WeightedEndpoint

#: How long an endpoint that failed gets no job that another one can take.
_COOLING_S = 60.0


class Fleet:
    """Hold the endpoints, how many jobs of ours each has, and which failed lately. For one event loop."""

    def __init__(self, endpoints: Sequence[WeightedEndpoint], *, clock: Callable[[], float]) -> None:
        self.names = tuple(endpoint.name for endpoint in endpoints)
        self._weights = {endpoint.name: endpoint.weight for endpoint in endpoints}
        self._jobs = dict.fromkeys(self.names, 0)
        self._failed_at: dict[str, float] = {}
        self._clock = clock

    def choose(self, tried: Collection[str]) -> str:
        """Return the endpoint for the next try of a job that was at *tried* before: that with most room by weight."""
        return min(
            self.names,
            key=lambda name: (name in tried, self._is_cooling(name), (self._jobs[name] + 1) / self._weights[name]),
        )

    def has_other(self, tried: Collection[str]) -> bool:
        """Say whether there is an endpoint outside *tried*."""
        return any(name not in tried for name in self.names)

    def has_other_server(self, name: str, tried: Collection[str]) -> bool:
        """Say whether an endpoint outside *tried* can be reached where that of *name* cannot: RunPod's share one."""
        return any(other not in tried and _server(other) != _server(name) for other in self.names)

    @contextlib.contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Count a job of the endpoint *name* while the block runs. It may be one that the settings name no more."""
        self._jobs[name] = self._jobs.get(name, 0) + 1
        try:
            yield
        finally:
            self._jobs[name] -= 1

    def note_failure(self, name: str) -> None:
        """Note that the endpoint failed a job that was not to blame."""
        self._failed_at[name] = self._clock()

    def _is_cooling(self, name: str) -> bool:
        failed_at = self._failed_at.get(name)
        return failed_at is not None and self._clock() - failed_at < _COOLING_S


def _server(name: str) -> str:
    """Return the scheme, host and port of an address; empty for the id of an endpoint at RunPod."""
    return str(URL(name).origin()) if "://" in name else ""
