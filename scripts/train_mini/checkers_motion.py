"""How things move: from the centre and the area of their mask in each frame. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy

from train_mini.checkers_masks import Mask
from train_mini.scene import MOTIONS, PAIR_MOTIONS

Line = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

#: In shares of the frame. The shortest way drawn is 0.17 long; a still thing's centre wanders by a pixel or two.
_FAR = 0.1
_NEAR = 0.06

#: The smallest growth drawn makes the area 4.6 times larger.
_GROWTH = 2.2

#: A circle drawn is 0.37 across at least; half a turn is no circle.
_CIRCLE_ACROSS = 0.25
_CIRCLE_TURN_RAD = 4.0

#: A jump drawn is 0.37 high at least, and ends where it began.
_JUMP = 0.15

#: A frame with less than this share of the median area says nothing of the place.
_MIN_AREA_SHARE = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """Centre, in shares of the frame, and area, in pixels, at each frame that shows the thing."""

    x: Line
    y: Line
    area: Line


def path_of(mask: Mask) -> Path | None:
    """Return the path of what *mask* shows, or None where most frames show nothing."""
    area = mask.sum((1, 2)).astype(float)
    usable = area > max(_MIN_AREA_SHARE * float(numpy.median(area)), 1)
    if usable.mean() < 0.75 or not usable[[0, -1]].any():
        return None
    shown, area = mask[usable], area[usable]
    x = (shown.sum(1) @ (numpy.arange(mask.shape[2]) + 0.5)) / area / mask.shape[2]
    y = (shown.sum(2) @ (numpy.arange(mask.shape[1]) + 0.5)) / area / mask.shape[1]
    return Path(x, y, area)


def motion_of(path: Path, things: int) -> str | None:
    """Return one of MOTIONS (two *things*: of PAIR_MOTIONS), or None where the path is none of them."""
    motion = _named(path)
    return motion if motion in (MOTIONS if things == 1 else PAIR_MOTIONS) else None


def _named(path: Path) -> str | None:
    dx, dy = _moved(path.x), _moved(path.y)
    growth = float(numpy.median(path.area[-3:]) / numpy.median(path.area[:3]))
    if max(growth, 1 / growth) > _GROWTH and max(abs(dx), abs(dy)) < 2 * _FAR:
        return "grow" if growth > 1 else "shrink"
    if _is_circle(path):
        return "circle"
    if _jumps(path) and abs(dx) < _FAR:
        return "bounce"
    if max(abs(dx), abs(dy)) >= _FAR:
        return _direction(dx, dy)
    return "still" if max(numpy.ptp(path.x), numpy.ptp(path.y)) < 2 * _NEAR else None


def _direction(dx: float, dy: float) -> str | None:
    """Return the way of a straight move; one that goes as far the other way as well is none."""
    if min(abs(dx), abs(dy)) > max(_NEAR, 0.5 * max(abs(dx), abs(dy))):
        return None
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def _is_circle(path: Path) -> bool:
    if min(numpy.ptp(path.x), numpy.ptp(path.y)) < _CIRCLE_ACROSS:
        return False
    middle = [(line.max() + line.min()) / 2 for line in (path.x, path.y)]
    turn = numpy.unwrap(numpy.arctan2(path.y - middle[1], path.x - middle[0]))
    return abs(float(turn[-1] - turn[0])) > _CIRCLE_TURN_RAD


def _jumps(path: Path) -> bool:
    """Say whether it leaves the ground and comes back, once or more often."""
    height = float(numpy.ptp(path.y))
    ends = (path.y[:2].mean() + path.y[-2:].mean()) / 2
    return height > _JUMP and abs(_moved(path.y)) < 0.5 * height and bool(ends > path.y.mean())


def _moved(line: Line) -> float:
    """Return how far the end is from the beginning, each the mean of two frames."""
    return float(line[-2:].mean() - line[:2].mean())
