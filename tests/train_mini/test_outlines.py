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
    """Return the best guess of each pixel, a median, where a square wobbles and in one case of three is a ball."""
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


def test_each_clip_counts_alike_in_the_order_of_its_frames() -> None:
    moving = torch.cat([clip(mask(shape, at, at), 1.5)[:, :, :1] for shape, at in (("square", 26), ("star", 34))], 2)
    dim = 0.2 * torch.cat([clip(mask("ball", at, 30), 1.5)[:, :, :1] for at in (24, 36)], 2)
    asked, seen = torch.cat([moving, dim]), torch.cat([moving.flip(2), dim])
    there = torch.ones(2, 1, FRAMES, SIDE, SIDE)
    alone = outlines.distance(moving.flip(2), moving, there[:1])

    assert alone > 0.5
    assert outlines.distance(seen, asked, there) == pytest.approx(alone.item() / 2)


@pytest.mark.parametrize("axes", [(3,), (4,), (3, 4)])
def test_an_edge_faces_its_way_whichever_that_is(axes: tuple[int, ...]) -> None:
    """A slope down to the right is no blunter than one down to the left. On 62 pixels the cells lie evenly."""
    asked, seen, there = (each[..., :62, :62] for each in (clip(mask("star")), clip(mask("ball")), THERE))
    turned = [each.flip(axes) for each in (seen, asked, there)]

    assert outlines.distance(*turned) == pytest.approx(outlines.distance(seen, asked, there).item(), rel=1e-4)


def test_a_slope_has_one_way() -> None:
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for slope in (down - across, down + across - SIDE):
        edge = (0.5 + slope / 2**0.5).clamp(0, 1)
        ways = outlines._facing(clip(edge)).sum((0, 2, 3, 4))
        assert ways.max() / ways.sum() == pytest.approx(1 / 1.5, abs=0.01), "cos^4 at 0 and at 45 degrees each way"


def test_a_thing_where_nothing_was_asked_is_one_and_not_without_end() -> None:
    asked = torch.zeros_like(clip(SQUARE))

    assert outlines.distance(clip(SQUARE), asked, torch.ones_like(THERE)) == pytest.approx(1)
    assert outlines.distance(asked, asked, torch.ones_like(THERE)) == 0


def test_looks_are_pixels_and_the_outlines_of_every_second_frame() -> None:
    asked = clip(SQUARE)
    decoded = asked.clone()
    decoded[:, :, 1] = clip(mask("ball"))[:, :, 1]
    there = torch.ones_like(THERE)
    pixels, outlined = (
        vae.distance(decoded, asked, 0 * there),
        outlines.distance(decoded[:, :, 1:], asked[:, :, 1:], there[:, :, 1:]),
    )

    assert outlines.looks_apart(decoded, asked, None, 0) == pytest.approx(pixels.item())
    assert outlines.looks_apart(decoded, asked, None, 1) == pytest.approx((pixels + 0.3 * outlined).item())
    assert outlines.looks_apart(decoded, asked, THERE, 0) == pytest.approx(vae.distance(decoded, asked, THERE).item())


def test_an_even_clip_has_a_finite_gradient() -> None:
    decoded = torch.zeros(1, 3, FRAMES, SIDE, SIDE, requires_grad=True)

    outlines.distance(decoded, clip(SQUARE), THERE).backward()

    assert decoded.grad is not None
    assert decoded.grad.isfinite().all()
