from __future__ import annotations

import pytest

from wanworker.progress import Meter, Progress, bar_steps


class Clock:
    """Stand still until it is told how late it is."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> Meter:
    return Meter({"loading": 1, "sampling": 3, "writing": 1}, clock=clock)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  0%|          | 0/40 [00:00<?, ?it/s]", (0, 40)),
        (" 25%|##5       | 10/40 [00:21<01:02,  2.08s/it]", (10, 40)),
        ("100%|\u2588\u2588\u2588\u2588| 40/40 [01:23<00:00,  2.08s/it]", (40, 40)),
        ("Loading checkpoint shards: 33%|###| 1/3 [00:01<00:02]", None),
        ("INFO: Creating WanT2V pipeline.", None),
        ("", None),
    ],
)
def test_only_a_bare_bar_gives_steps(line: str, expected: tuple[int, int] | None) -> None:
    assert expected == bar_steps(line)


def test_stages_have_their_share_of_the_whole(meter: Meter) -> None:
    places = [
        ("loading", None, None),
        ("sampling", 0, 10),
        ("sampling", 5, 10),
        ("sampling", 10, 10),
        ("writing", 1, 2),
    ]

    fractions = [meter.at(*place).fraction for place in places]

    assert pytest.approx([0.0, 0.2, 0.5, 0.8, 0.9]) == fractions


def test_the_fraction_never_falls(meter: Meter) -> None:
    meter.at("sampling", 5, 10)

    assert 0.5 == pytest.approx(meter.at("sampling", 1, 10).fraction)
    assert 0.5 == pytest.approx(meter.at("loading").fraction)
    assert 0.5 == pytest.approx(meter.at("no such stage").fraction)


def test_a_stage_that_is_skipped_counts_as_done(meter: Meter) -> None:
    assert 0.8 == pytest.approx(meter.at("writing").fraction)


@pytest.mark.parametrize("step", [10, 11, 10_000])
def test_the_fraction_stays_below_one_whatever_an_engine_says(meter: Meter, step: int) -> None:
    assert 0.99 == meter.at("writing", step, 10).fraction


def test_a_bar_of_no_steps_is_the_start_of_its_stage(meter: Meter) -> None:
    assert Progress("sampling", 0.2, 0, 0, None) == meter.at("sampling", 0, 0)


def test_there_is_no_eta_before_the_first_step(meter: Meter) -> None:
    assert None is meter.at("loading").eta_s
    assert None is meter.at("sampling", 0, 10).eta_s


def test_the_eta_follows_the_pace_of_this_stage_alone(meter: Meter, clock: Clock) -> None:
    meter.at("loading")
    clock.now += 600
    meter.at("sampling", 0, 10)
    clock.now += 30

    # 10 s a step: 70 s are left here, and the last stage has a third of this one's share, 33 s.
    assert 70 + 100 / 3 == pytest.approx(meter.at("sampling", 3, 10).eta_s)


def test_the_eta_of_a_stage_that_nobody_announced_is_unknown(meter: Meter) -> None:
    assert None is meter.at("no such stage", 3, 10).eta_s


def test_progress_is_shown_as_a_percentage() -> None:
    shown = Progress("sampling", 0.43219, 3, 7, 12.345).to_json()

    assert {"progress": 43.2, "stage": "sampling", "step": 3, "steps": 7, "eta_s": 12.3} == shown


def test_what_is_unknown_is_null() -> None:
    shown = Progress("loading", 0.0).to_json()

    assert {"progress": 0.0, "stage": "loading", "step": None, "steps": None, "eta_s": None} == shown
