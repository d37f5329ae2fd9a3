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


def of(found: dict[str, float], kind: str, attribute: str) -> float:
    """Return the share of the clips of *kind* whose *attribute* survived."""
    (share,) = (value for name, value in found.items() if name.startswith(kind) and name.endswith(f" {attribute}"))
    return share


@pytest.mark.parametrize("kind", ["single", "pair"])
def test_what_lets_everything_through_keeps_every_attribute(kept: dict[str, float], kind: str) -> None:
    looks = ("color", "shape") if kind == "single" else ("colors", "shapes", "relation")

    assert {1.0} == {of(kept, kind, attribute) for attribute in (*looks, "motion", "background")}
    # An error of one level is 20 log10(255); what is white already grows no brighter.
    assert all(48.13 == pytest.approx(kept[f"{kind} {name}"], abs=0.1) for name in ("dB", "first frame dB"))


def test_what_takes_the_colors_away_is_found_out() -> None:
    grey = fidelity(Grey(), 2)

    assert of(grey, "single", "color") < 1
    assert of(grey, "pair", "colors") < 1
    assert max(value for name, value in grey.items() if "dB" in name) < 30


def test_the_same_clips_are_asked_each_time(kept: dict[str, float]) -> None:
    torch.manual_seed(1)

    assert kept == fidelity(Keeping(), 1)
