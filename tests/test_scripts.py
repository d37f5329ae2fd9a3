"""scripts/venv, run and test, as programs: mostly with a stand-in for Python, so that no test waits for pip."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FAKE_PYTHON = ROOT / "tests" / "fakes" / "python3"
#: All that the scripts and the stand-in for Python call. PATH holds nothing else: no nvidia-smi of this machine.
TOOLS = (
    *("bash", "basename", "cat", "cmp", "cp", "cut", "dirname", "du", "env", "false", "true"),
    *("find", "flock", "grep", "ln", "mkdir", "readlink", "rm", "sed", "sleep", "touch"),
)
SETS_UP = ("-m venv", "-m pip install")
LOCKED = "-m pip install --quiet --progress-bar off --require-hashes --no-deps -r"
TORCH = "-m pip install --quiet --progress-bar off torch==2.13.0+cpu"


@dataclass(frozen=True)
class Project:
    """A fresh clone, as far as the scripts know, and the environment to run them in."""

    root: Path
    env: dict[str, str]

    def start(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv, cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )

    def knob(self, name: str) -> Path:
        (self.root / name).touch()
        return self.root / name

    def set_up_calls(self) -> list[str]:
        """What Python was asked for that takes time."""
        calls = self.root / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [line for line in lines if line.startswith(SETS_UP)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "clone of it"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    (root / "requirements.txt").write_text("# Runs the models.\ntorch==2.13.0\n")
    (root / "requirements.lock").write_text("runpod==1.12.0\n")
    (root / "requirements-dev.lock").write_text("-r requirements.lock\npytest==9.2.0\n")
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    shutil.copy(FAKE_PYTHON, bin_dir / "python3")
    for name in TOOLS:
        if found := shutil.which(name):
            (bin_dir / name).symlink_to(found)
    be_system(bin_dir, "Linux")
    env = {"PATH": str(bin_dir), "HOME": str(tmp_path), "PYTHON": "python3", "NVIDIA_DEVICE": f"{tmp_path}/no-card"}
    return Project(root, env)


def be_system(bin_dir: Path, name: str) -> None:
    """Let `uname` say *name*, whatever this machine is."""
    (bin_dir / "uname").write_text(f"#!/usr/bin/env bash\necho {name}\n")
    (bin_dir / "uname").chmod(0o755)


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_the_first_set_up_makes_the_environment_and_installs(project: Project) -> None:
    done = project.run("scripts/venv", "requirements.lock")

    assert 0 == done.returncode, done.stderr
    assert ["-m venv .venv", f"{LOCKED} requirements.lock", TORCH] == project.set_up_calls()


def test_the_second_set_up_does_not_even_start_python(project: Project) -> None:
    project.run("scripts/venv", "requirements.lock")
    (project.root / "calls").unlink()

    done = project.run("scripts/venv", "requirements.lock")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert not (project.root / "calls").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("requirements.lock", "runpod==1.12.0\nnumpy==2.4.6\n"), ("requirements.txt", "torch==2.13.1\n")],
    ids=["lock", "torch"],
)
def test_a_changed_lock_or_torch_is_installed_into_the_same_environment(project: Project, name: str, text: str) -> None:
    project.run("scripts/venv", "requirements.lock")
    (project.root / name).write_text(text)

    again = project.run("scripts/venv", "requirements.lock")

    assert "already satisfied" not in again.stderr
    assert 1 == project.set_up_calls().count("-m venv .venv")
    assert 2 == project.set_up_calls().count(f"{LOCKED} requirements.lock")


def test_a_requirement_that_the_lock_has_already_installs_nothing(project: Project) -> None:
    project.run("scripts/venv", "requirements.lock")
    (project.root / "calls").unlink()
    (project.root / "requirements.txt").write_text("# Another reason.\ntorch==2.13.0\nrunpod>=1,<2\n")

    project.run("scripts/venv", "requirements.lock")

    assert [] == project.set_up_calls()


def test_what_the_tests_need_includes_what_a_run_needs(project: Project) -> None:
    project.run("scripts/venv", "requirements-dev.lock")

    project.run("scripts/venv", "requirements.lock")

    assert [f"{LOCKED} requirements-dev.lock"] == [call for call in project.set_up_calls() if LOCKED in call]


def test_a_run_leaves_the_tools_of_the_tests_out(project: Project) -> None:
    project.run("scripts/venv", "requirements.lock")

    project.run("scripts/venv", "requirements-dev.lock")

    assert [f"{LOCKED} requirements-dev.lock", TORCH] == project.set_up_calls()[-2:]


def test_a_failed_installation_is_tried_again_in_the_same_environment(project: Project) -> None:
    knob = project.knob("pip-fails")
    failed = project.run("scripts/venv", "requirements.lock")
    knob.unlink()

    again = project.run("scripts/venv", "requirements.lock")

    assert 1 == failed.returncode
    assert "pip could not install requirements.lock" in failed.stderr
    assert 0 == again.returncode
    assert 1 == project.set_up_calls().count("-m venv .venv")


def test_packages_that_do_not_fit_together_are_named_and_the_next_set_up_starts_afresh(project: Project) -> None:
    knob = project.knob("pip-clashes")
    clashed = project.run("scripts/venv", "requirements.lock")
    knob.unlink()

    again = project.run("scripts/venv", "requirements.lock")

    assert 1 == clashed.returncode
    assert "old 1.0 has requirement numpy<2" in clashed.stderr
    assert 0 == again.returncode, again.stderr
    assert 2 == project.set_up_calls().count("-m venv .venv")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_set_up_starts_afresh(project: Project, number: int) -> None:
    knob = project.knob("pip-waits")
    process = project.start("scripts/venv", "requirements.lock")
    wait_for(lambda: (project.root / "pip-started").exists())
    os.killpg(process.pid, number)
    process.communicate(timeout=20)
    knob.unlink()
    assert (project.root / ".venv" / "half-a-package").exists()
    leftover = project.root / ".venv" / "leftover"
    leftover.touch()

    again = project.run("scripts/venv", "requirements.lock")

    assert 0 != process.returncode
    assert 0 == again.returncode, again.stderr
    assert not leftover.exists()
    assert 2 == project.set_up_calls().count("-m venv .venv")


@pytest.mark.parametrize("has_flock", [True, False])
def test_of_two_set_ups_at_once_one_waits_and_finds_the_work_done(
    project: Project, tmp_path: Path, has_flock: bool
) -> None:
    flock = tmp_path / "bin" / "flock"
    if has_flock and not flock.exists():
        pytest.skip("this machine has no flock")
    if not has_flock:
        flock.unlink(missing_ok=True)
    knob = project.knob("pip-waits")
    first = project.start("scripts/venv", "requirements.lock")
    wait_for(lambda: (project.root / "pip-started").exists())
    second = project.start("scripts/venv", "requirements.lock")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.3)
    knob.unlink()
    for process in (first, second):
        process.communicate(timeout=20)

    assert [0, 0] == [first.returncode, second.returncode]
    assert 3 == len(project.set_up_calls())


def test_a_lock_of_a_dead_process_is_taken_over_where_there_is_no_flock(project: Project, tmp_path: Path) -> None:
    (tmp_path / "bin" / "flock").unlink(missing_ok=True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (project.root / ".venv").mkdir()
    (project.root / ".venv" / ".lock-of").symlink_to(str(ended.pid))

    done = project.run("scripts/venv", "requirements.lock")

    assert 0 == done.returncode, done.stderr
    assert not (project.root / ".venv" / ".lock-of").is_symlink()


def test_without_a_cpu_build_of_torch_the_indexs_own_build_is_taken(project: Project) -> None:
    project.knob("no-cpu-build")

    done = project.run("scripts/venv", "requirements.lock")

    assert 0 == done.returncode, done.stderr
    assert [TORCH, TORCH.removesuffix("+cpu")] == project.set_up_calls()[-2:]
    assert "No matching distribution" not in done.stderr


@pytest.mark.parametrize("sign", ["bin/nvidia-smi", "no-card"])
def test_with_a_gpu_no_cpu_build_is_asked_for(project: Project, tmp_path: Path, sign: str) -> None:
    (tmp_path / sign).symlink_to(tmp_path / "bin" / "true")

    done = project.run("scripts/venv", "requirements.lock")

    assert TORCH.removesuffix("+cpu") == project.set_up_calls()[-1]
    assert "about 5 GB on the disk" in done.stderr


def test_on_a_mac_no_cpu_build_is_asked_for_because_its_index_has_one_build(project: Project, tmp_path: Path) -> None:
    be_system(tmp_path / "bin", "Darwin")

    done = project.run("scripts/venv", "requirements.lock")

    assert TORCH.removesuffix("+cpu") == project.set_up_calls()[-1]
    assert "about 2 GB on the disk" in done.stderr


def test_the_size_is_said_before_anything_is_installed(project: Project) -> None:
    project.knob("pip-fails")

    done = project.run("scripts/venv", "requirements.lock")

    assert "about 2 GB on the disk" in done.stderr


def test_a_terminal_sees_a_bar_of_what_is_on_the_disk(project: Project) -> None:
    waits = project.knob("pip-waits")
    ours, theirs = os.openpty()
    running = subprocess.Popen(
        ["scripts/venv", "requirements.lock"], cwd=project.root, env=project.env, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while b"MB of about 2000 MB" not in seen:
        seen += os.read(ours, 4096)
    waits.unlink()
    code = running.wait(60)
    os.close(ours)

    assert 0 == code
    assert b"Successfully installed" not in seen


def test_an_old_python_is_refused_with_what_was_found(project: Project) -> None:
    project.knob("old")

    done = project.run("scripts/venv", "requirements.lock")

    assert 1 == done.returncode
    assert "Python 3.11 or newer is needed; found Python 3.9.2." in done.stderr


def test_a_python_without_ensurepip_names_the_package_to_install(project: Project) -> None:
    project.knob("no-ensurepip")

    done = project.run("scripts/venv", "requirements.lock")

    assert 1 == done.returncode
    assert "apt install python3-venv" in done.stderr


def test_run_hands_the_prompt_on_as_it_was_given(project: Project) -> None:
    prompt = 'a "red" star\'s\nway \\ to \u00e9t\u00e9 $HOME `ls` --help'

    done = project.run("scripts/run", prompt)

    arguments = (project.root / "arguments").read_text().split("\0")[:-1]
    root = str(project.root)
    assert 0 == done.returncode, done.stderr
    expected = [
        "-m",
        "wanworker.cli.commands.run_handler",
        f"{root}/outputs",
        f"{root}/handler.py",
        f"{root}/test_input.json",
        prompt,
    ]
    assert expected == arguments


def test_the_command_line_says_which_script_makes_its_environment(project: Project) -> None:
    done = project.run("scripts/wanworker", "doctor")

    assert 1 == done.returncode
    assert "run scripts/run once, which makes it." in done.stderr


def test_run_renders_into_outputs_unless_told_otherwise(project: Project) -> None:
    project.run("scripts/run")
    default = (project.root / "environment").read_text()
    project.env["WAN_OUT_DIR"] = "/elsewhere"
    project.run("scripts/run")

    assert f"WAN_OUT_DIR={project.root}/outputs\n" in default
    assert "WAN_OUT_DIR=/elsewhere\n" in (project.root / "environment").read_text()


def test_run_with_a_prompt_that_is_not_in_quotes_says_so_before_any_set_up(project: Project) -> None:
    done = project.run("scripts/run", "a", "red", "star")

    assert 2 == done.returncode
    assert "Put the prompt in quotes" in done.stderr
    assert [] == project.set_up_calls()


@pytest.mark.parametrize("script", ["lock", "run", "test"])
def test_help_is_given_without_any_set_up(project: Project, script: str) -> None:
    done = project.run(f"scripts/{script}", "--help")

    assert 0 == done.returncode
    assert done.stdout.splitlines()[0].endswith(('["a prompt"]', "[pytest arguments]", "NAME]"))
    assert [] == project.set_up_calls()


#: What handler.py and the program that started it, scripts/run's own process, have had of the CPU: a clock on the wall
#: counts what else the machine does.
TELL_CPU_SECONDS = """
import os
parent = open(f"/proc/{os.getppid()}/stat").read().rpartition(")")[2].split()
ticks = sum(int(number) for number in parent[11:15])
open("started", "w").write(repr(sum(os.times()[:4]) + ticks / os.sysconf("SC_CLK_TCK")))
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells what another process has used")
def test_the_second_run_starts_the_handler_within_half_a_second(project: Project) -> None:
    # A real interpreter with the real packages: what counts is everything up to the handler's first line. Its pip stays
    # out: it would ask an index, and install into the environment that these tests run in.
    executable = project.root / ".venv" / "bin" / "python"
    executable.parent.mkdir(parents=True)
    executable.write_text(f'#!/bin/sh\n[ "$2" = pip ] || exec "{sys.executable}" "$@"\n')
    executable.chmod(0o755)
    (project.root / "src").symlink_to(ROOT / "src")
    (project.root / "test_input.json").write_text('{"input": {"prompt": "a star"}}')
    (project.root / "handler.py").write_text(TELL_CPU_SECONDS)
    project.run("scripts/run")

    project.run("scripts/run")

    assert float((project.root / "started").read_text()) < 0.5


@pytest.mark.slow
def test_a_real_python_installs_real_wheels_of_the_locks_hashes_only(project: Project) -> None:
    wheel = project.root / "demo-1.0-py3-none-any.whl"
    write_wheel(wheel, "demo")
    # Indexes serve builds of one version under local suffixes.
    write_wheel(project.root / "torch-2.13.0+cpu-py3-none-any.whl", "torch", "2.13.0+cpu")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = project.root / "requirements.lock"
    lock.write_text(f"demo==1.0 \\\n    --hash=sha256:{digest[::-1]}\n")
    project.env.update(PYTHON=sys.executable, PIP_NO_INDEX="1", PIP_FIND_LINKS=".", PIP_CONFIG_FILE=os.devnull)
    refused = project.run("scripts/venv", "requirements.lock")
    lock.write_text(f"demo==1.0 \\\n    --hash=sha256:{digest}\n")

    done = project.run("scripts/venv", "requirements.lock")

    assert 1 == refused.returncode
    assert "HASH" in refused.stderr or "hash" in refused.stderr
    assert 0 == done.returncode, done.stderr
    said = project.run(".venv/bin/python", "-c", "import demo, torch; print(demo.VERSION, torch.VERSION)").stdout
    assert "1.0 2.13.0+cpu\n" == said


def write_wheel(path: Path, name: str, version: str = "1.0") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        info = f"{name}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def shell_scripts() -> list[Path]:
    files = [path for folder in (ROOT / "scripts", ROOT / ".ci") for path in folder.iterdir() if path.is_file()]
    return sorted(path for path in files if path.read_bytes().startswith(b"#!/usr/bin/env bash"))


@pytest.mark.parametrize("path", shell_scripts(), ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    # pip puts it beside the interpreter, which need not be on PATH.
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("shellcheck is not installed; requirements-dev.lock has it")

    done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60, check=False)

    assert (0, "") == (done.returncode, done.stdout)


def test_every_shell_script_is_looked_at() -> None:
    names = {path.name for path in shell_scripts()}

    assert {"lock", "run", "test", "venv", "wanworker", "start.sh", "install_comfyui.sh"} <= names
