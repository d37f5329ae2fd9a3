"""The Dockerfile, read: what it copies is there, what it installs is pinned, a failed step fails the build."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dockerfile import ALL_STEPS, DOCKERFILE, ROOT, Step, read, stage
from locks import locked_requirements
from wanworker.engines.wan_cli import _machine
from wanworker.settings import load_settings


def copies(steps: list[Step]) -> list[tuple[str, str]]:
    """Return what is copied, and where to."""
    return [(source, step.words[-1]) for step in steps if step.name == "COPY" for source in step.words[:-1]]


STEPS = stage("", ALL_STEPS)
DOOR_PINS = locked_requirements("requirements-door.lock")
DOOR = stage("door", ALL_STEPS)
RUNS = [step.text for step in STEPS if step.name == "RUN"]
ARGS = dict(step.text.partition("=")[::2] for step in STEPS if step.name == "ARG")
COPIES = copies(STEPS)
ENV = dict(word.split("=", 1) for step in STEPS if step.name == "ENV" for word in step.words)


def lock(name: str) -> dict[str, str]:
    """Return the version of each distribution in a file of exact pins; fail on any other line."""
    lines = [line for line in (ROOT / "docker" / name).read_text().splitlines() if not line.startswith("#")]
    pins = (re.fullmatch(r"([\w.-]+)==([\w.+-]+)", line) for line in lines)
    return {canonical(pin[1]): pin[2] for pin in pins if pin is not None or pytest.fail(f"{name}: {lines}")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(path: Path) -> list[Requirement]:
    lines = path.read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def position(text: str) -> int:
    """Return where the only step that holds *text* stands."""
    (found,) = [index for index, step in enumerate(STEPS) if text in f"{step.name} {step.text}"]
    return found


def is_sent(path: str) -> bool:
    """Say whether .dockerignore lets *path* through: the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if line and not line.startswith("#") and (fnmatch(path, pattern) or path.startswith(f"{pattern}/")):
            sent = line.startswith("!")
    return sent


def test_the_reader_joins_lines_and_drops_comments() -> None:
    steps = read("# a\nRUN one \\\n    # b\n    && two\n\nCOPY --chown=x a b /c/\n")

    assert [Step("RUN", "one && two"), Step("COPY", "--chown=x a b /c/")] == steps
    assert ["a", "b", "/c/"] == steps[1].words


@pytest.mark.parametrize("source", sorted({source for source, _ in [*COPIES, *copies(DOOR)]}))
def test_what_is_copied_exists_and_reaches_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    assert is_sent(source)


@pytest.mark.parametrize(
    "path", [".git", ".venv", "outputs", "tests", "docs", "models", "docker/wan_path/__pycache__", "README.md", ".env"]
)
def test_what_the_image_does_not_need_is_not_sent(path: str) -> None:
    assert not is_sent(path)


def test_a_step_that_fails_fails_the_build() -> None:
    shell, first_run = position("SHELL"), min(index for index, step in enumerate(STEPS) if step.name == "RUN")

    assert ["/bin/bash", "-e", "-u", "-o", "pipefail", "-c"] == json.loads(STEPS[shell].text)
    assert shell < first_run
    for run in RUNS:
        assert re.search(r"\|\||;|set \+e|\s&\s", re.sub(r"'[^']*'", "", run)) is None, run


def test_the_base_is_a_pinned_cuda_with_kernels_for_the_5090() -> None:
    image, _, tag = ARGS["CUDA_IMAGE"].partition(":")

    assert ("nvidia/cuda", "${CUDA_IMAGE}") == (image, STEPS[position("FROM ")].text)
    version = re.fullmatch(r"(\d+)\.(\d+)\.\d+-base-ubuntu24\.04", tag)
    assert version is not None
    assert (int(version[1]), int(version[2])) >= (12, 8)
    assert 'assert "sm_120" in torch.cuda.get_arch_list()' in "".join(RUNS)


def test_nothing_is_fetched_by_a_name_that_can_be_moved() -> None:
    commits = {name: ARGS[name] for name in ARGS if name.endswith("_COMMIT")}
    fetches = re.findall(r"git -C \S+ fetch (.*?) &&", " ".join(RUNS))

    assert {"WAN_COMMIT", "SAM2_COMMIT"} == commits.keys()
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in commits.values())
    assert commits["WAN_COMMIT"].startswith("42bf4cf")
    assert len(commits) == len(fetches)
    assert all(re.search(r'"\$\{\w+_COMMIT\}"$', fetch) for fetch in fetches)
    assert "latest" not in DOCKERFILE.read_text()


@pytest.mark.parametrize("name", ["torch.txt", "comfyui.lock", "wan.lock"])
def test_a_lock_pins_each_of_its_lines(name: str) -> None:
    assert len(lock(name)) > 10


def test_one_torch_is_installed_and_it_is_the_workers() -> None:
    (torch,) = [item for item in requirements(ROOT / "requirements.txt") if item.name == "torch"]

    assert torch.specifier.contains(lock("torch.txt")["torch"])
    assert not {"torch", "torchvision", "torchaudio"} & lock("wan.lock").keys()


def test_the_workers_lock_is_the_one_of_scripts_run_and_finds_what_torch_brought() -> None:
    (run,) = [run for run in RUNS if "requirements.lock" in run]
    locked = {item.name: item.specifier for item in locked_requirements("requirements.lock")}
    brought = {name: version for name, version in lock("torch.txt").items() if name in locked}

    assert "--no-deps --require-hashes --requirement /opt/build/requirements.lock" in run
    assert "pip check" in run
    assert {"numpy", "pillow", "sympy"} <= brought.keys()
    assert [] == [f"{name} {version}" for name, version in brought.items() if version not in locked[name]]


def test_a_lock_answers_each_requirement_of_wan() -> None:
    versions = lock("torch.txt") | lock("wan.lock")

    for item in requirements(ROOT / "docker/wan.txt"):
        assert item.specifier.contains(versions[canonical(item.name)]), item


def test_wan_has_all_that_upstream_and_the_engine_ask_for() -> None:
    # The engine asks the interpreter for these before it starts upstream's program.
    (check,) = [run for run in RUNS if "flash_attn" in run]
    imported = {alias.name for node in ast.walk(ast.parse(python_in(check))) if isinstance(node, ast.Import)
                for alias in node.names}  # fmt: skip

    assert {*_machine._MODULES, "flash_attn"} <= imported
    assert "/opt/wan_path" in check
    assert ("docker/wan_path", "/opt/wan_path") in COPIES


def python_in(run: str) -> str:
    (program,) = re.findall(r"-c '([^']*)'", run)
    return str(program)


def test_a_changed_source_installs_nothing_again() -> None:
    installs = [index for index, step in enumerate(STEPS) if step.name == "RUN" and "install" in step.text]
    torch = position("/opt/build/torch.txt && python3")

    assert min(installs[1:]) == torch
    assert torch < position("COPY docker/wan_path") < position("requirement /opt/build/requirements.lock")
    assert max(installs) < position("COPY workflows") < position("COPY src /app/src")


def test_no_weights_and_no_other_downloads() -> None:
    text = " ".join(RUNS)

    assert re.search(r"\bwget|\bcurl (-|http)|huggingface|hf download|safetensors|wanworker fetch", text) is None


def test_no_index_is_named_but_by_the_builder() -> None:
    files = [
        DOCKERFILE,
        *ROOT.glob("requirements*"),
        *(path for path in (ROOT / "docker").rglob("*") if path.suffix in {".txt", ".lock", ".py"}),
    ]

    assert "" == ARGS["TORCH_INDEX"]
    for path in files:
        assert re.search(r"pypi|pythonhosted|download\.pytorch|index-url h|file:/(?!/)", path.read_text()) is None, path


def test_the_environment_is_one_that_the_worker_takes() -> None:
    settings = load_settings(ENV)

    assert settings.mini is False
    assert "/opt/Wan2.2" == str(settings.wan_home)
    assert "/opt/Wan2.2/.venv/bin/python" == str(settings.wan_interpreter)
    assert "/opt/ComfyUI" == str(settings.comfyui_root)
    sdk = {name: value for name, value in ENV.items() if name.startswith("RUNPOD_")}
    assert sdk.items() >= {"RUNPOD_LOG_LEVEL": "INFO", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
                           "RUNPOD_SKIP_GPU_CHECK": "true"}.items()  # fmt: skip


def test_folders_in_the_environment_are_those_that_the_steps_make() -> None:
    made = " ".join(RUNS)

    assert f"git init --quiet {ENV['WAN_HOME']} " in made
    assert f"COMFYUI_ROOT={ENV['COMFYUI_ROOT']} " in made
    assert f"-m venv --system-site-packages {ENV['WAN_HOME']}/.venv" in made
    assert ENV["PATH"].startswith("/app/scripts:/app/.venv/bin:")


def test_tini_starts_the_script_that_becomes_an_unprivileged_user() -> None:
    script = (ROOT / "scripts" / "start.sh").read_text()
    (user,) = re.findall(r"(?m)^user=(\w+)$", script)
    (home,) = re.findall(r"(?m)^home=(\S+)$", script)

    assert ["tini", "--"] == json.loads(STEPS[position("ENTRYPOINT")].text)
    assert ["/app/scripts/start.sh"] == json.loads(STEPS[position("CMD")].text)  # the Hub's tests run CMD
    assert any(run.startswith("useradd ") and run.endswith(f" {user}") and "--create-home" in run for run in RUNS)
    assert f"/home/{user}" == home == [step.text for step in STEPS if step.name == "WORKDIR"][-1]


def test_the_door_installs_its_own_lock_takes_its_settings_and_has_no_torch() -> None:
    text = " ".join(f"{step.name} {step.text}" for step in DOOR)
    environment = dict(word.split("=", 1) for step in DOOR if step.name == "ENV" for word in step.words)
    settings = load_settings(environment)

    assert "--no-deps --require-hashes --requirement /opt/build/requirements-door.lock" in text
    assert ("runpod", False, "0.0.0.0") == (settings.engine, settings.mini, settings.rest_host)
    assert not {"torch", "diffusers", "transformers", "runpod"} & {pin.name for pin in DOOR_PINS}
    assert ["requirements-door.lock", "src"] == [step.words[0] for step in DOOR if step.name == "COPY"]
    assert ["python", "-m", "wanworker.rest"] == json.loads(DOOR[-1].text)


def test_the_door_runs_as_a_user_that_may_write_where_its_volume_is_mounted() -> None:
    runs = " ".join(step.text for step in DOOR if step.name == "RUN")
    (uid,) = [step.text for step in DOOR if step.name == "USER"]
    (home,) = [step.text for step in DOOR if step.name == "WORKDIR"]
    before, after = [position_in(DOOR, name) for name in ("USER", "WORKDIR")]

    assert f"useradd --uid {uid} --create-home" in runs
    assert f"install -d -o {uid} {home}/outputs" in runs  # a new volume takes its owner from the image
    assert before < after < position_in(DOOR, "CMD")
    assert ["tini", "--"] == json.loads(DOOR[position_in(DOOR, "ENTRYPOINT")].text)
    assert all(step.name not in {"RUN", "COPY"} for step in DOOR[before:])
    assert {"ca-certificates", "python3", "python3-venv", "tini"} <= set(runs.split())


def position_in(steps: list[Step], name: str) -> int:
    """Return where the only step of this name stands."""
    (found,) = [index for index, step in enumerate(steps) if step.name == name]
    return found


def test_hadolint_finds_nothing_and_is_told_to_ignore_nothing_in_vain() -> None:
    # pip puts it beside the interpreter, which need not be on PATH.
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed; requirements-dev.lock has it")

    def found(*arguments: str) -> set[str]:
        argv = [program, "--format", "json", "--no-fail", *arguments, str(DOCKERFILE)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        return {finding["code"] for finding in json.loads(done.stdout)}

    assert set() == found()
    assert set(re.findall(r"hadolint ignore=(DL\d+)", DOCKERFILE.read_text())) == found("--disable-ignore-pragma")
