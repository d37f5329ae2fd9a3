"""How long a child may say nothing, and stand still, stage by stage."""

from __future__ import annotations

import pytest

from wanworker.engines.resident.parent._watchdog import Hung, Patience, Watchdog
from wanworker.engines.resident.protocol import Event, Stage, Step


def first_trouble(watchdog: Watchdog, *, heard: bool) -> tuple[int, str]:
    """Let seconds pass until the watchdog complains; return how many, and its words."""
    for seconds in range(1, 100_000):
        if isinstance(hung := watchdog.passed(1, heard=heard), Hung):
            return seconds, hung.how
    return 0, ""


def after(*past: tuple[int, Event]) -> Watchdog:
    """Return a watchdog that has seen events, each after some seconds in which the child was heard."""
    watchdog = Watchdog(Patience())
    for seconds, event in past:
        for _ in range(seconds):
            assert watchdog.passed(1, heard=True) is None
        watchdog.take(event)
    return watchdog


SAMPLING = (0, Stage(1, "sampling"))


@pytest.mark.parametrize(
    ("watchdog", "seconds", "words"),
    [
        (Watchdog(Patience()), 60, "It gave no sign of life for 60 s, before its first stage."),
        (after(SAMPLING, (9, Step(1, "sampling", 3, 20))), 60, "for 60 s, in stage sampling after step 3 of 20."),
        (Watchdog(Patience(), stage="loading"), 300, "It gave no sign of life for 300 s, in stage loading."),
    ],
)
def test_a_child_that_says_nothing_is_given_up(watchdog: Watchdog, seconds: int, words: str) -> None:
    took, how = first_trouble(watchdog, heard=False)

    assert seconds == took
    assert how.endswith(words)


@pytest.mark.parametrize(
    ("watchdog", "seconds", "words"),
    [
        (after((0, Stage(1, "text"))), 600, "It made no progress for 600 s, in stage text."),
        (after(SAMPLING), 900, "for 900 s, in stage sampling."),
        (after(SAMPLING, (8, Step(1, "sampling", 1, 20))), 300, "after step 1 of 20; its longest step took 8 s."),
        (
            after(SAMPLING, (80, Step(1, "sampling", 1, 20)), (120, Step(1, "sampling", 2, 20))),
            600,
            "its longest step took 120 s.",
        ),
        (
            after(SAMPLING, (250, Step(1, "sampling", 1, 1)), (0, Stage(1, "decoding"))),
            1250,
            "longest step took 250 s.",
        ),
        (after((0, Stage(1, "decoding"))), 900, "in stage decoding."),
        (
            after((0, Stage(1, "encoding")), (9, Step(1, "encoding", 7, 81))),
            300,
            "in stage encoding after step 7 of 81.",
        ),
        (Watchdog(Patience(), stage="loading"), 0, ""),
    ],
)
def test_a_child_that_answers_and_stands_still_is_given_up_by_its_stage(
    watchdog: Watchdog, seconds: int, words: str
) -> None:
    took, how = first_trouble(watchdog, heard=True)

    assert seconds == took
    assert how.endswith(words)


@pytest.mark.parametrize(
    ("watchdog", "seconds"),
    [
        (after(SAMPLING, (30, Step(1, "sampling", 1, 20))), 60),  # twice its longest step
        (after(SAMPLING, (90, Step(1, "sampling", 1, 20))), 120),  # but never longer than this
        (after(SAMPLING, (2, Step(1, "sampling", 1, 20))), 10),  # nor shorter
        (after(SAMPLING), 120),
        (after((0, Stage(1, "decoding"))), 120),
    ],
)
def test_a_job_that_was_told_to_stop_gets_the_rest_of_its_step(watchdog: Watchdog, seconds: int) -> None:
    watchdog.stop()

    assert seconds == first_trouble(watchdog, heard=True)[0]


def test_what_stood_still_before_it_was_told_to_stop_gets_little_more() -> None:
    watchdog = after(SAMPLING, (30, Step(1, "sampling", 1, 20)))
    for _ in range(200):
        watchdog.passed(1, heard=True)

    watchdog.stop()

    assert 10 == first_trouble(watchdog, heard=True)[0]


def test_a_job_that_was_told_to_stop_and_says_nothing_gets_little_more() -> None:
    watchdog = after((0, Stage(1, "decoding")))

    watchdog.stop()

    assert 15 == first_trouble(watchdog, heard=False)[0]


def test_steps_that_come_after_the_order_to_stop_win_no_time() -> None:
    watchdog = after(SAMPLING, (1, Step(1, "sampling", 1, 20)))

    watchdog.stop()
    for second in range(9):
        watchdog.take(Step(1, "sampling", 2 + second, 20))
        assert watchdog.passed(1, heard=True) is None

    assert watchdog.passed(1, heard=True) is not None
