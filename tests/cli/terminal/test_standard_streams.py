"""Streams that are closed, full or a terminal, and Ctrl-C before the command line has loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fakes import command_line

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")


def in_shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run *line*, in which `wanworker` is the command."""
    env = {**command_line.environment(folder, None), "PYTHON": sys.executable}
    script = f'wanworker() {{ "$PYTHON" -m wanworker "$@"; }}\n{line}'
    return subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=90)


@pytest.mark.parametrize(
    ("line", "code"),
    [("fetch --list >&-", 0), ("fetch nothing 2>&-", 2), ("render - <&-", 2), ("--version >&- 2>&-", 0)],
)
def test_a_closed_stream_is_no_failure_and_the_others_do_not_take_its_place(
    tmp_path: Path, line: str, code: int
) -> None:
    done = in_shell(tmp_path, f"wanworker {line}")

    assert (code, "") == (done.returncode, done.stdout)
    assert "Traceback" not in done.stderr


def test_a_closed_stdin_is_an_empty_prompt(tmp_path: Path) -> None:
    done = in_shell(tmp_path, "wanworker render - <&-")

    assert "failed  The prompt was to come from stdin (-), and stdin is empty.\n" == done.stderr


@FULL
@pytest.mark.parametrize("argv", ["fetch --list", "--help", "--version", "doctor --json"])
def test_a_full_disk_under_stdout_is_said_in_a_line(tmp_path: Path, argv: str) -> None:
    done = in_shell(tmp_path, f"wanworker {argv} > /dev/full")

    assert 1 == done.returncode
    assert [
        "failed  stdout cannot be written (No space left on device).",
        "hint    Free some space, or name another file.",
    ] == done.stderr.splitlines()


@FULL
def test_a_video_that_stdout_does_not_take_is_named(tmp_path: Path) -> None:
    done = in_shell(tmp_path, "wanworker render 'a star' --size 128x128 --frames 5 --steps 1 -o - > /dev/full")

    (video,) = tmp_path.rglob("*.mp4")
    failure = done.stderr.splitlines()[-2:]
    assert 1 == done.returncode
    assert ["failed  stdout cannot be written (No space left on device).", f"hint    The video is {video}."] == failure


@pytest.mark.parametrize(("module", "first_import"), [("wanworker", "typer"), ("wanworker.rest", "uvicorn")])
def test_ctrl_c_while_the_modules_load_ends_without_a_traceback(tmp_path: Path, module: str, first_import: str) -> None:
    (tmp_path / f"{first_import}.py").write_text("raise KeyboardInterrupt")
    env = {**command_line.environment(tmp_path, None)}
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"

    done = subprocess.run([sys.executable, "-m", module], cwd=tmp_path, env=env, capture_output=True, text=True)

    assert (130, "", "") == (done.returncode, done.stdout, done.stderr)
