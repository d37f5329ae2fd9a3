"""Events of the child as progress."""

from __future__ import annotations

import pytest

from wanworker.engines.resident.parent.progress import reporting
from wanworker.engines.resident.protocol import Event, Loading, Stage, Step
from wanworker.progress import Progress


@pytest.mark.parametrize("is_warm", [True, False])
def test_progress_never_falls_and_names_every_stage(*, is_warm: bool) -> None:
    events: list[Event] = [] if is_warm else [Stage(0, "loading"), Loading(10**9, 4 * 10**9)]
    events += [Stage(1, "text"), Stage(1, "sampling"), *(Step(1, "sampling", step, 15) for step in range(1, 16))]
    events += [Stage(1, "decoding"), Stage(1, "encoding"), Step(1, "encoding", 1, 2), Step(1, "encoding", 2, 2)]
    seen: list[Progress] = []
    take = reporting(seen.append, is_warm=is_warm, clock=lambda: 0.0)

    for event in events:
        take(event)

    fractions = [progress.fraction for progress in seen]
    assert sorted(fractions) == fractions
    assert 0.9 < fractions[-1] < 1
    assert [event.name if isinstance(event, Stage) else "" for event in events if isinstance(event, Stage)] == list(
        dict.fromkeys(progress.stage for progress in seen)
    )


def test_a_warm_model_leaves_nothing_to_wait_for_at_the_start() -> None:
    seen: list[Progress] = []

    reporting(seen.append, is_warm=True, clock=lambda: 0.0)(Stage(1, "text"))

    assert [0.0] == [progress.fraction for progress in seen]


def test_a_load_says_in_bytes_how_far_it_is() -> None:
    seen: list[Progress] = []

    reporting(seen.append, is_warm=False, clock=lambda: 0.0)(Loading(12_340_000_000, 35_600_000_000))

    assert [("loading", "12.3 of 35.6 GB", None)] == [(now.stage, now.detail, now.steps) for now in seen]
    assert 0.1 < seen[0].fraction < 0.2
    assert "12.3 of 35.6 GB" == seen[0].to_json()["detail"]


def test_a_small_load_is_told_in_megabytes() -> None:
    seen: list[Progress] = []

    reporting(seen.append, is_warm=False, clock=lambda: 0.0)(Loading(2_500_000, 10_100_000))

    assert ["2.5 of 10.1 MB"] == [now.detail for now in seen]
