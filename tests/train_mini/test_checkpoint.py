"""Checkpoints: whole or not there."""

from pathlib import Path

import pytest
import torch

from train_mini import checkpoint


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.pt"
    checkpoint.save(path, {"step": 7, "weights": torch.arange(3.0), "parts": [{"lr": 0.5}]})
    state = checkpoint.load(path)

    assert state is not None
    assert (7, [0.0, 1.0, 2.0], [{"lr": 0.5}]) == (state["step"], state["weights"].tolist(), state["parts"])
    assert ["run.pt"] == [each.name for each in path.parent.iterdir()]


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "run.pt") is None


class Unwritable:
    def __reduce__(self) -> str:
        raise RuntimeError("cannot be written")


def test_a_run_that_dies_while_it_writes_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    checkpoint.save(path, {"step": 1})
    with pytest.raises(Exception, match="cannot be written"):
        checkpoint.save(path, {"step": 2, "weights": Unwritable()})

    assert {"step": 1} == checkpoint.load(path)


def test_a_later_checkpoint_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    for step in (1, 2):
        checkpoint.save(path, {"step": step})

    assert {"step": 2} == checkpoint.load(path)
