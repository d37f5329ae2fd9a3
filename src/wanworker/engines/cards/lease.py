"""Lease a card to a job: its engine there, and the change to another card if that one fails."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from wanworker.engines.base import Engine
from wanworker.engines.cards.cards import Cards
from wanworker.errors import EngineError, EngineUnavailable, WorkerError

_Made = TypeVar("_Made")

#: How an engine is found, and how the other engines are made to leave, on the card of this number.
EngineOn = Callable[[int], Engine]
MakeRoom = Callable[[int], Awaitable[None]]


class Lease:
    """
    Hold card *number* of the *eligible* ones for *job*, which needs *wanted* loaded there.

    `remarks` are lines for the caller about what happened to the cards meanwhile.
    """

    def __init__(
        self,
        cards: Cards,
        wanted: str,
        job: str,
        eligible: Collection[int],
        *,
        engine_on: EngineOn,
        make_room: MakeRoom,
    ) -> None:
        self._cards = cards
        self._wanted, self._job = wanted, job
        self._eligible = frozenset(eligible)
        self._engine_on, self._make_room = engine_on, make_room
        self._number: int | None = None
        self._has_moved = False
        self.remarks: tuple[str, ...] = ()

    async def begin(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Wait for a card. *on_wait* is called if none is free at once."""
        self._number = await self._cards.take(self._wanted, self._job, self._eligible, on_wait)

    def end(self, error: BaseException | None) -> None:
        """Give the card back, after the job failed with *error* or (None) did not."""
        number, self._number = self._number, None
        if number is None:
            return
        if error is None:
            self._cards.succeeded(number)
        elif _is_cards_fault(error):
            self._cards.failed(number, str(error))
        self._cards.give_back(number)

    async def make_room(self) -> None:
        """Make the other engines free the memory of this card, and note what it is going to hold."""
        number = self._held()
        if self._cards.held_by(number) != self._wanted:
            self._cards.loads(number, None)
        await self._make_room(number)
        self._cards.loads(number, self._wanted)

    async def tried(
        self,
        render: Callable[[Engine], Awaitable[_Made]],
        within: Callable[[], contextlib.AbstractAsyncContextManager[object]],
    ) -> _Made:
        """
        Return what *render* makes with this card's engine. If the card fails, let another card try, once in a lease.

        The wait for another card is bounded by *within*, the scope of the job's deadline.
        """
        try:
            return await render(self._engine_on(self._held()))
        except EngineError as error:
            if not self._may_move(error):
                raise
            async with within():
                await self._move(error)
                await self.make_room()
        return await render(self._engine_on(self._held()))

    def _may_move(self, error: EngineError) -> bool:
        return not self._has_moved and len(self._eligible) > 1 and _is_cards_fault(error)

    async def _move(self, error: EngineError) -> None:
        number = self._held()
        self.end(error)
        self._has_moved = True
        self._number = await self._cards.take(self._wanted, self._job, self._eligible - {number})
        self.remarks += (f"Card {number} failed and the video was rendered on card {self._number}: {error}",)

    def _held(self) -> int:
        if self._number is None:
            raise EngineUnavailable("This job holds no card any more.")
        return self._number


def _is_cards_fault(error: BaseException) -> bool:
    """Say whether *error* speaks against the card and its processes, and not against what was asked."""
    return isinstance(error, EngineUnavailable) or (isinstance(error, WorkerError) and error.lost_engine)
