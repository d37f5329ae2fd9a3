"""Count a server's connections, and choose one to close when there are too many."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from wanworker.rest.http.limits import Limits


class Evictable(Protocol):
    """Define what OpenConnections needs of a connection."""

    def evict(self) -> None:
        """Close it, because it waits and another connection needs its place."""


class OpenConnections:
    """
    Hold the open connections of one server. Those without a whole request are waiting, and can be evicted.

    So a flood of half requests evicts itself. A client that sends a whole request stops waiting before enough others
    have come.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._members: set[Evictable] = set()
        self._waiting: OrderedDict[Evictable, None] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Say whether so many connections are open that a new one may only ask whether the server is alive."""
        return len(self._members) > self._limits.connections

    def join(self, member: Evictable) -> bool:
        """Add a new connection as a waiting one. Return False if there is no place at all."""
        if len(self._members) >= self._limits.connections and self._waiting:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.evict()
        if len(self._members) >= self._limits.connections + self._limits.spare_connections:
            return False
        self._members.add(member)
        self._waiting[member] = None
        return True

    def waits(self, member: Evictable) -> None:
        """Note that a connection has no request, and may be evicted from now on."""
        if member in self._members:
            self._waiting[member] = None

    def works(self, member: Evictable) -> None:
        """Note that a connection has sent a whole head."""
        self._waiting.pop(member, None)

    def leave(self, member: Evictable) -> None:
        """Forget a connection that has ended."""
        self._members.discard(member)
        self._waiting.pop(member, None)
