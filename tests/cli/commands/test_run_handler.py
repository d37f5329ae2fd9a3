"""What scripts/run shows, by the real program around a stand-in for handler.py that keeps a real record."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wanworker.cli.commands.run_handler import why, with_fields
from wanworker.jobs.model import JobStatus
from wanworker.jobs.store.job_store import JobStore

ROOT = Path(__file__).resolve().parents[3]
HANDLER = ROOT / "tests" / "fakes" / "handler.py"


def start(out_dir: Path, prompt: str, *, ignoring: str = "") -> subprocess.Popen[str]:
    """Start it as a shell does that has it ignore the signals named in *ignoring*."""
    test_input = out_dir.parent / "test_input.json"
    test_input.write_text(json.dumps({"input": {"prompt": "its own", "return_video": False}}))
    argv = [
        sys.executable,
        "-m",
        "wanworker.cli.commands.run_handler",
        str(out_dir),
        str(HANDLER),
        str(test_input),
        prompt,
    ]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "WAN_OUT_DIR": str(out_dir)}
    argv = ["sh", "-c", f'trap "" {ignoring}; exec "$@"', "sh", *argv] if ignoring else argv
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def show(out_dir: Path, prompt: str) -> tuple[int | None, str, str]:
    process = start(out_dir, prompt)
    said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


def test_a_video_is_named_with_its_contact_sheet_and_log(tmp_path: Path) -> None:
    code, said, complained = show(tmp_path / "out", "renders")

    (video,) = (tmp_path / "out").glob("run-*.mp4")
    sheet, log = video.with_suffix(".png"), video.with_suffix(".log")
    expected = [
        "note           frame_num 4 was changed to 5.",
        f"video          {video}  (64x48, 5 frames, 8 fps, mini-wan)",
        f"contact sheet  {sheet}",
        f"log            {log}",
    ]
    assert (0, expected) == (code, said.splitlines()), complained
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert "starting" in complained


def test_the_handler_does_not_wait_for_the_libraries_of_the_command_line() -> None:
    code = "import sys, wanworker.cli.commands.run_handler; print({'typer', 'rich', 'pydantic'} & {*sys.modules})"
    argv = [sys.executable, "-c", code]

    done = subprocess.run(argv, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")})

    assert "set()\n" == done.stdout, done.stderr


def test_the_next_run_renders_again(tmp_path: Path) -> None:
    show(tmp_path / "out", "renders")
    show(tmp_path / "out", "renders")

    assert 2 == len(list((tmp_path / "out").glob("run-*.mp4")))


def test_a_recorded_failure_is_shown_with_its_hint(tmp_path: Path) -> None:
    code, said, complained = show(tmp_path / "out", "fails")

    assert (1, "") == (code, said)
    assert "failed  The GPU is full.\nhint    Ask for less.\n" in complained


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("refused", "failed  no such size.\nhint    Correct the request and send it again.\n"),
        ("will not start", "failed  COMFYUI_PORT: not a number\nlog "),
        ("dies", "failed  ImportError: no module named runpod\nlog "),
    ],
)
def test_a_failure_without_a_record_is_found_in_the_log(tmp_path: Path, prompt: str, expected: str) -> None:
    code, _, complained = show(tmp_path / "out", prompt)

    assert 1 == code
    assert expected in complained


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_stopping_it_stops_the_handler_first(tmp_path: Path, number: int, expected: int) -> None:
    process = start(tmp_path / "out", "hangs")
    wait_until_it_hangs(tmp_path / "out")
    process.send_signal(number)
    process.communicate(timeout=60)

    (job,) = JobStore(tmp_path / "out" / "jobs").recent().jobs
    assert expected == process.returncode
    assert JobStatus.CANCELLED is job.status
    assert job.owner.lives() is False


def test_what_nohup_and_a_background_job_ignore_stays_ignored_and_sigterm_stops_it_all_the_same(tmp_path: Path) -> None:
    process = start(tmp_path / "out", "hangs", ignoring="INT HUP")
    wait_until_it_hangs(tmp_path / "out")
    ignored = int(re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())[0], 16)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    (job,) = JobStore(tmp_path / "out" / "jobs").recent().jobs
    assert [True, True] == [bool(ignored >> number - 1 & 1) for number in (signal.SIGINT, signal.SIGHUP)]
    assert 143 == process.returncode
    assert JobStatus.CANCELLED is job.status


def wait_until_it_hangs(out_dir: Path) -> None:
    give_up = time.monotonic() + 60
    while not (out_dir / "hangs").exists():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_prompt_reaches_the_handler_whole(tmp_path: Path) -> None:
    prompt = "a \"red\" star's\nway \\ \u00e9t\u00e9 \U0001f31f 'x' $HOME"

    show(tmp_path / "out", prompt)

    assert prompt == json.loads((tmp_path / "out" / "fields.json").read_text())["prompt"]


def test_the_job_keeps_its_other_fields() -> None:
    job = {"id": "x", "input": {"prompt": "its own", "seed": 3}}

    assert {"id": "x", "input": {"prompt": "its own", "seed": 3, "request_id": "run-1"}} == with_fields(job, "run-1")
    assert "mine" == with_fields(job, "run-1", "mine")["input"]["prompt"]


def test_the_last_failure_in_a_log_counts() -> None:
    log = "The job failed: DISK_FULL no room.\nThe job failed: OUT_OF_MEMORY too large.\nfailed with error: too large."

    assert ("OUT_OF_MEMORY", "too large.") == why(log)


def test_a_silent_end_is_called_one() -> None:
    assert (None, "handler.py ended without a message.") == why("\n")


def test_request_ids_are_fit_for_the_worker(tmp_path: Path) -> None:
    show(tmp_path / "out", "refused")

    fields = json.loads((tmp_path / "out" / "fields.json").read_text())
    assert re.fullmatch(r"run-\d{8}-\d{6}-[0-9a-f]{4}", fields["request_id"])
