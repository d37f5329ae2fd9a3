"""What the outlines' distance tells apart that pixels do not: a sharp corner a pixel off, and a blunt one in place."""

from __future__ import annotations

import itertools

import numpy
import pytest
import torch
from torch import Tensor

from train_mini import outlines, vae
from train_mini.shapes import distance

SIDE = 64
FRAMES = 2
RADIUS = 12.0


def mask(shape: str, x: float = 30.0, y: float = 30.0, radius: float = RADIUS) -> Tensor:
    """Return how much of each pixel *shape* covers, (side, side)."""
    axis = numpy.arange(SIDE, dtype=numpy.float32) + 0.5
    across, down = numpy.meshgrid((axis - x) / radius, (axis - y) / radius)
    return torch.from_numpy(numpy.clip(0.5 - radius * distance(shape, across, down), 0, 1)).float()


def clip(covered: Tensor, contrast: float = 1.5) -> Tensor:
    """Return a still clip of what is covered, *contrast* brighter than what is not."""
    return ((covered - 0.5) * contrast).expand(1, 3, FRAMES, SIDE, SIDE)


SQUARE = mask("square")
THERE = SQUARE.expand(1, 1, FRAMES, SIDE, SIDE)


def blunt() -> Tensor:
    """Return what pixels are best guessed as where a square wobbles by two: its corners are gone."""
    places = itertools.product(range(-2, 3), repeat=2)
    wobbling = [mask("square", 30 + x, 30 + y) for x, y in places]
    return torch.stack([*wobbling, *[mask("ball", radius=1.1 * RADIUS)] * 12]).median(0).values


def test_a_blunt_corner_is_further_off_than_a_sharp_one_in_the_wrong_place() -> None:
    asked, moved, rounded = clip(SQUARE), clip(mask("square", 31, 31)), clip(blunt())

    assert outlines.distance(rounded, asked, THERE) > 1.5 * outlines.distance(moved, asked, THERE)
    assert vae.distance(rounded, asked, THERE) < vae.distance(moved, asked, THERE)  # pixels say the opposite


def test_nothing_drawn_is_one_and_the_same_is_zero() -> None:
    asked = clip(SQUARE)

    assert outlines.distance(asked, asked, THERE) == 0
    assert outlines.distance(torch.zeros_like(asked), asked, THERE) == pytest.approx(1, abs=0.01)


def test_a_dim_things_outline_counts_as_a_bright_ones() -> None:
    bright, dim = (outlines.distance(clip(mask("ball"), by), clip(SQUARE, by), THERE) for by in (1.5, 0.3))

    assert dim == pytest.approx(bright.item(), rel=0.05)


def test_what_is_no_thing_does_not_count() -> None:
    asked = clip(SQUARE)
    beside = asked.clone()
    beside[..., 56:60, 56:60] = 1  # further than a cell from the square

    assert outlines.distance(beside, asked, THERE) == 0
    assert outlines.distance(beside, asked, torch.ones_like(THERE)) > 0


def test_an_even_clip_has_a_finite_gradient() -> None:
    decoded = torch.zeros(1, 3, FRAMES, SIDE, SIDE, requires_grad=True)

    outlines.distance(decoded, clip(SQUARE), THERE).backward()

    assert decoded.grad is not None
    assert decoded.grad.isfinite().all()
