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

#: A clip of any size is looked at in this one: an engine that stretched it is undone by it, and 17 frames are enough.
SIDE = 96
MAX_FRAMES = 17
MIN_FRAMES = 9

#: How far from the background a thing is at least, in the channel that differs most, after a blur: noise of 4 levels
#: stays under two thirds of it.
_DIFFERENCE = 15.0

#: The share of the width, at either border, whose median is a row's first background.
_BORDER = 0.07

#: A piece smaller than this share of the largest one is a speck.
_SPECK = 0.12

#: What covers more of a frame than this is no thing: the largest drawn covers 0.3, two together 0.14.
_MAX_COVER = 0.5


def normal(pixels: Pixels) -> Values:
    """Return *pixels*, (frames, height, width, 3), as at most 17 frames of 96x96, values 0 to 255.

    Raises ValueError for another shape, or for fewer than 9 frames: two jumps or a circle cannot be seen in them.
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


def things_of(clip: Values, rows: Values) -> Mask:
    """Return where things are, (frames, rows, columns)."""
    red, green, blue = (numpy.abs(clip[..., each] - rows[None, :, None, each]) for each in range(3))
    difference = numpy.maximum(numpy.maximum(red, green), blue)
    found = _grown(_blurred(difference) > _DIFFERENCE)
    # Grown, filled and shrunk again: a rim of one pixel's gap is closed, and nothing else changes.
    things = without_specks(~_grown(~filled(found)))
    return things & (things.mean((1, 2)) < _MAX_COVER)[:, None, None]


def filled(mask: Mask) -> Mask:
    """Return *mask* with its holes: white on snow shows only its rim. What leads to the border is no hole."""
    labels = pieces(~numpy.pad(mask, ((0, 0), (1, 1), (1, 1))))
    outside = labels == labels[:, :1, :1]
    return ~outside[:, 1:-1, 1:-1]


def without_specks(mask: Mask) -> Mask:
    """Return *mask* without the pieces that are far smaller than their frame's largest."""
    labels = pieces(mask)
    sizes = numpy.bincount(labels.ravel())
    sizes[0] = 0
    largest = sizes[labels].reshape(len(mask), -1).max(1)
    return mask & (sizes[labels] >= _SPECK * largest[:, None, None])


def pieces(mask: Mask) -> numpy.ndarray[Any, numpy.dtype[numpy.int32]]:
    """Return a number a connected piece (by edges, within its frame), 0 outside *mask*.

    Every row's and every column's runs take the largest number in them, in turns, until nothing changes: a handful
    of turns for anything that is no maze.
    """
    labels = numpy.where(mask, numpy.arange(1, mask.size + 1, dtype=numpy.int32).reshape(mask.shape), 0)
    across = _run_starts(mask)
    upright = mask.transpose(0, 2, 1)
    down = _run_starts(upright)
    while True:
        before = labels
        labels = _spread(labels, across)
        labels = _spread(labels.transpose(0, 2, 1), down).transpose(0, 2, 1)
        if numpy.array_equal(before, labels):
            return _numbered(labels)


def _numbered(labels: numpy.ndarray[Any, numpy.dtype[numpy.int32]]) -> numpy.ndarray[Any, numpy.dtype[numpy.int32]]:
    used = numpy.zeros(labels.size + 1, numpy.int32)
    used[labels.ravel()] = 1
    used[0] = 0
    return (numpy.cumsum(used, dtype=numpy.int32) * used)[labels]


def _run_starts(mask: Mask) -> numpy.ndarray[Any, numpy.dtype[numpy.intp]]:
    """Return where runs of one value begin in the flat mask; each row begins one."""
    changes = numpy.ones(mask.shape, bool)
    changes[:, :, 1:] = mask[:, :, 1:] != mask[:, :, :-1]
    return numpy.flatnonzero(changes)


def _spread(
    labels: numpy.ndarray[Any, numpy.dtype[numpy.int32]], starts: numpy.ndarray[Any, numpy.dtype[numpy.intp]]
) -> numpy.ndarray[Any, numpy.dtype[numpy.int32]]:
    flat = labels.reshape(-1)
    lengths = numpy.diff(starts, append=flat.size)
    return numpy.repeat(numpy.maximum.reduceat(flat, starts), lengths).reshape(labels.shape)


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
