"""The transport as uvicorn sees it: who closes or pauses it asks the protocol first."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Owner(Protocol):
    """The protocol behind a transport."""

    def hang_up(self) -> None:
        """Close the connection, so that the client can read what was sent."""

    def reading_resumed(self) -> None:
        """Go on with what was received and waits."""


class OwnedTransport:
    """
    Pass everything to *transport* but what its owner has to say about: closing, and when reading goes on.

    uvicorn resumes reading whenever an application asks for a body, even while requests wait in line; what has come
    and waits (`hold`) keeps the reading paused here.
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
        """Say whether nothing more is to be sent."""
        return self.is_hung_up or self.real.is_closing()

    def pause_reading(self) -> None:
        """Pause for uvicorn."""
        self.is_paused = True
        self._apply()

    def resume_reading(self) -> None:
        """Go on for uvicorn, once nothing is held any more."""
        self.is_paused = False
        self._apply()
        self._owner.reading_resumed()

    def hold(self, is_holding: bool) -> None:
        """Say whether received bytes wait for their turn."""
        self._is_holding = is_holding
        self._apply()

    def _apply(self) -> None:
        """Stop or start the real reading; each is done once, since loops differ in what they make of a second time."""
        is_wanted = self.is_paused or self._is_holding
        if is_wanted == self._is_stopped or self.real.is_closing():
            return
        self._is_stopped = is_wanted
        (self.real.pause_reading if is_wanted else self.real.resume_reading)()
