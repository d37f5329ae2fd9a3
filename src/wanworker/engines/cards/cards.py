"""Give each job a card, in the order of the jobs, and keep the state of each card."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from wanworker.engines.cards._choice import CardState, chosen
from wanworker.models.machine.hardware import Gpu
from wanworker.settings import Card

log = logging.getLogger(__name__)

#: How long a card rests after a failure in seconds, and at most after many in a row: each doubles it.
_REST_S, _LONGEST_REST_S = 15.0, 600.0


@dataclass(frozen=True, slots=True)
class CardView:
    """
    Show one card: what it holds (`diffusers t2v-A14B`), the id of the job that it renders, and its last failure.

    `state` is `free`, `busy`, or `resting` after a failure. `failure_age_s` is how many seconds ago that was.
    """

    card: Card
    state: Literal["free", "busy", "resting"]
    holds: str | None
    job: str | None
    failure: str | None
    failure_age_s: float | None
    jobs: int
    failures: int

    def to_json(self, gpu: Gpu | None) -> dict[str, Any]:
        """Return it as health shows it. *gpu* is the card itself, None where it is not known or the processor."""
        age_s = None if self.failure_age_s is None else round(self.failure_age_s, 1)
        return {
            "number": self.card.number,
            "name": None if gpu is None else gpu.name,
            "memory_mib": None if gpu is None else gpu.memory_mib,
            "state": self.state,
            "holds": self.holds,
            "job": self.job,
            "last_failure": self.failure,
            "last_failure_age_s": age_s,
        }


@dataclass(slots=True)
class _Entry:
    card: Card
    job: str | None = None
    holds: str | None = None
    used_at: float = 0.0
    rests_until: float = 0.0
    in_a_row: int = 0
    failure: tuple[str, float] | None = None
    jobs: int = 0
    failures: int = 0

    def state(self) -> CardState:
        return CardState(self.card.number, self.job is None, self.holds, self.used_at, self.rests_until)


@dataclass(eq=False, slots=True)
class _Waiting:
    wanted: str
    job: str
    eligible: Collection[int]
    got: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Cards:
    """Lend the cards to jobs: `take` one, and `give_back` the same. *clock* counts seconds."""

    def __init__(
        self, cards: Sequence[Card], *, clock: Callable[[], float] = time.monotonic, rest_s: float = _REST_S
    ) -> None:
        self._entries = {card.number: _Entry(card) for card in cards}
        self._clock = clock
        self._rest_s = rest_s
        self._waiting: list[_Waiting] = []
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of all cards."""
        return tuple(self._entries)

    def card(self, number: int) -> Card:
        """Return card *number*."""
        return self._entries[number].card

    def views(self) -> tuple[CardView, ...]:
        """Return how each card is now."""
        return tuple(self._view(entry) for entry in self._entries.values())

    async def take(
        self, wanted: str, job: str, eligible: Collection[int], on_wait: Callable[[], None] = lambda: None
    ) -> int:
        """
        Wait for one of the *eligible* cards for *job*, which needs *wanted* loaded, and return its number.

        *on_wait* is called if none is free at once.
        """
        waiting = _Waiting(wanted, job, eligible)
        self._waiting.append(waiting)
        self._assign()
        if not waiting.got.done():
            on_wait()
        try:
            return await waiting.got
        except asyncio.CancelledError:
            if waiting.got.done() and not waiting.got.cancelled():
                self.give_back(waiting.got.result())
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def give_back(self, number: int) -> None:
        """Take back a card whose job has ended."""
        entry = self._entries[number]
        entry.job, entry.used_at = None, self._clock()
        self._assign()

    def loads(self, number: int, wanted: str | None) -> None:
        """Note what a card holds from now on; None for nothing."""
        self._entries[number].holds = wanted

    def held_by(self, number: int) -> str | None:
        """Return what a card holds."""
        return self._entries[number].holds

    def succeeded(self, number: int) -> None:
        """Note that a job was rendered on a card."""
        entry = self._entries[number]
        entry.jobs += 1
        entry.in_a_row, entry.rests_until = 0, 0.0

    def failed(self, number: int, text: str) -> None:
        """Note that a card failed. It gets no job for a while, unless all others rest too."""
        entry, now = self._entries[number], self._clock()
        rest_s = min(self._rest_s * 2**entry.in_a_row, _LONGEST_REST_S)
        entry.holds, entry.failure, entry.rests_until = None, (text, now), now + rest_s
        entry.in_a_row = min(entry.in_a_row + 1, 16)
        entry.failures += 1
        if len(self._entries) > 1:
            log.warning("card %d failed and is left out for %.0f s: %s", number, rest_s, text)

    def _view(self, entry: _Entry) -> CardView:
        now = self._clock()
        rests = len(self._entries) > 1 and entry.rests_until > now
        text, at = entry.failure or (None, now)
        return CardView(
            card=entry.card,
            state="busy" if entry.job is not None else "resting" if rests else "free",
            holds=entry.holds,
            job=entry.job,
            failure=text,
            failure_age_s=None if text is None else now - at,
            jobs=entry.jobs,
            failures=entry.failures,
        )

    def _assign(self) -> None:
        """Give the free cards to those who wait, in their order; one that may only use busy cards holds up nobody."""
        now = self._clock()
        for waiting in list(self._waiting):
            states = [entry.state() for entry in self._entries.values()]
            number = chosen(states, waiting.wanted, waiting.eligible, now)
            if number is None:
                continue
            self._waiting.remove(waiting)
            if not waiting.got.done():
                self._entries[number].job = waiting.job
                waiting.got.set_result(number)
        self._set_alarm(now)

    def _set_alarm(self, now: float) -> None:
        """Look again when the next rest ends, if somebody waits. A rest that lasted at *now*, the last look, counts."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        rests = [entry.rests_until - now for entry in self._entries.values() if entry.job is None]
        if self._waiting and (ahead := [rest_s for rest_s in rests if rest_s > 0]):
            self._alarm = asyncio.get_running_loop().call_later(min(ahead), self._assign)
