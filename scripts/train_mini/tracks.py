"""Where things are in each frame: their centres and radii, in shares of the frame. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy

from train_mini.scene import Scene

Line = numpy.ndarray[Any, numpy.dtype[numpy.floating[Any]]]

_RADII = {"small": (0.135, 0.145), "medium": (0.175, 0.19), "big": (0.23, 0.25)}

#: How far from its centre a thing counts as reaching, in radii, and the air that is left to the border. The tips of a
#: star and of a triangle reach 1.3: at the border they may be cut by less than 2 % of the frame.
_REACH = 1.2
_AIR = 0.015


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """A thing's path: centre and radius in each frame."""

    x: Line
    y: Line
    radius: Line


def tracks_of(scene: Scene, rng: numpy.random.Generator, frames: int) -> list[Track]:
    """Return one track a thing. The ranges are narrow: a caption says nearly all of what is seen."""
    time = numpy.linspace(0, 1, frames)
    if len(scene.things) > 1:
        return _pair(str(scene.relation), str(scene.motion), rng, time)
    return [_single(str(scene.things[0].size), str(scene.motion), rng, time)]


def _single(size: str, motion: str, rng: numpy.random.Generator, time: Line) -> Track:
    radius = rng.uniform(*_RADII[size]) * numpy.ones_like(time)
    x = rng.uniform(0.45, 0.55) * numpy.ones_like(time)
    y = rng.uniform(0.48, 0.57) * numpy.ones_like(time)
    low = radius[0] * _REACH + _AIR
    if motion in {"right", "left"}:
        x = _sweep(low, 1 - low, rng, time, is_back=motion == "left")
    elif motion in {"up", "down"}:
        y = _sweep(low, 1 - low, rng, time, is_back=motion == "up")
    elif motion == "bounce":
        base = min(1 - low, rng.uniform(0.71, 0.76))
        # One jump: two in a second would move further between two frames than a latent can tell.
        y = base - min(rng.uniform(0.38, 0.42), base - low) * numpy.sin(numpy.pi * time)
    elif motion in {"grow", "shrink"}:
        small, large = rng.uniform(0.125, 0.135), rng.uniform(0.29, 0.31)
        radius = small + (large - small) * (time if motion == "grow" else 1 - time)
    elif motion == "circle":
        turn = 2 * numpy.pi * time - numpy.pi / 2 + rng.uniform(-0.2, 0.2)
        reach = min(rng.uniform(0.19, 0.21), 0.5 - low)
        x, y = 0.5 + reach * numpy.cos(turn), 0.5 + reach * numpy.sin(turn)
    return _track(x, y, radius)


def _pair(relation: str, motion: str, rng: numpy.random.Generator, time: Line) -> list[Track]:
    is_vertical = relation == "above"
    goes_along = motion in ({"up", "down"} if is_vertical else {"right", "left"})
    radius = (rng.uniform(0.142, 0.15) if goes_along else rng.uniform(0.155, 0.165)) * numpy.ones_like(time)
    gap = rng.uniform(0.2, 0.21) if goes_along else rng.uniform(0.215, 0.23)
    low = radius[0] * _REACH + _AIR
    is_back = motion in {"left", "up"}
    along, across = rng.uniform(0.49, 0.51) * numpy.ones_like(time), rng.uniform(0.47, 0.53) * numpy.ones_like(time)
    if goes_along:
        along = _sweep(gap + low, 1 - gap - low, rng, time, is_back=is_back)
    elif motion != "still":
        across = _sweep(low, 1 - low, rng, time, is_back=is_back)
    centres = [(across, along - gap), (across, along + gap)]
    if not is_vertical:
        centres = [(y, x) for x, y in centres]
    return [_track(x, y, radius) for x, y in centres]


def _sweep(low: float, high: float, rng: numpy.random.Generator, time: Line, *, is_back: bool) -> Line:
    """Return a way from one border nearly to the other."""
    span = rng.uniform(0.9, 1.0) * (high - low)
    start = rng.uniform(low, high - span)
    return numpy.asarray(start + span * (1 - time if is_back else time))


def _track(x: Line, y: Line, radius: Line) -> Track:
    return Track(*(numpy.asarray(each, numpy.float32) for each in (x, y, radius)))
