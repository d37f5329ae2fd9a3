"""Recorded runs of a real server become a fraction that never falls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from fakes.comfyui_recordings import frames, history, i2v_graph
from wanworker.comfyui.client.events import (
    Cached,
    Event,
    Executing,
    NodeState,
    NodeStates,
    Stepped,
    Succeeded,
    parse_frame,
)
from wanworker.comfyui.run.progress import RunProgress
from wanworker.progress import Progress


def fold(graph: dict[str, Any], events: Iterable[Event | None], clock: list[float] | None = None) -> list[Progress]:
    run = RunProgress(graph, clock=lambda: (clock or [0.0])[0])
    return [progress for event in events if event and (progress := run.hear(event))]


def recorded(name: str) -> list[Event | None]:
    return [parse_frame(frame) for frame in frames(name)]


def states(*nodes: NodeState) -> NodeStates:
    return NodeStates("p", nodes)


def finished(node: str) -> NodeState:
    return NodeState(node, node, "finished", 1, 1)


def ti2v_graph() -> dict[str, Any]:
    graph: dict[str, Any] = history("ti2v_5b")["prompt"][2]
    return graph


@pytest.mark.parametrize("name", ["ti2v_5b", "preview_event4"])
def test_a_recorded_run_never_falls_and_ends_near_one(name: str) -> None:
    graph = ti2v_graph() if name == "ti2v_5b" else i2v_graph()

    fractions = [progress.fraction for progress in fold(graph, recorded(name))]

    assert sorted(fractions) == fractions
    assert 0 == fractions[0]
    assert 0.99 == fractions[-1]


def test_most_of_the_run_is_sampling_and_it_passes_through_its_stages() -> None:
    found = fold(ti2v_graph(), recorded("ti2v_5b"))

    stages = list(dict.fromkeys(progress.stage for progress in found))
    assert ["preparing", "loading"] == stages[:2]
    assert ["sampling", "decoding", "saving"] == stages[-3:]
    assert "encoding text" in stages
    steps = [(p.step, p.steps) for p in found if p.step]
    assert (1, 8) == steps[0]
    assert (8, 8) == steps[-1]


def test_two_experts_count_as_one_run() -> None:
    found = fold(i2v_graph(), recorded("preview_event4"))

    steps = list(dict.fromkeys((p.step, p.steps) for p in found if p.step))
    assert [(1, 4), (2, 4), (3, 4), (4, 4)] == steps


def test_cached_nodes_weigh_nothing() -> None:
    graph = i2v_graph()
    samplers = {"86", "85"}

    found = fold(graph, [Cached("p", tuple(set(graph) - samplers)), Stepped("p", "86", 1, 2), Stepped("p", "86", 2, 2)])

    assert [0.0, 0.25, 0.5] == [progress.fraction for progress in found]


def test_a_cached_run_is_done_with_its_first_word() -> None:
    graph = i2v_graph()

    found = fold(graph, [Cached("p", tuple(graph))])

    assert [0.0] == [progress.fraction for progress in found]


def test_a_node_that_begins_twice_moves_nothing() -> None:
    found = fold(i2v_graph(), [Executing("95", "p"), Executing("86", "p"), Executing("95", "p")])

    assert {0.0} == {progress.fraction for progress in found}


def test_a_node_made_at_run_time_counts_for_nothing_by_itself() -> None:
    made = NodeState("86.0.0.1", "86", "finished", 3, 3)

    found = fold(i2v_graph(), [Executing("86.0.0.1", "p", "86"), states(made), Stepped("p", "86.0.0.1", 3, 3)])

    assert {0.0} == {progress.fraction for progress in found}
    assert "sampling" == found[0].stage


def test_old_news_after_new_does_not_fall_back() -> None:
    late = [Stepped("p", "86", 2, 2), Stepped("p", "86", 1, 2), states(NodeState("86", "86", "running", 0, 2))]

    found = fold(i2v_graph(), late)

    assert 1 == len({progress.fraction for progress in found})
    assert 2 == found[-1].step


def test_the_time_left_follows_the_pace_of_the_steps() -> None:
    clock = [100.0]
    run = RunProgress({"1": {"class_type": "KSampler", "inputs": {"steps": 10}}}, clock=lambda: clock[0])
    first = run.hear(Stepped("p", "1", 1, 10))
    clock[0] = 102.0
    second = run.hear(Stepped("p", "1", 2, 10))

    assert first is not None
    assert second is not None
    assert first.eta_s is None
    assert second.eta_s == pytest.approx(16.0)


def test_steps_that_a_link_decides_are_learnt_from_the_run() -> None:
    graph = {"1": {"class_type": "KSampler", "inputs": {"steps": ["2", 0]}}, "2": {"class_type": "Int", "inputs": {}}}

    before, after = fold(graph, [Executing("1", "p"), Stepped("p", "1", 3, 6)])

    assert (None, None) == (before.step, before.steps)
    assert (3, 6) == (after.step, after.steps)


@pytest.mark.parametrize("event", [Succeeded("p"), Stepped("p", None, 1, 2)])
def test_an_event_that_says_nothing_of_progress_gives_none(event: Event) -> None:
    assert [] == fold(i2v_graph(), [event])


@pytest.mark.parametrize("event", [Stepped("p", "86", 1, 0), Stepped("p", "86", 9, 2), states(finished("nobody"))])
def test_odd_numbers_stay_between_zero_and_one(event: Event) -> None:
    (progress,) = fold(i2v_graph(), [event])

    assert 0 <= progress.fraction < 1


def test_steps_of_hundreds_of_digits_are_counted_all_the_same() -> None:
    graph = {"1": {"class_type": "MySampler", "inputs": {"steps": 10**400}}}
    (told,) = fold(graph, [Executing("1", "p")])

    assert told.stage == "sampling"
