"""Limit how many jobs render at once: each waits for a slot of the place where its engine renders."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from types import TracebackType

from wanworker.deadline import Deadline
from wanworker.engines.base import Report
from wanworker.engines.cards.lease import Lease
from wanworker.engines.registry import EngineRegistry
from wanworker.planning.fitting import Fitted
from wanworker.progress import AtPlace, AwaitsTurn


class Turns:
    """Hold the slots of every place of *registry*. Whoever comes first gets a slot first."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry
        self._slots = {place: asyncio.Semaphore(count) for place, count in registry.slots.items()}

    def slot(self, place: str, deadline: Deadline, report: Report) -> Slot:
        """Return a slot at *place* for one job, to be entered."""
        return Slot(self._registry, self._slots, place, deadline, report)


class Slot:
    """
    Hold a slot for a job while it is entered.

    A job that has to wait reports AwaitsTurn, and `preparing` when it goes on or has a slot at another place: each with
    its place. Its *deadline* does not run while it waits: how long others render says nothing about this job.
    """

    def __init__(
        self,
        registry: EngineRegistry,
        slots: Mapping[str, asyncio.Semaphore],
        place: str,
        deadline: Deadline,
        report: Report,
    ) -> None:
        self._registry = registry
        self._slots = slots
        self._place = place
        self._deadline = deadline
        self._report = report
        self._held: asyncio.Semaphore | None = None
        self._waits = False

    async def __aenter__(self) -> Slot:
        """Wait for the slot."""
        await self._take(self._place)
        self._go_on()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the slot back."""
        self._release()

    @contextlib.asynccontextmanager
    async def lease(self, fitted: Fitted, job: str) -> AsyncIterator[Lease]:
        """Wait until the engine of *fitted* may render for *job*, and keep the card for it."""
        place = self._registry.place_of(fitted.engine)
        if place != self._place:  # only the files of the job have told which engine renders it
            self._release()
            await self._take(place)
            self._go_on()
        async with contextlib.AsyncExitStack() as stack:
            within, waiting = self._deadline.scope, self._deadline.paused
            leasing = self._registry.lease(
                fitted.engine, fitted.spec, job, on_wait=self._tell, within=within, waiting=waiting
            )
            lease = await stack.enter_async_context(leasing)
            if self._waits:
                self._go_on()
            yield lease

    async def _take(self, place: str) -> None:
        self._place = place
        slots = self._slots[place]
        if slots.locked():
            self._tell()
        with self._deadline.paused():
            await slots.acquire()
        self._held = slots

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def _go_on(self) -> None:
        self._waits = False
        self._report(AtPlace("preparing", 0.0, place=self._place))

    def _tell(self) -> None:
        self._waits = True
        self._report(AwaitsTurn("queued", 0.0, place=self._place))
