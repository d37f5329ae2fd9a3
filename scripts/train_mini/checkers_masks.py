"""Which pixels of a clip are things: what differs from its row's background, holes filled, specks dropped. Pure.

What stands behind the things is found in the clip itself: every background here is one colour a row, and no thing
stays at the left and right border.
"""

from __future__ import annotations

from typing import Any

import numpy
from PIL import Image

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]
Values = numpy.ndarray[Any, numpy.dtype[numpy.float32]]
Mask = numpy.ndarray[Any, numpy.dtype[numpy.bool_]]
Labels = numpy.ndarray[Any, numpy.dtype[numpy.int32]]

#: A clip of any size is looked at in this one: an engine that stretched it is undone by it, and 17 frames are enough.
SIDE = 96
MAX_FRAMES = 17
MIN_FRAMES = 9

#: How far from the background a thing is at least, in the channel that differs most, after a blur: noise of 4 levels
#: stays under two thirds of it.
_DIFFERENCE = 15.0

#: The outline of a thing is where it has this share of its own difference, but no more than so much: its rim is dark.
_OUTLINE = 0.4
_MAX_DIFFERENCE = 45.0

#: The share of the width, at either border, whose median is a row's first background.
_BORDER = 0.07

#: A piece smaller than this share of the largest one is a speck.
_SPECK = 0.12

#: What covers more of a frame than this is no thing: the largest drawn covers 0.3, two together 0.17.
_MAX_COVER = 0.5


def normal(pixels: Pixels) -> Values:
    """Return *pixels*, (frames, height, width, 3), as at most 17 frames of 96x96, values 0 to 255.

    Raises ValueError for another shape, or for fewer than 9 frames: a circle cannot be seen in them.
    """
    if pixels.ndim != 4 or pixels.shape[3] != 3 or len(pixels) < MIN_FRAMES:
        raise ValueError(f"a clip is (9 frames or more, height, width, 3), not {pixels.shape}")
    if len(pixels) > MAX_FRAMES:
        pixels = pixels[numpy.linspace(0, len(pixels) - 1, MAX_FRAMES).round().astype(int)]
    if pixels.shape[1:3] != (SIDE, SIDE):
        small = [Image.fromarray(each).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for each in pixels]
        pixels = numpy.stack([numpy.asarray(each) for each in small])
    return pixels.astype(numpy.float32)


def rows_of(clip: Values) -> Values:
    """Return the background, (rows, 3): the median of what no thing covers, over all frames."""
    width = clip.shape[2]
    border = max(1, round(_BORDER * width))
    edges = numpy.concatenate([clip[:, :, :border], clip[:, :, -border:]], 2)
    return numpy.asarray(numpy.median(edges.transpose(1, 0, 2, 3).reshape(clip.shape[1], -1, 3), 1), numpy.float32)


def differences_of(clip: Values, rows: Values) -> Values:
    """Return how far each pixel is from its row's background, (frames, rows, columns), blurred against noise."""
    red, green, blue = (numpy.abs(clip[..., each] - rows[None, :, None, each]) for each in range(3))
    return _blurred(numpy.maximum(numpy.maximum(red, green), blue))


def things_of(difference: Values) -> Mask:
    """Return where things are, (frames, rows, columns)."""
    found = difference > _outlines(difference, difference > _DIFFERENCE)
    # Grown, filled and shrunk again: a rim of one pixel's gap is closed, and nothing else changes.
    things = without_specks(~_grown(~filled(_grown(found))))
    return things & (things.mean((1, 2)) < _MAX_COVER)[:, None, None]


def _outlines(difference: Values, found: Mask) -> Values:
    """Return how different each pixel must be to belong to its piece of *found*: a share of what the piece itself is.

    A model leaves a halo round what it makes; what has much contrast must not gain it.
    """
    labels = pieces(found)
    once = numpy.bincount(labels.ravel(), difference.ravel())
    squared = numpy.bincount(labels.ravel(), (difference * difference).ravel())
    levels = (_OUTLINE * squared / numpy.maximum(once, 1)).clip(_DIFFERENCE, _MAX_DIFFERENCE)
    return numpy.asarray(levels[labels], numpy.float32)


def tighter(mask: Mask, difference: Values, share: float) -> Mask:
    """Return *mask* without what differs less than *share* of what its frame's mask does; holes are filled again."""
    inside = difference * mask
    levels = share * (inside * inside).sum((1, 2)) / numpy.maximum(inside.sum((1, 2)), 1)
    return filled(mask & (difference > levels[:, None, None]))


def filled(mask: Mask) -> Mask:
    """Return *mask* with its holes: white on snow shows only its rim. What leads to the border is no hole."""
    labels = pieces(~numpy.pad(mask, ((0, 0), (1, 1), (1, 1))))
    outside = labels == labels[:, :1, :1]
    return ~outside[:, 1:-1, 1:-1]


def without_specks(mask: Mask) -> Mask:
    """Return *mask* without the pieces that are far smaller than their frame's largest."""
    sizes = _sizes(pieces(mask))
    return mask & (sizes >= _SPECK * sizes.max((1, 2), keepdims=True))


def largest(mask: Mask) -> tuple[Mask, float]:
    """Return each frame's largest piece, and how large the second one is beside it: the share in the median frame."""
    labels = pieces(mask)
    sizes = _sizes(labels)
    flat = sizes.reshape(len(mask), -1)
    chosen = labels.reshape(len(mask), -1)[numpy.arange(len(mask)), flat.argmax(1)]
    kept = mask & (labels == chosen[:, None, None])
    second = numpy.where(kept, 0, sizes).max((1, 2))
    return kept, float(numpy.median(second / numpy.maximum(1, flat.max(1))))


def pieces(mask: Mask) -> Labels:
    """Return a number a connected piece (by edges, within its frame), 0 outside *mask*.

    A row's runs are numbered; two that touch from row to row take the larger number, in turns, and every run takes
    what its own number has become: pointer jumping, a handful of turns.
    """
    begins = mask.copy()
    begins[:, :, 1:] &= ~mask[:, :, :-1]
    runs = numpy.cumsum(begins, dtype=numpy.int32).reshape(mask.shape) * mask
    touches = mask[:, 1:] & mask[:, :-1]
    touches[:, :, 1:] &= ~(touches[:, :, :-1] & touches[:, :, 1:])
    upper, lower = runs[:, :-1][touches], runs[:, 1:][touches]
    numbers = numpy.arange(int(runs.max(initial=0)) + 1, dtype=numpy.int32)
    while not numpy.array_equal(numbers[upper], numbers[lower]):
        larger = numpy.maximum(numbers[upper], numbers[lower])
        numpy.maximum.at(numbers, upper, larger)
        numpy.maximum.at(numbers, lower, larger)
        numbers = numbers[numbers]
    return numbers[runs]


def _sizes(labels: Labels) -> Labels:
    """Return for each pixel how large its piece is, 0 outside all."""
    sizes = numpy.bincount(labels.ravel()).astype(numpy.int32)
    sizes[0] = 0
    return sizes[labels]


def _blurred(plane: Values) -> Values:
    """Return *plane*, (frames, rows, columns), weighted 1 2 1 both ways: noise goes, a thing stays."""
    padded = numpy.pad(plane, ((0, 0), (1, 1), (1, 1)), mode="edge")
    tall = padded[:, :-2] + padded[:, 2:] + 2 * padded[:, 1:-1]
    return numpy.asarray((tall[:, :, :-2] + tall[:, :, 2:] + 2 * tall[:, :, 1:-1]) / 16, numpy.float32)


def _grown(mask: Mask) -> Mask:
    """Return *mask* with one pixel more all round, corners left out."""
    padded = numpy.pad(mask, ((0, 0), (1, 1), (1, 1)))
    middle = padded[:, 1:-1]
    grown = middle[:, :, 1:-1] | middle[:, :, :-2] | middle[:, :, 2:]
    return numpy.asarray(grown | padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1])
