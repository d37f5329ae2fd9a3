from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fakes import command_line
from wanworker import __version__
from wanworker.cli.commands import render
from wanworker.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command.name, "--help"])  # type: ignore[attr-defined]

    assert 0 == caught.value.code
    assert command.summary in " ".join(capsys.readouterr().out.split())  # type: ignore[attr-defined]


@pytest.mark.parametrize("argv", [[], ["rendr", "a star"], ["render"], ["render", "a", "star"], ["submit", "a star"]])
def test_a_command_that_is_none_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)

    assert 2 == caught.value.code
    assert "usage: wanworker" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert f"wanworker {__version__}\n" == capsys.readouterr().out


@pytest.mark.parametrize("argv", [["render", "a star"], ["serve"], ["submit", "a star", "--endpoint", "abc"]])
def test_a_bad_setting_is_one_line_and_exit_code_2(tmp_path: Path, argv: list[str]) -> None:
    code, said, complained = command_line.run(tmp_path, *argv, env={"COMFYUI_PORT": "many"})

    assert (2, "") == (code, said)
    first, hint = complained.splitlines()
    assert first.startswith("failed  The settings are wrong: COMFYUI_PORT: ")
    assert "many" not in first
    assert hint.startswith("hint    ")


def test_the_module_the_entry_point_and_the_script_are_the_same_command(tmp_path: Path) -> None:
    script = subprocess.run([ROOT / "scripts" / "wanworker", "--version"], cwd=tmp_path, capture_output=True, text=True)
    entry_point = "import sys; from wanworker.cli.main import main; sys.exit(main(['--version']))"
    argv = [sys.executable, "-c", entry_point]
    env = command_line.environment(tmp_path, None)
    installed = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=env)

    expected = f"wanworker {__version__}\n"
    assert expected == script.stdout == installed.stdout
    assert (0, expected, "") == command_line.run(tmp_path, "--version")
    assert 'wanworker = "wanworker.cli.main:main"' in (ROOT / "pyproject.toml").read_text()


def test_help_is_not_kept_waiting_by_what_only_rendering_needs() -> None:
    code = "import sys, wanworker.cli.main; print({'pydantic', 'aiohttp', 'PIL'} & {*sys.modules})"
    argv = [sys.executable, "-c", code]

    done = subprocess.run(argv, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")})

    assert "set()\n" == done.stdout, done.stderr
    assert render.COMMAND in COMMANDS
