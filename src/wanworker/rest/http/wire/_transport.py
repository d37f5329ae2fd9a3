"""Wrap the transport that uvicorn sees, so that closing and pausing it goes through the protocol."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Owner(Protocol):
    """Define the protocol that owns a transport."""

    def hang_up(self) -> None:
        """Close the connection in a way that lets the client read what was sent."""

    def reading_resumed(self) -> None:
        """Parse the received bytes that have waited."""


class OwnedTransport:
    """
    Pass every call to *transport*, except closing and reading, which its owner decides about.

    uvicorn resumes reading whenever an application asks for a body, even while other requests wait in line. While
    received bytes wait (`hold`), this transport keeps reading paused.
    """

    def __init__(self, transport: asyncio.Transport, owner: Owner) -> None:
        self.real = transport
        self.is_hung_up = False
        self.is_paused = False
        self._owner = owner
        self._is_holding = False
        self._is_stopped = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def close(self) -> None:
        """Let the owner close it."""
        if not self.is_closing():
            self._owner.hang_up()

    def is_closing(self) -> bool:
        """Say whether nothing more may be sent."""
        return self.is_hung_up or self.real.is_closing()

    def pause_reading(self) -> None:
        """Pause reading, as uvicorn asks."""
        self.is_paused = True
        self._apply()

    def resume_reading(self) -> None:
        """Resume reading, as uvicorn asks, but only once nothing is held any more."""
        self.is_paused = False
        self._apply()
        self._owner.reading_resumed()

    def hold(self, is_holding: bool) -> None:
        """Set whether received bytes wait for their turn."""
        self._is_holding = is_holding
        self._apply()

    def _apply(self) -> None:
        """Pause or resume the real reading, each only once, because event loops differ about a second call."""
        is_wanted = self.is_paused or self._is_holding
        if is_wanted == self._is_stopped or self.real.is_closing():
            return
        self._is_stopped = is_wanted
        (self.real.pause_reading if is_wanted else self.real.resume_reading)()
