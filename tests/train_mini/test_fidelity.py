"""What is said of an autoencoder: one that keeps nearly everything, and one that keeps the shapes alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from train_mini.fidelity import fidelity


class Keeping:
    """Give back what came in, brighter by one level of 255."""

    def encode(self, clips: Tensor) -> SimpleNamespace:
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=clips))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latents + 1 / 127.5)


@pytest.fixture(scope="module")
def kept() -> dict[str, float]:
    return fidelity(Keeping(), 1)


class Grey(Keeping):
    def decode(self, latents: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latents.mean(1, keepdim=True).expand_as(latents))


@pytest.mark.parametrize("kind", ["single", "pair"])
def test_what_lets_everything_through_keeps_every_attribute(kept: dict[str, float], kind: str) -> None:
    looks = ("color", "shape") if kind == "single" else ("colors", "shapes", "relation")

    assert {1.0} == {kept[f"{kind} {attribute}"] for attribute in (*looks, "motion", "background")}
    # An error of one level is 20 log10(255); what is white already grows no brighter.
    assert all(48.13 == pytest.approx(kept[f"{kind} {name}"], abs=0.1) for name in ("dB", "first frame dB"))


def test_what_takes_the_colors_away_is_found_out() -> None:
    grey = fidelity(Grey(), 2)

    assert grey["single color"] < 1
    assert grey["pair colors"] < 1
    assert max(value for name, value in grey.items() if "dB" in name) < 30


def test_the_same_clips_are_asked_each_time(kept: dict[str, float]) -> None:
    torch.manual_seed(1)

    assert kept == fidelity(Keeping(), 1)


def test_a_perfect_autoencoder_has_a_likeness_too() -> None:
    class Perfect(Keeping):
        def decode(self, latents: Tensor) -> SimpleNamespace:
            return SimpleNamespace(sample=latents)

    assert {99.0} == {value for name, value in fidelity(Perfect(), 1).items() if "dB" in name}
