"""scripts/install_comfyui.sh with a real git, on a repository that stands in for ComfyUI's, and a stand-in for pip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "install_comfyui.sh"
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")

#: Stands in for Python: `-m venv` copies it into the folder, pip notes what it was asked for. Knobs are files in HOME.
PYTHON = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$HOME/calls"
case "$*" in
  *version_info*) [ ! -e "$HOME/old" ] ;;
  *ensurepip*) [ ! -e "$HOME/no-ensurepip" ] ;;
  --version) echo "Python 3.8.1" ;;
  "-m venv --system-site-packages "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m pip --version") ;;
  -) [ ! -e "$HOME/torch" ] || cat "$HOME/torch" ;;
  "-m pip install"*) cat "${@: -1}" > "$HOME/constraints"; [ ! -e "$HOME/pip-fails" ] ;;
esac
"""


@dataclass
class Machine:
    """A home folder, an upstream repository, and the script's environment."""

    home: Path
    upstream: Path
    env: dict[str, str]

    @property
    def root(self) -> Path:
        return Path(self.env["COMFYUI_ROOT"])

    def install(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *arguments], env=self.env | env, capture_output=True, text=True, timeout=60, check=False
        )

    def commit(self, version: str) -> str:
        """Make a commit upstream and return its name."""
        (self.upstream / "main.py").write_text(f"print('{version}')\n")
        (self.upstream / "requirements.txt").write_text("torch\n")
        git(self.upstream, "add", ".")
        git(self.upstream, "commit", "-qm", version)
        return git(self.upstream, "rev-parse", "HEAD")

    def calls(self) -> list[str]:
        """What Python was asked for that takes time, since the last question."""
        path = self.home / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if line.startswith(("-m venv", "-m pip install"))]


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run([*GIT, "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home, upstream, tools = tmp_path / "home", tmp_path / "upstream", tmp_path / "bin"
    for folder in (home, upstream, tools):
        folder.mkdir()
    (tools / "python3").write_text(PYTHON)
    (tools / "python3").chmod(0o755)
    git(upstream, "init", "-q")
    git(upstream, "config", "uploadpack.allowAnySHA1InWant", "true")  # as the real host has it
    env = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "HOME": str(home),
        "COMFYUI_ROOT": str(tmp_path / "work space" / "ComfyUI"),
        "COMFYUI_REPOSITORY": f"file://{upstream}",
    }
    made = Machine(home, upstream, env)
    env["COMFYUI_COMMIT"] = made.commit("one")
    made.commit("two")
    return made


def test_the_pinned_commit_is_checked_out_and_its_requirements_installed(machine: Machine) -> None:
    done = machine.install()

    assert 0 == done.returncode, done.stderr
    assert "print('one')\n" == (machine.root / "main.py").read_text()
    venv, pip = machine.calls()
    assert f"-m venv --system-site-packages {machine.root}/.venv" == venv
    assert f"-r {machine.root}/requirements.txt requests -c " in pip  # it imports requests and does not ask for it
    assert f"COMFYUI_ROOT={machine.root}" in done.stderr


def test_the_second_time_nothing_is_done(machine: Machine) -> None:
    machine.install()
    machine.calls()
    shutil.rmtree(machine.upstream)

    done = machine.install()

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert not (machine.home / "calls").exists()


def test_another_pin_moves_the_checkout_and_keeps_the_environment(machine: Machine) -> None:
    machine.install()
    machine.calls()
    newer = git(machine.upstream, "rev-parse", "HEAD")

    done = machine.install(COMFYUI_COMMIT=newer)

    assert 0 == done.returncode, done.stderr
    assert "print('two')\n" == (machine.root / "main.py").read_text()
    assert ["-m pip install"] == [call[:14] for call in machine.calls()]


def test_a_failed_pip_is_said_and_tried_again(machine: Machine) -> None:
    (machine.home / "pip-fails").touch()
    failed = machine.install()
    (machine.home / "pip-fails").unlink()

    again = machine.install()

    assert 1 == failed.returncode
    assert "pip failed" in failed.stderr
    assert 0 == again.returncode, again.stderr
    assert 1 == sum(call.startswith("-m venv") for call in machine.calls())


def test_a_torch_that_is_there_is_kept(machine: Machine) -> None:
    (machine.home / "torch").write_text("torch==2.8.0+cu128\n")

    machine.install()

    assert "torch==2.8.0+cu128\n" == (machine.home / "constraints").read_text()


def test_a_commit_that_is_not_there_fails_before_any_installation(machine: Machine) -> None:
    done = machine.install(COMFYUI_COMMIT="0" * 40)

    assert 1 == done.returncode
    assert "could not be fetched" in done.stderr
    assert [] == machine.calls()


@pytest.mark.parametrize("commit", ["v0.33.0", "783545f6", "master"])
def test_a_name_that_can_be_moved_is_no_pin(machine: Machine, commit: str) -> None:
    done = machine.install(COMFYUI_COMMIT=commit)

    assert 1 == done.returncode
    assert "40 hexadecimal digits" in done.stderr


def test_a_folder_of_somebody_else_is_left_alone(machine: Machine) -> None:
    machine.root.mkdir(parents=True)
    (machine.root / "theirs.txt").write_text("mine")

    done = machine.install()

    assert 1 == done.returncode
    assert "is no git checkout" in done.stderr
    assert [machine.root / "theirs.txt"] == list(machine.root.iterdir())


def test_changes_of_the_user_are_not_overwritten(machine: Machine) -> None:
    machine.install()
    (machine.root / "main.py").write_text("changed\n")

    done = machine.install(COMFYUI_COMMIT=git(machine.upstream, "rev-parse", "HEAD"))

    assert 1 == done.returncode
    assert "has changes of yours" in done.stderr
    assert "changed\n" == (machine.root / "main.py").read_text()


def test_custom_nodes_and_models_survive_another_pin(machine: Machine) -> None:
    machine.install()
    kept = [machine.root / name for name in ("custom_nodes/pack/node.py", "models/vae/wan.safetensors")]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("kept")

    done = machine.install(COMFYUI_COMMIT=git(machine.upstream, "rev-parse", "HEAD"))

    assert 0 == done.returncode, done.stderr
    assert ["kept", "kept"] == [path.read_text() for path in kept]


@pytest.mark.parametrize(
    ("knob", "said"), [("old", "Python 3.10 or newer"), ("no-ensurepip", "apt install python3-venv")]
)
def test_an_unfit_python_is_refused_with_what_to_do(machine: Machine, knob: str, said: str) -> None:
    (machine.home / knob).touch()

    done = machine.install()

    assert 1 == done.returncode
    assert said in done.stderr


def test_help_needs_nothing_and_arguments_are_refused(machine: Machine) -> None:
    shown, refused = machine.install("--help"), machine.install("v0.33.0")

    assert 0 == shown.returncode
    assert shown.stdout.startswith("Install the ComfyUI")
    assert 1 == refused.returncode
    assert [] == machine.calls()
    assert not machine.root.exists()


def test_the_pin_is_a_whole_commit_and_the_script_stands_alone() -> None:
    text = SCRIPT.read_text()

    assert re.search(r"\{COMFYUI_COMMIT:-783545f6[0-9a-f]{32}\}", text)
    assert os.access(SCRIPT, os.X_OK)
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0
