"""The stage that judges: it says so where there is nothing to judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train_mini.__main__ import STAGES, Run
from train_mini.parallel import Ranks


def test_a_folder_without_weights_is_an_error_and_not_a_silence(tmp_path: Path) -> None:
    run = Run(tmp_path / "judged", tmp_path / "out", 0, torch.device("cpu"), Ranks())

    with pytest.raises(FileNotFoundError, match="holds no weights to judge"):
        STAGES["judge"](run)

    assert not (tmp_path / "judged").exists()
