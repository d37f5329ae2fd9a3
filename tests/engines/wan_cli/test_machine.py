from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import wanworker
from wanworker.engines._capabilities import WAN_CLI
from wanworker.engines.wan_cli._machine import gpu_lacks, host_lacks, python_lacks, upstream_environment
from wanworker.models.machine.hardware import Gpu
from wanworker.settings import child_environment
from wanworker.spec import TASKS

#: The tasks of upstream's own program.
UPSTREAM = [task for task in TASKS if task in WAN_CLI.tasks]

CARDS = tuple(Gpu(f"card {number}", 24_564, "8.9", "580") for number in range(4))


def test_no_card_is_told_for_every_task() -> None:
    assert {gpu_lacks(task, ()) for task in UPSTREAM} == {("no NVIDIA GPU",)}


def test_a_small_card_takes_5b_only() -> None:
    taken = [task for task in UPSTREAM if not gpu_lacks(task, CARDS[:1])]

    assert taken == ["ti2v-5B"]
    assert gpu_lacks("t2v-A14B", CARDS[:1]) == ("t2v-A14B needs about 42 GiB of GPU memory; 24 GiB are here",)


def test_the_memory_of_several_cards_counts_together() -> None:
    assert [gpu_lacks(task, CARDS) for task in UPSTREAM] == [()] * len(UPSTREAM)


def test_both_experts_want_main_memory_and_the_small_model_does_not() -> None:
    (line,) = host_lacks("t2v-A14B", 60_000)

    assert line == "t2v-A14B needs about 93 GiB of main memory to load; 59 GiB are free"
    assert host_lacks("i2v-A14B", 60_000)
    assert not host_lacks("ti2v-5B", 60_000)
    assert not host_lacks("t2v-A14B", 128_000)
    assert not host_lacks("t2v-A14B", None)


def test_missing_packages_are_named(tmp_path: Path) -> None:
    for name in ("torch", "flash_attn_interface"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")

    (line,) = python_lacks(sys.executable, tmp_path, {"PYTHONPATH": str(tmp_path), "PATH": os.defpath})

    assert line.startswith(f"not installed in {sys.executable}: ")
    assert "librosa" in line
    assert "torch," not in line
    assert "flash_attn" not in line


def test_without_either_flash_attn_is_named(tmp_path: Path) -> None:
    (line,) = python_lacks(sys.executable, tmp_path, {"PATH": os.defpath})

    assert line.endswith("flash_attn")


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/python"])
def test_an_interpreter_that_does_not_answer_is_told(tmp_path: Path, program: str) -> None:
    (line,) = python_lacks(program, tmp_path, {})

    assert line.startswith(f"{program} does not answer")


def test_upstream_does_not_see_our_own_packages() -> None:
    ours = str(Path(wanworker.__file__).resolve().parent.parent)
    env = child_environment({"PATH": "/bin", "PYTHONPATH": "/theirs", "HF_TOKEN": "secret"})

    seen = upstream_environment(env)

    assert ours in env["PYTHONPATH"]
    assert seen == {"PATH": "/bin", "PYTHONPATH": "/theirs", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    assert "PYTHONPATH" not in upstream_environment(child_environment({}))
