"""Which card a job gets."""

from __future__ import annotations

import pytest

from wanworker.engines.cards._choice import CardState, chosen

A, B = "diffusers t2v-A14B", "diffusers ti2v-5B"


def card(number: int, **facts: object) -> CardState:
    return CardState(number, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ([card(0), card(1)], 0),
        ([card(0, holds=B), card(1, holds=A)], 1),
        ([card(0), card(1, holds=A, used_at=9.0)], 1),
        ([card(0, holds=B, used_at=1.0), card(1)], 1),
        ([card(0, holds=B, used_at=2.0), card(1, holds=B, used_at=1.0)], 1),
        ([card(0, holds=A, used_at=2.0), card(1, holds=A, used_at=1.0)], 1),
        ([card(0, holds=A, is_free=False), card(1, holds=B)], 1),
        ([card(0, is_free=False), card(1, is_free=False)], None),
        ([card(0, holds=A, rests_until=20.0), card(1, holds=B)], 1),
        ([card(0, holds=A, rests_until=10.0), card(1, holds=B)], 0),
        ([card(0, rests_until=20.0), card(1, is_free=False)], None),
        ([card(0, rests_until=30.0), card(1, rests_until=20.0)], 1),
        ([card(0, rests_until=30.0), card(1, rests_until=20.0, is_free=False)], 0),
        ([card(7, holds=A), card(1, holds=B)], 1),
        ([card(7)], None),
    ],
    ids=[
        "the first of two empty ones",
        "the one that holds the model",
        "a warm one before an empty one",
        "an empty one before one that would have to change",
        "of two others the one that rendered longest ago",
        "of two warm ones the one that rendered longest ago",
        "another one, for the warm one is busy and none may idle",
        "none while all are busy",
        "not the warm one, which rests",
        "the warm one again when its rest is over",
        "none: one rests and the other one is still at work",
        "of resting ones the one that may be tried first",
        "of resting ones one that is free",
        "one that the engine can use",
        "none that the engine can use",
    ],
)
def test_the_card_of_a_job(cards: list[CardState], expected: int | None) -> None:
    assert expected == chosen(cards, A, {0, 1}, now=10.0)
