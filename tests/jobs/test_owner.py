from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.other_workers import elsewhere
from wanworker.jobs._owner import Owner


def of(pid: int, start: str) -> Owner:
    return dataclasses.replace(Owner.of_this_process(), pid=pid, process_start=start)


def start_of(pid: int) -> str:
    """Read the start time by another way than the code: the line is split after the name's parenthesis."""
    return Path(f"/proc/{pid}/stat").read_text().split(") ")[-1].split()[19]


def test_this_process_lives() -> None:
    assert Owner.of_this_process().lives() is True


def test_every_attempt_has_its_own_token() -> None:
    one, other = Owner.of_this_process(), Owner.of_this_process()

    assert one.token != other.token
    assert dataclasses.replace(one, token=other.token) == other
    assert one.process == other.process != elsewhere().process


def test_a_mark_names_its_owner_whatever_else_it_tells() -> None:
    owner = elsewhere()

    assert Owner.named_in(owner.to_json()) == owner
    assert Owner.named_in(json.dumps({**dataclasses.asdict(owner), "beat": "x"}).encode()) == owner


@pytest.mark.parametrize("mark", [None, b"", elsewhere().to_json()[:-9], b"[]", b"7", b"{}", b"\xff", b'"pid"'])
def test_a_mark_that_was_not_written_to_its_end_names_nobody(mark: bytes | None) -> None:
    assert Owner.named_in(mark) is None


def test_a_mark_whose_process_id_is_no_number_names_nobody() -> None:
    told = {**dataclasses.asdict(elsewhere()), "pid": "7"}

    assert Owner.named_in(json.dumps(told).encode()) is None


def test_a_process_that_ended_has_died() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert of(child.pid, "12345").lives() is False


def test_nothing_is_known_of_a_process_elsewhere() -> None:
    assert elsewhere().lives() is None


@pytest.mark.parametrize("field", ["host", "pid_namespace"])
def test_a_number_of_another_host_or_namespace_says_nothing(field: str) -> None:
    gone = dataclasses.replace(of(2**22 + 1, "1"), **{field: "another"})

    assert gone.lives() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process started")
def test_a_pid_that_came_round_again_is_another_process() -> None:
    assert of(os.getpid(), start_of(os.getpid())).lives() is True
    assert of(os.getpid(), "1").lives() is False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a zombie from a process")
def test_a_zombie_has_died() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        start = start_of(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert of(child.pid, start).lives() is False


def test_a_name_with_parentheses_does_not_confuse_the_start_time(tmp_path: Path) -> None:
    (tmp_path / str(os.getpid())).mkdir()
    numbers = " ".join(str(number) for number in range(4, 53))
    (tmp_path / str(os.getpid()) / "stat").write_text(f"{os.getpid()} (a) S (b)) R {numbers}\n")

    assert Owner.of_this_process(tmp_path).process_start == "22"


def test_without_proc_a_process_is_known_by_its_number_alone(tmp_path: Path) -> None:
    owner = Owner.of_this_process(tmp_path / "none")
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert (owner.process_start, owner.pid_namespace) == ("", "")
    assert owner.lives(tmp_path / "none") is None
    assert dataclasses.replace(owner, pid=child.pid).lives(tmp_path / "none") is False


def test_a_number_that_no_process_can_have_is_dead() -> None:
    assert of(2**70, "1").lives() is False
