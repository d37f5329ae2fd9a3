"""What is committed at the top: nothing that a run or a benchmark left there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TOP = {
    *(".ci", ".dockerignore", ".gitignore", ".runpod", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "README.md"),
    *("bench", "docker", "docs", "handler.py", "pyproject.toml", "scripts", "src", "test_input.json", "tests"),
    *("requirements.txt", "requirements.lock", "requirements-dev.txt", "requirements-dev.lock"),
    *("requirements-door.txt", "requirements-door.lock", "workflows"),
}


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def test_the_top_has_what_the_pages_name_and_no_more() -> None:
    assert TOP == {name.partition("/")[0] for name in tracked()}


def test_no_source_is_hidden_from_git() -> None:
    """A rule of .gitignore that hits a source folder hides new modules from git and from ruff."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    asked = ("git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", "src", "tests", "scripts", "bench")
    hidden = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    assert [] == [name for name in hidden if name.endswith((".py", ".js", ".css", ".html", ".json", ".sh"))]
