"""bench/on_gpu.sh: each part has its own limit, none stops the rest, and the file says what became of each."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "on_gpu.sh"

WRITES = "import json, pathlib, sys; pathlib.Path(sys.argv[sys.argv.index('--out') + 1]).write_text(json.dumps({argv}))"
#: It tells its own number and its child's, writes figures, and stays for ever.
HANGS = """
import json, os, pathlib, signal, subprocess, sys
left = subprocess.Popen(["sleep", "600"])
pathlib.Path(sys.argv[-1]).write_text(json.dumps([os.getpid(), left.pid]))
signal.pause()
"""


def figures(tmp_path: Path, *argv: str) -> tuple[int, dict[str, Any]]:
    """Run the script and return its exit code and the parts of its file."""
    out = tmp_path / "figures.json"
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(SCRIPT), "--out", str(out), *argv], env=environment, capture_output=True, text=True)
    assert out.exists(), done.stderr
    parts: dict[str, Any] = json.loads(out.read_text())["parts"]
    return done.returncode, parts


def program(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def is_gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or ") Z " in status.read_text()


@pytest.mark.slow
def test_a_part_that_fails_or_hangs_costs_no_other_part_its_figures(tmp_path: Path) -> None:
    fine = program(tmp_path / "fine.py", WRITES.format(argv="sys.argv[1:2]"))
    fails = program(tmp_path / "fails.py", "raise SystemExit('no such card')")
    hangs = program(tmp_path / "hangs.py", HANGS)
    parts = tmp_path / "parts.json"
    parts.write_text(json.dumps([["fails", 30, [fails]], ["hangs", 5, [hangs]], ["fine", 30, [fine, "an argument"]]]))

    code, found = figures(tmp_path, "--parts", str(parts))

    assert 1 == code
    assert "failed with exit code 1" == found["fails"]["became"]
    assert found["fails"]["last_words"].endswith("no such card\n")
    assert "cut off after 5 s" == found["hangs"]["became"]
    assert ("done", ["an argument"]) == (found["fine"]["became"], found["fine"]["figures"])
    assert all(is_gone(pid) for pid in found["hangs"]["figures"])


@pytest.mark.slow
def test_whoever_ends_the_script_has_what_was_known_and_nothing_of_it_stays(tmp_path: Path) -> None:
    parts, out = tmp_path / "parts.json", tmp_path / "new" / "figures.json"
    parts.write_text(json.dumps([["hangs", 100, [program(tmp_path / "hangs.py", HANGS)]], ["never", 100, ["none.py"]]]))
    argv = [str(SCRIPT), "--out", str(out), "--parts", str(parts)]
    with subprocess.Popen(argv, env={**os.environ, "PYTHON": sys.executable}, stdout=subprocess.DEVNULL) as script:
        hangs: dict[str, Any] = {}
        while not hangs.get("figures"):
            assert script.poll() is None
            time.sleep(0.05)
            hangs = json.loads(out.read_text())["parts"].get("hangs", {}) if out.exists() else {}
        script.terminate()

    assert 128 + signal.SIGTERM == script.returncode
    assert {"hangs"} == set(json.loads(out.read_text())["parts"])
    assert "runs, or was ended from outside" == hangs["became"]
    assert all(is_gone(pid) for pid in hangs["figures"])


@pytest.mark.parametrize(
    ("free_gb", "there", "kept"),
    [(10, {"5b"}, set()), (30, {"5b"}, {"5b"}), (10, {"5b", "a14b"}, {"5b", "a14b"})],
    ids=["short", "room", "written"],
)
def test_a_disk_that_is_short_loses_the_other_models_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: int, there: set[str], kept: set[str]
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    on_gpu = importlib.import_module("on_gpu")
    for name in there:
        (tmp_path / name).mkdir()

    on_gpu.make_room(tmp_path, "a14b", free_gb * 10**9)

    assert kept == {path.name for path in tmp_path.iterdir()}


def test_what_does_not_fit_into_the_time_is_left_out_and_said(tmp_path: Path) -> None:
    parts = tmp_path / "parts.json"
    parts.write_text(json.dumps([["fine", 30, [program(tmp_path / "fine.py", WRITES.format(argv="1"))]]]))

    code, found = figures(tmp_path, "--parts", str(parts), "--limit-s", "0")

    assert (1, "left out: no time was left") == (code, found["fine"]["became"])


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_every_part_runs_with_small_models_on_any_machine(tmp_path: Path) -> None:
    code, found = figures(tmp_path, "--small", "--limit-s", "1500")

    assert 0 == code, found
    assert ["small_model", "gemm", "fastwan_720p121_3_steps", "a14b_4_steps", "placements_a14b", "placements_5b"] == [
        *found
    ]
    for name in ("placements_a14b", "placements_5b"):
        assert 1 == found[name]["figures"]["exact_files"]
    for name in ("fastwan_720p121_3_steps", "a14b_4_steps"):
        first = found[name]["figures"]["jobs"][0]
        assert first["load_s"] > 0
        assert len(first["steps_s"]) == int(found[name]["figures"]["asked"]["steps"])
        assert {"exact", "fast"} == {job["profile"] for job in found[name]["figures"]["jobs"]}
    assert all(0 < row["error"] < 0.05 for row in found["gemm"]["figures"]["rows"])
