"""Count a server's connections, and find who has to go when there are too many."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from wanworker.rest.http.limits import Limits


class Member(Protocol):
    """A connection, as the crowd sees it."""

    def evict(self) -> None:
        """Close it: it waits, and somebody else needs its place."""


class Crowd:
    """
    The open connections of one server; those without a whole request are waiting, and can be evicted.

    A flood of half requests so evicts itself: whoever sends a whole one is no longer waiting by the time that enough
    others have come.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._members: set[Member] = set()
        self._waiting: OrderedDict[Member, None] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Say whether more connections are open than may do more than ask whether the server is alive."""
        return len(self._members) > self._limits.connections

    def join(self, member: Member) -> bool:
        """Take a new connection in, as one that waits; False if there is no place at all."""
        if len(self._members) >= self._limits.connections and self._waiting:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.evict()
        if len(self._members) >= self._limits.connections + self._limits.spare_connections:
            return False
        self._members.add(member)
        self._waiting[member] = None
        return True

    def waits(self, member: Member) -> None:
        """Note that a connection has no request, and could be missed from now on."""
        if member in self._members:
            self._waiting[member] = None

    def works(self, member: Member) -> None:
        """Note that a connection has sent a whole head."""
        self._waiting.pop(member, None)

    def leave(self, member: Member) -> None:
        """Forget a connection that has ended."""
        self._members.discard(member)
        self._waiting.pop(member, None)
