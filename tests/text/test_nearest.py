"""Names like a misspelt one, and that looking for them ends soon whatever there is to look through."""

from __future__ import annotations

import time

import pytest

from wanworker.text.nearest import likeness, nearest_names

FILES = tuple(
    f"wan2.2_i2v_{half}_noise_{number}_fp8_scaled.safetensors" for half in ("high", "low") for number in range(25_000)
)
MISSPELT = "wan2.2_i2v_hihg_noise_17_fp8_scaled.safetensors"


@pytest.mark.parametrize(
    ("wanted", "expected"), [("promt", ["prompt"]), ("sample_step", ["sample_steps"]), ("zzz", [])]
)
def test_the_name_that_was_meant_is_found(wanted, expected):
    assert expected == nearest_names(wanted, ["prompt", "sample_steps", "seed"], most=1, cutoff=0.6)


def test_the_name_is_found_among_very_many():
    assert nearest_names(MISSPELT, FILES)[0].startswith("wan2.2_i2v_high_noise_")


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (MISSPELT, FILES),
        ("x" * 1_000_000, FILES),
        ("prompt", ["y" * 1_000_000, "z" * 1_000_000]),
        ("ab" * 60, ["ba" * 60] * 50_000),
    ],
    ids=["many names", "a long name", "long names", "names of two letters"],
)
def test_no_name_takes_long(wanted, names):
    started = time.process_time()

    nearest_names(wanted, names)

    assert time.process_time() - started < 3


def test_an_empty_name_is_like_nothing():
    assert [] == nearest_names("", ["a", ""])


def test_names_too_long_to_be_compared_are_not_alike():
    assert 1.0 == likeness("LoadImage", "LoadImage")
    assert 0.0 == likeness("L" * 1000, "L" * 1000)
