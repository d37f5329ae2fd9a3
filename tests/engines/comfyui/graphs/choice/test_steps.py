from __future__ import annotations

import pytest

from wanworker.engines.comfyui.graphs.choice._steps import (
    Split,
    sampler_for,
    split_steps,
    working_sampler,
)
from wanworker.errors import InvalidRequest
from wanworker.spec import TASKS


@pytest.mark.parametrize(
    ("task", "steps", "high", "low"),
    [
        # wan.md 1.3: what upstream's own unipc schedule gives
        ("t2v-A14B", 40, 26, 14),
        ("t2v-A14B", 20, 13, 7),
        ("i2v-A14B", 40, 15, 25),
        ("i2v-A14B", 20, 8, 12),
    ],
)
def test_the_steps_are_divided_as_upstream_divides_them(task: str, steps: int, high: int, low: int) -> None:
    row = TASKS[task]
    assert row.boundary is not None

    assert Split(high, low) == split_steps(steps, row.shift, row.boundary)


@pytest.mark.parametrize("boundary", [0.875, 0.9])
def test_the_four_step_loras_take_two_steps_each(boundary: float) -> None:
    assert Split(2, 2) == split_steps(4, 5.0, boundary)


@pytest.mark.parametrize(("shift", "boundary"), [(0.01, 0.9), (100.0, 0.1)])
def test_each_expert_takes_at_least_one_step(shift: float, boundary: float) -> None:
    for steps in (2, 3, 50):
        split = split_steps(steps, shift, boundary)

        assert steps == split.high + split.low
        assert 1 <= min(split.high, split.low)


def test_solvers_have_the_names_of_both_sides() -> None:
    assert ["uni_pc", "dpmpp_2m", "euler", "lcm"] == [
        sampler_for(solver) for solver in ("unipc", "dpm++", "euler", "dmd")
    ]


def test_an_unknown_solver_names_the_known() -> None:
    with pytest.raises(InvalidRequest, match=r"'heun' is not known; known: unipc, dpm\+\+, euler, dmd") as caught:
        sampler_for("heun")

    assert "sample_solver" == caught.value.field


@pytest.mark.parametrize("runs", [(1,), (3, 1), (1, 3)])
def test_a_run_of_one_step_is_not_left_to_uni_pc(runs: tuple[int, ...]) -> None:
    warnings: list[str] = []

    assert "euler" == working_sampler("uni_pc", runs, warnings)
    assert ["single step" in line for line in warnings] == [True]


def test_other_samplers_and_longer_runs_stay() -> None:
    warnings: list[str] = []

    assert "dpmpp_2m" == working_sampler("dpmpp_2m", (1,), warnings)
    assert "uni_pc" == working_sampler("uni_pc", (2, 2), warnings)
    assert [] == warnings
