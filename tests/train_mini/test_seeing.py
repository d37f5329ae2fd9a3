"""What a denoiser's clips look like: judged where they are most wrong, through an autoencoder that stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from train_mini import seeing
from train_mini.vae import CHANNELS

FRAMES, ROWS, COLUMNS = 2, 6, 8


@pytest.fixture(scope="module")
def autoencoder(work: Path) -> AutoencoderKLWan:
    return AutoencoderKLWan.from_pretrained(work / "vae").requires_grad_(False)


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(2, CHANNELS, FRAMES, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))


def test_the_same_clip_looks_the_same(autoencoder: AutoencoderKLWan, latents: Tensor) -> None:
    assert seeing.apart(autoencoder, latents, latents) == 0


def test_a_larger_mistake_is_further_off(autoencoder: AutoencoderKLWan, latents: Tensor) -> None:
    mistake = torch.zeros_like(latents)
    mistake[..., 2:4, 2:4] = 1

    small, large = (seeing.apart(autoencoder, latents + size * mistake, latents) for size in (0.1, 0.5))

    assert 0 < small < large


def test_only_where_a_clip_is_most_wrong_it_learns(autoencoder: AutoencoderKLWan, latents: Tensor) -> None:
    clean = latents.clone()
    clean[0, :, :, 0, -1] += 1
    clean[1, :, :, -1, 0] += 1
    clean.requires_grad_()

    seeing.apart(autoencoder, clean, latents).backward()

    assert clean.grad is not None
    reached = clean.grad.abs().amax((1, 2)) > 0
    upper_right, lower_left = torch.zeros(2, ROWS, COLUMNS, dtype=torch.bool)
    upper_right[:4, -4:] = True
    lower_left[-4:, :4] = True
    assert torch.equal(upper_right, reached[0])
    assert torch.equal(lower_left, reached[1])
    assert all(each.grad is None for each in autoencoder.parameters())
