"""How old a process is, from what Linux says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wanworker.process.age import age_s

TICKS = os.sysconf("SC_CLK_TCK")


def test_the_age_is_counted_from_the_start_whatever_the_program_is_called(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(f"7 (a) b) S {' '.join(str(number) for number in range(4, 22))} {1000 * TICKS} 0 0\n")

    assert 12.5 == age_s(stat, now=lambda: 1012.5)


def test_the_interpreters_own_start_counts() -> None:
    code = "import time; time.sleep(0.2); from wanworker.process.age import age_s; print(age_s())"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "src"}
    )

    assert 0.2 < float(said.stdout) < 60


@pytest.mark.parametrize("text", [None, "", "7 (python) S 1 2 3"])
def test_a_system_that_does_not_say_is_none(tmp_path: Path, text: str | None) -> None:
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)

    assert age_s(stat) is None
