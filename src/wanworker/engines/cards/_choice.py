"""Choose the card of a job. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CardState:
    """
    Describe card *number* at one moment.

    `holds` is the engine and model that its last job or preload loaded, None for nothing. `used_at` is when its last
    job ended, and `rests_until` when it is tried again after a failure: seconds of the same clock.
    """

    number: int
    is_free: bool = True
    holds: str | None = None
    used_at: float = 0.0
    rests_until: float = 0.0


def chosen(cards: Iterable[CardState], wanted: str, eligible: Collection[int], now: float) -> int | None:
    """
    Return the card that a job gets which needs *wanted* loaded, None if it has to wait for one.

    Of the free *eligible* cards it is one that holds *wanted*, else one that holds nothing, else the one whose last job
    ended first. A free card never idles while a job waits: a job does not wait for a warm card that is busy. A card
    that rests gets a job only if all others of them rest as well, the one whose rest ends first.
    """
    possible = [card for card in cards if card.number in eligible]
    able = [card for card in possible if card.rests_until <= now]
    if not able:
        resting = sorted((card for card in possible if card.is_free), key=lambda card: card.rests_until)
        return resting[0].number if resting else None
    free = sorted((card for card in able if card.is_free), key=lambda card: (card.used_at, card.number))
    for holds in (wanted, None):
        if warm := next((card for card in free if card.holds == holds), None):
            return warm.number
    return free[0].number if free else None
