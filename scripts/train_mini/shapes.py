"""The five shapes as distance fields: negative inside, in units of the thing's radius. Pure."""

from __future__ import annotations

import functools
from typing import Any

import numpy

Field = numpy.ndarray[Any, numpy.dtype[numpy.float32]]

#: A field is looked up in a table over this square, in radii; no shape reaches further than 1.35.
_REACH = 2.0
_CELLS = 320


def distance(shape: str, x: Field, y: Field) -> Field:
    """Return the signed distance from the outline at (x, y), in radii, y pointing down, clamped beyond two radii."""
    table = _table(shape)
    scale = (_CELLS - 1) / (2 * _REACH)
    column = numpy.clip((x + _REACH) * scale, 0, _CELLS - 1.001)
    row = numpy.clip((y + _REACH) * scale, 0, _CELLS - 1.001)
    left, top = column.astype(numpy.int32), row.astype(numpy.int32)
    dx, dy = column - left, row - top
    upper = table[top, left] * (1 - dx) + table[top, left + 1] * dx
    lower = table[top + 1, left] * (1 - dx) + table[top + 1, left + 1] * dx
    return numpy.asarray(upper * (1 - dy) + lower * dy, numpy.float32)


def outline(shape: str) -> Field:
    """Return the corners of *shape*, (n, 2), its centroid near the origin; areas are alike, 2.2 to 3.2 square radii."""
    if shape == "square":
        return numpy.array([(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)], numpy.float32)
    if shape == "triangle":
        return numpy.array([(0, -1.3), (1.126, 0.65), (-1.126, 0.65)], numpy.float32)
    if shape == "star":
        turn = numpy.arange(10) * numpy.pi / 5
        radius = numpy.where(numpy.arange(10) % 2, 0.58, 1.32)
        return numpy.stack([radius * numpy.sin(turn), -radius * numpy.cos(turn)], 1).astype(numpy.float32)
    turn = numpy.linspace(0, 2 * numpy.pi, 96, endpoint=False)
    if shape == "ball":
        return numpy.stack([numpy.sin(turn), -numpy.cos(turn)], 1).astype(numpy.float32)
    # The heart curve, https://mathworld.wolfram.com/HeartCurve.html, its centroid moved to the origin.
    across = 16 * numpy.sin(turn) ** 3
    height = 13 * numpy.cos(turn) - 5 * numpy.cos(2 * turn) - 2 * numpy.cos(3 * turn) - numpy.cos(4 * turn)
    return numpy.stack([across / 14.5, -(height + 0.6) / 14.5], 1).astype(numpy.float32)


@functools.cache
def _table(shape: str) -> Field:
    axis = numpy.linspace(-_REACH, _REACH, _CELLS, dtype=numpy.float32)
    x, y = numpy.meshgrid(axis, axis)
    return _polygon_distance(outline(shape), x, y)


def _polygon_distance(corners: Field, x: Field, y: Field) -> Field:
    """Return the distance to the nearest edge, negative where a ray to the right crosses an odd number of edges."""
    nearest = numpy.full(x.shape, numpy.inf, numpy.float32)
    inside = numpy.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, numpy.roll(corners, -1, 0), strict=True):
        ex, ey = bx - ax, by - ay
        along = numpy.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = numpy.minimum(nearest, numpy.hypot(x - ax - along * ex, y - ay - along * ey))
        if ay != by:
            crosses = ((ay > y) != (by > y)) & (x < ex * (y - ay) / ey + ax)
            inside ^= crosses
    return numpy.where(inside, -nearest, nearest).astype(numpy.float32)
