"""A little of each target in every run; `python -m fuzz.run` goes on for as long as one likes."""

from __future__ import annotations

import pytest

from fuzz.run import examples
from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_a_refusal_comes_of_odd_bytes(name: str) -> None:
    examples(TARGETS[name], count=100, repeats_itself=True)
