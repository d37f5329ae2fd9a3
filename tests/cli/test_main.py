from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pages
from fakes import command_line
from wanworker import __version__
from wanworker.cli._base import Command
from wanworker.cli.commands import render
from wanworker.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("columns", [40, 100])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself(
    command: Command, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    codes = [main([command.name, "--help"]), main([command.name, "-h"])]

    long, short = (page.strip() for page in capsys.readouterr().out.split("Usage: ")[1:])
    words = " ".join(long.split())
    assert ([0, 0], long) == (codes, short)
    assert f"wanworker {command.name}" in words
    assert command.summary in words
    assert [] == [name for name in options_of(command) if f" {name} " not in words]
    assert [] == [line for line in long.splitlines() if len(line) > columns]


def options_of(command: Command) -> list[str]:
    """Return the options as they are typed, and PROMPT and the like, from the names of the fields."""
    names = {field.name for field in dataclasses.fields(command.options)}
    arguments = names & {"prompt", "preset", "job_id"}
    return [
        *(name.upper().removeprefix("JOB_") for name in arguments),
        *(f"--{name.replace('_', '-')}" for name in names - arguments),
    ]


def test_the_first_page_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["-h"])

    words = " ".join(capsys.readouterr().out.split())
    assert [] == [command.name for command in COMMANDS if f"{command.name} {command.summary}" not in words]
    assert "--install-completion" in words


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "Missing command."),
        (["rendr", "a star"], "No such command 'rendr'. Did you mean 'render'?"),
        (["render"], "Missing argument 'PROMPT'."),
        (["render", "a", "star"], "Got unexpected extra argument(s) (star)"),
        (["render", "a star", "--steps", "0"], "Invalid value for '--steps': It must be 1 or more."),
        (["render", "a star", "--steps", "many"], "Invalid value for '--steps': It must be a whole number."),
        (["render", "a star", "--fps", "fast"], "Invalid value for '--fps': It must be a number."),
        (["render", "a star", "--fps", "nan"], "Invalid value for '--fps': It must be"),
        (["serve", "--port", "99999"], "Invalid value for '--port': It must be 65535 or less."),
        (["render", "a star", "--negativ", "x"], "No such option: --negativ (Possible options: --negative)"),
        (["fetch", "--verif"], "No such option: --verif (Possible options: --verify)"),
        (["render", "a star", "--steps"], "Option '--steps' requires an argument."),
        (["render", "a star", "--force=yes"], "Option '--force' does not take a value."),
        (["render", "a star", "--task", "x"], "Invalid value for '--task': 'x' is not one of 't2v-A14B', 'i2v-A14B'"),
        (["plan", "x", "--frames", "0"], "Invalid value for '--frames': It must be 1 or more."),
        (["plan", "x", "--steps", "900"], "Invalid value for '--steps': It must be 200 or less."),
        (["plan", "x", "--frames", "5.5"], "Invalid value for '--frames': It must be a whole number."),
        (["plan", "x", "--fps", "many"], "Invalid value for '--fps': It must be a number."),
        (["plan", "x", "--image", "FTP://host/a.png"], "--image FTP://host/a.png: only http(s) URLs are fetched."),
        (["submit", "a star"], "Give one of --endpoint and --url."),
        (["submit", "a star", "--url", "http://h", "--endpoint", "abc"], "Give one of --endpoint and --url."),
    ],
)
def test_a_command_that_is_none_exits_with_2_and_a_plain_line(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == main(argv)

    said, complained = capsys.readouterr()
    first, hint = complained.splitlines()
    assert "" == said
    assert first.startswith(f"failed  {told}")
    assert hint.startswith("hint    ")


def test_the_hint_of_a_misuse_is_a_command_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    main(["serve", "--prt", "80"])
    main(["render-it"])
    main(["render", "a", "red", "star"])
    main(["render", "--lora", "a red star"])

    hints = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hint")]
    assert [
        "hint    wanworker serve --help lists the options.",
        "hint    wanworker --help lists the commands.",
        "hint    Put a text with spaces in quotes. wanworker render --help lists the options.",
        "hint    What follows --lora is its name: put the prompt first. wanworker render --help lists the options.",
    ] == hints


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["--version"])

    assert f"wanworker {__version__}\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("wanworker f", ["fetch"]),
        ("wanworker fetch fast", ["fastwan-5b"]),
        ("wanworker render x --task s", ["s2v-14B"]),
        ("wanworker submit x --engine wan", ["wan_cli"]),
        ("wanworker doctor --js", ["--json"]),
        ("wanworker j", ["jobs"]),
        ("wanworker can", ["cancel"]),
        ("wanworker download x --ou", ["--output"]),
    ],
)
def test_a_shell_completes_commands_options_and_names(tmp_path: Path, typed: str, completed: list[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}

    code, said, complained = command_line.run(tmp_path, env={"_WANWORKER_COMPLETE": "complete_bash", **words})

    assert (0, completed) == (code, said.split()), complained


#: What a person types at a prompt of bash, and then a press of Tab after `wanworker fe`.
IN_BASH = """
eval "$(wanworker --show-completion)"
COMP_WORDS=(wanworker fe) COMP_CWORD=1
_wanworker_completion wanworker
echo "completed: ${COMPREPLY[*]}"
"""


def test_bash_takes_the_completion_that_is_shown_and_the_one_that_is_installed(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("# mine")
    (told,) = (text for text in pages.blocks(pages.read("docs/usage.md"), "sh") if "--install-completion" in text)
    env = command_line.environment(tmp_path, None)
    env["PATH"] = f"{ROOT / 'scripts'}:{env['PATH']}"

    done = subprocess.run(["bash", "-c", told + IN_BASH], cwd=tmp_path, capture_output=True, text=True, env=env)

    (installed,) = (tmp_path / ".bash_completions").iterdir()
    assert "completed: fetch\n" in done.stdout, done.stderr
    assert f"bash completion installed in {installed}" in done.stdout
    assert "_wanworker_completion" in installed.read_text()
    assert ["# mine", f"source '{installed}'"] == (tmp_path / ".bashrc").read_text().splitlines()


#: The codes of a terminal that colour text: 30 to 37, 90 to 97, and 38 for the larger palettes.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|9\d)[;m]")
CASES = pytest.mark.parametrize("argv", [["--help"], ["render", "--help"], ["fetch", "--list"], ["doctor"], ["rendr"]])


@CASES
def test_a_pipe_gets_no_escape_codes(tmp_path: Path, argv: list[str]) -> None:
    _, said, complained = command_line.run(tmp_path, *argv, env={"TERM": "xterm-256color", "COLORTERM": "truecolor"})

    assert said + complained
    assert "\x1b" not in said + complained


@CASES
def test_no_color_leaves_a_terminal_without_colours(tmp_path: Path, argv: list[str]) -> None:
    env = {"TERM": "xterm-256color", "NO_COLOR": "1"}

    _, shown = command_line.on_terminal(tmp_path, *argv, columns=100, env=env)

    assert shown
    assert COLOUR.search(shown) is None


def test_a_terminal_has_colours_and_its_help_cuts_no_name_off(tmp_path: Path) -> None:
    _, table = command_line.on_terminal(tmp_path, "doctor", columns=100)
    _, page = command_line.on_terminal(tmp_path, "submit", "--help", columns=80)

    words = re.sub(r"\x1b\[[\d;]*m", "", page)
    submit = next(command for command in COMMANDS if command.name == "submit")
    assert COLOUR.search(table)
    assert COLOUR.search(page)
    assert "\u2026" not in words
    assert [] == [name for name in options_of(submit) if f" {name} " not in words]


def test_a_narrow_terminal_gets_the_plain_page(tmp_path: Path) -> None:
    _, shown = command_line.on_terminal(tmp_path, "render", "--help", columns=40)

    lines = shown.splitlines()
    assert [] == [line for line in lines if len(line) > 40]
    assert any(line.startswith("  --last-image FILE|URL ") for line in lines)


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
    entry_point = "import sys; from wanworker.__main__ import main; sys.exit(main())"
    argv = [sys.executable, "-c", entry_point, "--version"]
    env = command_line.environment(tmp_path, None)
    installed = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=env)

    expected = f"wanworker {__version__}\n"
    assert expected == script.stdout == installed.stdout
    assert (0, expected, "") == command_line.run(tmp_path, "--version")
    assert 'wanworker = "wanworker.__main__:main"' in (ROOT / "pyproject.toml").read_text()


def test_help_is_not_kept_waiting_by_what_only_rendering_needs() -> None:
    code = "import sys, wanworker.cli.main; print({'pydantic', 'aiohttp', 'PIL', 'rich'} & {*sys.modules})"
    argv = [sys.executable, "-c", code]

    done = subprocess.run(argv, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")})

    assert "set()\n" == done.stdout, done.stderr
    assert render.COMMAND in COMMANDS
