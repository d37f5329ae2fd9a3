"""Find the cards that WAN_GPUS names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wanworker.models.machine.hardware import Gpu
from wanworker.settings import Card

_CPU = "cpu:"


def cards_named(gpus: str | None, *, visible: str | None, seen: Callable[[], Sequence[Gpu]]) -> tuple[Card, ...]:
    """
    Return the cards of *gpus*, the checked text of WAN_GPUS.

    *visible* is the worker's own CUDA_VISIBLE_DEVICES, None where it is not set: numbers count the cards that it lists.
    *seen* is asked for `all` only. Without any card to see, `all` is the one place that a worker has without WAN_GPUS.
    """
    if gpus is None:
        return (Card(),)
    if gpus.startswith(_CPU):
        return tuple(Card(number, "", is_cpu=True, place=number) for number in range(int(gpus.removeprefix(_CPU))))
    names = None if visible is None else [name.strip() for name in visible.split(",")]
    wanted = range(len(seen())) if gpus == "all" else [int(number) for number in gpus.split(",")]
    cards = tuple(Card(number, _name(number, names), place=place) for place, number in enumerate(wanted))
    return cards or (Card(),)


def _name(number: int, names: Sequence[str] | None) -> str:
    """Return the name of the card that is *number* in *names*; an empty one, which is no card, beyond their end."""
    if names is None:
        return str(number)
    return names[number] if number < len(names) else ""
