"""Problems become one error whose message suffices alone."""

from __future__ import annotations

import pytest

from wanworker.comfyui.graph.problems import Problem, as_error, not_a_choice
from wanworker.errors import GraphRefused, ModelNotFound

LOST = Problem(
    "'x.safetensors' is none of the 3 files", "95", "UNETLoader", "unet_name", "x.safetensors", ("xy.safetensors",),
    missing_model=True,
)  # fmt: skip
WRONG = Problem("must be at least 0; got -1", "86", "KSampler", "seed", -1)


def test_missing_models_alone_are_the_documented_error() -> None:
    error = as_error([LOST], models_place="/workspace/models/")

    assert isinstance(error, ModelNotFound)
    assert "Model 'x.safetensors' not found in /workspace/models/" == str(error)
    assert "node 95 (UNETLoader), input 'unet_name'" in error.hint
    assert "'xy.safetensors'" in error.hint
    assert error.hint.endswith("Searched: what the server lists there.")


def test_other_missing_models_are_in_the_hint() -> None:
    other = Problem("gone", "90", "VAELoader", "vae_name", "v.safetensors", missing_model=True)

    assert "Also missing: 'v.safetensors'" in as_error([LOST, LOST, other]).hint


def test_mixed_problems_are_all_named() -> None:
    error = as_error([LOST, WRONG])

    assert isinstance(error, GraphRefused)
    assert "unet_name" == error.field
    for part in ("node 95 (UNETLoader)", "xy.safetensors", "node 86 (KSampler), input 'seed': must be at least 0"):
        assert part in str(error)


@pytest.mark.parametrize("count", [8, 9, 500])
def test_a_flood_of_problems_is_counted(count: int) -> None:
    said = str(as_error([WRONG] * count))

    assert 8 == said.count("node 86")
    assert ("more" in said) == (count > 8)


def test_of_many_problems_some_of_each_kind_are_told() -> None:
    unknown = [Problem(f"the server has no node class 'N{at}'", str(at), f"N{at}") for at in range(12)]
    said = str(as_error([*unknown, LOST, WRONG]))

    assert [part in said for part in ("'N0'", "'N5'", "'N6'", "node 95 (UNETLoader)", "node 86 (KSampler)")] == [
        True, True, False, True, True,
    ]  # fmt: skip
    assert said.endswith("... and 6 more.")


def test_a_few_choices_are_all_told() -> None:
    text = not_a_choice("avi", ["auto", "mp4"], is_model=False)
    problem = Problem(text, "3", "SaveVideo", "format", "avi", ["auto", "mp4"])

    assert "node 3 (SaveVideo), input 'format': 'avi' is none of 'auto', 'mp4'" == str(problem)


def test_of_many_choices_the_nearest_are_told() -> None:
    choices = ["area", "bicubic", "bilinear", "lanczos", "nearest", "none"]
    text = not_a_choice("lancos", choices, is_model=False)

    assert "'lancos' is none of the 6 choices; nearest: 'lanczos'" == str(
        Problem(text, value="lancos", choices=choices)
    )


def test_no_choice_at_all_is_said() -> None:
    assert "'a.safetensors': the server has no file" == not_a_choice("a.safetensors", [], is_model=True)
