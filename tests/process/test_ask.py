"""A short question to a program: its answer, or an end in time whatever it does."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wanworker.engines.wan_cli._machine import python_lacks
from wanworker.errors import EngineUnavailable
from wanworker.models.machine.gpu_kernel import run_kernel
from wanworker.process import Answer, ask
from wanworker.serverless.fitness import Unfit, check_ffmpeg

ENV = {"PATH": os.defpath}


def asked(program: str, *, timeout_s: float = 60) -> Answer:
    return ask([sys.executable, "-c", program], env=ENV, timeout_s=timeout_s)


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """A script that hangs as a wrapper does: its program holds the pipes, and neither heeds SIGTERM."""
    sleep(tmp_path)
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\ntrap '' TERM\n{tmp_path}/sleep 600 &\nwait\n")
    path.chmod(0o755)
    return path


def sleep(folder: Path) -> Path:
    """Make a program that is known by its folder."""
    (folder / "sleep").symlink_to(shutil.which("sleep") or "/bin/sleep")
    return folder / "sleep"


def left_of(folder: Path) -> list[bytes]:
    """Return the command lines of the processes whose program lies in *folder*."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines.append((process / "cmdline").read_bytes())
    return [line for line in lines if bytes(folder) in line]


def test_an_answer_has_the_last_lines_of_both_outputs() -> None:
    said = asked("import sys; print('a'); print('b'); print('c', file=sys.stderr); sys.exit(3)")

    assert Answer(3, ("a", "b"), ("c",)) == said


def test_what_a_program_says_without_end_is_not_kept() -> None:
    said = asked("for n in range(100_000): print(n)\nprint('x' * 1_000_000)")

    assert "99999" == said.stdout[-2]
    assert 100 > len(said.stdout)
    assert 20_000 > len(said.stdout[-1])


def test_a_program_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(EngineUnavailable, match="/nowhere/python: No such file or directory"):
        ask(["/nowhere/python"], env={}, timeout_s=1)


def test_what_a_program_leaves_behind_holds_nobody_up_and_is_ended(tmp_path: Path) -> None:
    said = ask(["/bin/sh", "-c", f"{sleep(tmp_path)} 600 & echo done"], env=ENV, timeout_s=60)

    assert Answer(0, ("done",), ()) == said
    assert [] == left_of(tmp_path)


def test_a_program_that_closes_its_outputs_and_goes_on_is_ended() -> None:
    with pytest.raises(TimeoutError, match=r"no answer within 0\.5 s"):
        asked("import os, time; os.close(1); os.close(2); time.sleep(600)", timeout_s=0.5)


def fitness(program: str) -> str:
    with pytest.raises(Unfit) as caught:
        check_ffmpeg(lambda: program, timeout_s=0.5)
    return str(caught.value)


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        (lambda program: run_kernel([program], ENV, timeout_s=0.5).text, "no answer within 0.5 s"),
        (lambda program: python_lacks(program, Path("/"), ENV, timeout_s=0.5)[0], "does not answer: TimeoutError"),
        (fitness, "no answer within 0.5 s"),
    ],
    ids=["doctor's kernel", "wan_cli's interpreter", "fitness"],
)
def test_a_probe_of_a_wrapper_that_hangs_ends_in_time_with_all_that_it_started(
    tmp_path: Path, wrapper: Path, probe: Callable[[str], str], told: str
) -> None:
    assert told in probe(str(wrapper))
    assert [] == left_of(tmp_path)
