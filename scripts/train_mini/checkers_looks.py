"""What a thing looks like: its colour at its middle, its shape by the outlines that cover it best. Pure."""

from __future__ import annotations

import functools
from typing import Any

import numpy

from train_mini.checkers_masks import Mask, Values, tighter
from train_mini.scene import COLORS, SHAPES
from train_mini.shapes import distance

#: Light and rim change how bright a colour is, not what colour: it is compared at each of these brightnesses.
_BRIGHTNESSES = numpy.linspace(0.75, 1.2, 10, dtype=numpy.float32)

#: Further than this from every colour, in levels, is no colour that has a name here.
_MAX_COLOR_ERROR = 50.0

#: The middle of a thing, in radii of a disc of its area: inside every shape, away from the rim.
_MIDDLE = 0.45

#: A mask is looked at on this grid, two radii of its disc each way, so that neither place nor size matter.
_GRID = 33
_REACH = 2.0

#: What a mask loses or gains all round, in radii: a dark rim at night is lost, a blurred edge is gained.
_LOSSES = (-0.12, -0.06, 0.0, 0.08, 0.16, 0.24)

#: Less in common with every outline than this is no shape that has a name here.
_MIN_OVERLAP = 0.68

#: How much tighter a mask is tried too.
_TIGHTER = 0.6

#: A mask of fewer pixels in 96x96 tells no shape: the smallest thing drawn has about 200.
_MIN_PIXELS = 60

Points = numpy.ndarray[Any, numpy.dtype[numpy.float64]]


def color_of(clip: Values, mask: Mask) -> str | None:
    """Return the colour of what *mask* shows in *clip*, or None where it is none of COLORS."""
    middle = mask & (_distances(mask) < _MIDDLE)
    frames = [numpy.median(pixels[inside], 0) for pixels, inside in zip(clip, middle, strict=True) if inside.any()]
    if not frames:
        return None
    seen = numpy.median(frames, 0)
    palette = numpy.array(list(COLORS.values()), numpy.float32)
    shades = (palette[:, None] * _BRIGHTNESSES[None, :, None]).clip(0, 255)
    errors = numpy.linalg.norm(shades - seen, axis=2).min(1)
    return list(COLORS)[int(errors.argmin())] if errors.min() < _MAX_COLOR_ERROR else None


def shape_of(mask: Mask, difference: Values) -> str | None:
    """Return the shape whose outline covers what *mask* shows best over all frames, or None where none does.

    *mask* is taken as it is and tightened (see `tighter`): what a model leaves round a thing makes anything round, and
    the tighter mask of a thing with a pale side is broken; the one that fits some outline best is believed.
    """
    masks = (mask, tighter(mask, difference, _TIGHTER))
    read = [overlaps for overlaps in map(shape_overlaps, masks) if overlaps]
    best = {shape: max(overlaps[shape] for overlaps in read) for shape in SHAPES if read}
    shape = max(best, key=lambda name: best[name], default=None)
    return shape if shape is not None and best[shape] >= _MIN_OVERLAP else None


def shape_overlaps(mask: Mask) -> dict[str, float]:
    """Return the overlap (intersection over union, 0 to 1) with each shape; empty where there is no thing.

    It is a mean over the frames, those where the thing is larger counting for more.
    """
    large = mask[mask.sum((1, 2)) >= _MIN_PIXELS]
    if not len(large):
        return {}
    seen = _normalised(large).reshape(len(large), 1, -1)
    templates = _templates()
    # Of two values from 0 to 1 the smaller is their sum less their difference, halved.
    apart = numpy.abs(seen - templates[None]).sum(2)
    both = seen.sum(2) + templates.sum(1)
    overlaps = ((both - apart) / (both + apart)).reshape(len(large), len(SHAPES), -1).max(2)
    votes = numpy.average(overlaps, 0, large.sum((1, 2)))
    return dict(zip(SHAPES, votes.tolist(), strict=True))


def _normalised(mask: Mask) -> Values:
    """Return each frame on the grid, centred, its area that of a disc of one radius."""
    radii = numpy.sqrt(mask.sum((1, 2)) / numpy.pi)
    offsets = numpy.linspace(-_REACH, _REACH, _GRID)
    centres = _centres(mask)
    rows = centres[:, 1, None] + offsets * radii[:, None]
    columns = centres[:, 0, None] + offsets * radii[:, None]
    return _sampled(mask, rows, columns)


def _sampled(mask: Mask, rows: Points, columns: Points) -> Values:
    """Return *mask* at rows x columns of each frame, between pixels in proportion, 0 outside the frame."""
    padded = numpy.pad(mask, ((0, 0), (1, 2), (1, 2))).astype(numpy.float32)
    rows, columns = ((each + 1).clip(0, mask.shape[1] + 1) for each in (rows, columns))
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, :, None], (columns - left)[:, None, :]
    frame = numpy.arange(len(mask))[:, None, None]
    first, second = top[:, :, None], left[:, None, :]
    above = padded[frame, first, second] * (1 - right) + padded[frame, first, second + 1] * right
    below = padded[frame, first + 1, second] * (1 - right) + padded[frame, first + 1, second + 1] * right
    return numpy.asarray(above * (1 - down) + below * down, numpy.float32)


@functools.cache
def _templates() -> Values:
    """Return (shapes x losses, grid x grid): each outline drawn large, taken for a mask, and sampled like one."""
    side, radius = 128, 36.0
    axis = (numpy.arange(side, dtype=numpy.float32) + 0.5 - side / 2) / radius
    x, y = numpy.meshgrid(axis, axis)
    drawn = numpy.stack([distance(shape, x, y) < -loss for shape in SHAPES for loss in _LOSSES])
    return _normalised(drawn).reshape(len(drawn), -1)


def _centres(mask: Mask) -> Points:
    """Return the centroid of each frame's mask, (frames, 2) as x, y in pixels from the first pixel's middle."""
    areas = numpy.maximum(1, mask.sum((1, 2)))
    x = mask.sum(1) @ numpy.arange(mask.shape[2]) / areas
    y = mask.sum(2) @ numpy.arange(mask.shape[1]) / areas
    return numpy.stack([x, y], 1)


def _distances(mask: Mask) -> Values:
    """Return how far each pixel is from its frame's centroid, in radii of a disc of the mask's area."""
    centres = _centres(mask)
    radii = numpy.sqrt(numpy.maximum(1, mask.sum((1, 2))) / numpy.pi)
    x = (numpy.arange(mask.shape[2])[None] - centres[:, 0, None]) / radii[:, None]
    y = (numpy.arange(mask.shape[1])[None] - centres[:, 1, None]) / radii[:, None]
    return numpy.asarray(numpy.hypot(y[:, :, None], x[:, None, :]), numpy.float32)
