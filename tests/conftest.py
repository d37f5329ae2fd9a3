"""What every test starts from: none of our variables in the environment, and settings below its own folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wanworker.settings import Settings

#: Our own variables, whoever runs the tests.
OURS = frozenset(str(field.validation_alias) for field in Settings.model_fields.values())


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no variable of ours or RunPod's to a test, and one thread to the programs that it starts."""
    for name in list(os.environ):
        if name in OURS or name.startswith("RUNPOD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that builds Settings with models and outputs below *tmp_path*, and any fields given to it."""

    def make(**fields: Any) -> Settings:
        places = {"ckpt_dir": tmp_path / "models", "out_dir": tmp_path / "outputs", "wan_home": tmp_path / "Wan2.2"}
        return Settings(**{**places, **fields})

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Return settings with every default but the places."""
    return make_settings()
