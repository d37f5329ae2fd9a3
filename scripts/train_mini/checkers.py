"""Read from a clip's pixels alone what it shows: the judge of the miniature, which knows neither model nor words.

Its own accuracy on drawn clips is measured by `checkers_validation`.
"""

from __future__ import annotations

import math

import numpy

from train_mini.checkers_looks import color_of, shape_of
from train_mini.checkers_masks import (
    MIN_FRAMES,
    Mask,
    Pixels,
    Values,
    differences_of,
    largest,
    normal,
    rows_of,
    things_of,
)
from train_mini.checkers_motion import motion_of, path_of
from train_mini.scene import Scene, Thing

#: What stands for identical pictures in `shown_first`, in dB: JSON has no infinity.
IDENTICAL_DB = 99.0

#: Each background's colour high and low in the sky, high and low on the ground, as sRGB.
_BACKGROUNDS = {
    "field": ((133, 188, 237), (166, 208, 241), (147, 200, 110), (119, 181, 90)),
    "sea": ((165, 199, 227), (189, 214, 234), (61, 134, 168), (40, 106, 144)),
    "night": ((22, 21, 51), (30, 28, 63), (37, 34, 73), (47, 44, 88)),
    "desert": ((244, 207, 145), (245, 219, 164), (215, 175, 109), (200, 156, 92)),
    "room": ((171, 172, 178), (187, 188, 193), (142, 102, 69), (125, 87, 56)),
    "snow": ((142, 162, 191), (165, 184, 206), (210, 221, 233), (200, 212, 228)),
}
#: The rows, in shares of the height, where those four are.
_BANDS = ((0.03, 0.12), (0.42, 0.53), (0.65, 0.73), (0.88, 0.97))

#: Further than this from every background, in levels, is none of them. The two most alike are 86 apart.
_MAX_BACKGROUND_ERROR = 45.0

#: A second piece of this share of the largest one, in most frames, is a thing of its own.
_SECOND_THING = 0.35

#: Between two things the mask is at most this share as wide as at the narrower of them.
_VALLEY = 0.5


def read_clip(pixels: Pixels, things: int) -> Scene:
    """Return what *pixels*, (frames, height, width, 3), show when *things* (1 or 2) are asked for.

    An attribute that cannot be told is None; sizes are not read. Two things come in the scene's own order, the upper
    or the left one first. Where the clip shows one thing for two, or two for one, no looks are told.
    Raises ValueError for fewer than 9 frames or another shape.
    """
    clip = normal(pixels)
    rows = rows_of(clip)
    difference = differences_of(clip, rows)
    background = background_of(rows)
    if things == 1:
        return _single(clip, difference, background)
    return _pair(clip, difference, background)


def background_of(rows: Values) -> str | None:
    """Return the background whose colours are nearest to *rows*, (height, 3), or None where none is near."""
    bands = [slice(round(low * len(rows)), round(high * len(rows))) for low, high in _BANDS]
    seen = numpy.stack([rows[band].mean(0) for band in bands])
    errors = {name: float(numpy.sqrt(((seen - colors) ** 2).sum(1).mean())) for name, colors in _BACKGROUNDS.items()}
    nearest = min(errors, key=lambda name: errors[name])
    return nearest if errors[nearest] < _MAX_BACKGROUND_ERROR else None


def shown_first(pixels: Pixels, image: Pixels) -> float:
    """Return how alike the clip's first frame and *image*, (height, width, 3), are, in dB; 99 where they are the same.

    Raises ValueError where their sizes differ.
    """
    if pixels.shape[1:] != image.shape:
        raise ValueError(f"frames of {pixels.shape[1:]} cannot be compared with a picture of {image.shape}")
    error = float(((pixels[0].astype(numpy.float64) - image) ** 2).mean())
    return min(IDENTICAL_DB, 10 * math.log10(255**2 / error)) if error else IDENTICAL_DB


def last_looks(pixels: Pixels) -> Thing:
    """Return the colour and shape of the one thing in the last frame, behind it the background of the whole clip."""
    clip = normal(pixels)
    difference = differences_of(clip, rows_of(clip))[-1:]
    return _looks(clip[-1:], difference, largest(things_of(difference))[0])


def _single(clip: Values, difference: Values, background: str | None) -> Scene:
    mask, second_share = largest(things_of(difference))
    path = path_of(mask)
    motion = motion_of(path, 1) if path else None
    if second_share > _SECOND_THING:
        return Scene((Thing(None, None, None),), motion, background)
    return Scene((_looks(clip, difference, mask),), motion, background)


def _pair(clip: Values, difference: Values, background: str | None) -> Scene:
    mask = things_of(difference)
    path = path_of(mask)
    motion = motion_of(path, 2) if path else None
    relation = _relation(mask)
    halves = _halves(mask, is_above=relation == "above")
    if halves is None:
        nothing = Thing(None, None, None)
        return Scene((nothing, nothing), motion, background)
    return Scene(tuple(_looks(clip, difference, half) for half in halves), motion, background, relation)


def _looks(clip: Values, difference: Values, mask: Mask) -> Thing:
    if len(clip) >= 2 * MIN_FRAMES - 1:
        # Every second frame: the votes of 9 tell no less than those of 17.
        clip, difference, mask = clip[::2], difference[::2], mask[::2]
    return Thing(color_of(clip, mask), shape_of(mask, difference), None)


def _relation(mask: Mask) -> str:
    """Return `above` where the mask is taller than wide in most frames, else `left`."""
    spans = [(_span(frame.any(1)), _span(frame.any(0))) for frame in mask if frame.any()]
    return "above" if numpy.median([tall - wide for tall, wide in spans] or [0]) > 0 else "left"


def _span(line: Mask) -> int:
    places = numpy.flatnonzero(line)
    return int(places[-1] - places[0] + 1)


def _halves(mask: Mask, *, is_above: bool) -> tuple[Mask, Mask] | None:
    """Return the upper (or left) and the other thing, cut where the mask is thinnest, or None where it is one piece."""
    along = mask if is_above else mask.transpose(0, 2, 1)
    first, second = numpy.zeros_like(along), numpy.zeros_like(along)
    cuts = [_cut(frame.sum(1)) for frame in along]
    if sum(cut is not None for cut in cuts) < 0.6 * len(cuts):
        return None
    for index, cut in enumerate(cuts):
        if cut is not None:
            first[index, :cut] = along[index, :cut]
            second[index, cut:] = along[index, cut:]
    return (first, second) if is_above else (first.transpose(0, 2, 1), second.transpose(0, 2, 1))


def _cut(widths: numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]) -> int | None:
    """Return where the thinnest place of a profile is, near its middle; None where it is not thin."""
    places = numpy.flatnonzero(widths)
    if len(places) < 3:
        return None
    low, high = int(places[0]), int(places[-1]) + 1
    from_, to = low + (high - low) // 4, high - (high - low) // 4
    middle = widths[from_:to]
    thinnest = numpy.flatnonzero(middle == middle.min())
    cut = from_ + int(numpy.median(thinnest))
    narrower = min(widths[low:cut].max(initial=0), widths[cut:high].max(initial=0))
    return cut if widths[cut] <= _VALLEY * narrower else None
