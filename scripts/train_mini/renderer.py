"""Draw a scene as a clip: the ground truth that the miniature learns from. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy

from train_mini.scene import COLORS, Scene
from train_mini.shapes import distance
from train_mini.tracks import Track, tracks_of

SIDE = 128
FRAMES = 17

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]
Values = numpy.ndarray[Any, numpy.dtype[numpy.float32]]
Color = tuple[int, int, int]

#: Top and bottom of the sky, top and bottom of the ground. Paler or darker than every colour of a thing.
_GRADIENTS: dict[str, tuple[Color, Color, Color, Color]] = {
    "field": ((126, 184, 236), (176, 214, 242), (158, 208, 118), (112, 176, 84)),
    "sea": ((160, 196, 226), (196, 218, 236), (70, 146, 178), (34, 98, 138)),
    "night": ((20, 20, 48), (32, 30, 66), (32, 30, 66), (50, 47, 92)),
    "desert": ((244, 204, 142), (246, 222, 170), (222, 182, 116), (196, 150, 88)),
    "room": ((168, 168, 174), (192, 192, 197), (150, 108, 74), (120, 82, 52)),
    "snow": ((138, 158, 188), (172, 190, 210), (214, 224, 236), (198, 210, 226)),
}

#: The edge blends over this many pixels: a harder one would ask more of the autoencoder than of the eye.
_EDGE_PX = 1.4

#: How light a thing's outline is, of its middle. Dark, so that white on snow stays visible; at night things glow, for a
#: dark outline would be lost there, and with it what tells a star from a ball.
_RIM = 0.5
_RIM_AT_NIGHT = 1.0

#: A thing stands out by itself at this mean difference of its colour from the background, of 255.
_STANDS_OUT = 90.0
_LARGEST_WEIGHT = 2.5


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """A drawn clip: pixels (frames, side, side, 3), and where things are, (frames, side, side).

    0 is background, an edge is a fraction, a thing is 1, or more where it hardly stands out from what is behind it.
    """

    pixels: Pixels
    mask: Values


def draw_clip(scene: Scene, rng: numpy.random.Generator, *, frames: int = FRAMES, side: int = SIDE) -> Clip:
    """Draw *scene*; what it leaves free (exact place, radius, shade) comes from *rng*."""
    ground = _background(str(scene.background), rng, side)
    pixels = numpy.broadcast_to(ground, (frames, side, side, 3)).copy()
    mask = numpy.zeros((frames, side, side), numpy.float32)
    rim = _RIM_AT_NIGHT if scene.background == "night" else _RIM
    for thing, track in zip(scene.things, tracks_of(scene, rng, frames), strict=True):
        color = numpy.array(COLORS[str(thing.color)], numpy.float32) + rng.uniform(-6, 6, 3).astype(numpy.float32)
        _paint(pixels, mask, (str(thing.shape), color, rim), track)
    return Clip(pixels.round().clip(0, 255).astype(numpy.uint8), mask)


def _background(name: str, rng: numpy.random.Generator, side: int) -> Values:
    sky_top, sky_low, ground_top, ground_low = (numpy.array(each, numpy.float32) for each in _GRADIENTS[name])
    horizon = rng.uniform(0.57, 0.6)
    y = ((numpy.arange(side) + 0.5) / side)[:, None]
    sky = sky_top + (sky_low - sky_top) * (y / horizon).clip(0, 1)
    ground = ground_top + (ground_low - ground_top) * ((y - horizon) / (1 - horizon)).clip(0, 1)
    share = ((y - horizon) * side / 2 + 0.5).clip(0, 1)
    column = sky * (1 - share) + ground * share + rng.uniform(-4, 4, 3)
    return numpy.broadcast_to(column[:, None], (side, side, 3)).astype(numpy.float32)


def _paint(pixels: Values, mask: Values, look: tuple[str, Values, float], track: Track) -> None:
    shape, color, outline = look
    side = pixels.shape[1]
    axis = (numpy.arange(side, dtype=numpy.float32) + 0.5) / side
    for index in range(len(pixels)):
        radius = track.radius[index]
        reach = 1.4 * radius + 3 / side
        columns, rows = (_span(centre[index], reach, side) for centre in (track.x, track.y))
        x = ((axis[columns] - track.x[index]) / radius)[None, :]
        y = ((axis[rows] - track.y[index]) / radius)[:, None]
        depth = distance(shape, *numpy.broadcast_arrays(x, y))
        alpha = (0.5 - depth * radius * side / _EDGE_PX).clip(0, 1)
        # Light from the upper left, and a rim that changes towards the outline.
        light = (1.04 - 0.1 * x - 0.14 * y).clip(0.75, 1.2)
        rim = outline + (1 - outline) * (-depth / 0.3).clip(0, 1)
        box = pixels[index, rows, columns]
        weight = (_STANDS_OUT / numpy.abs(color - box.mean((0, 1))).mean()).clip(1, _LARGEST_WEIGHT)
        box += alpha[..., None] * ((color * (light * rim)[..., None]).clip(0, 255) - box)
        mask_box = mask[index, rows, columns]
        numpy.maximum(mask_box, weight * (2 - depth * radius * side).clip(0, 1), out=mask_box)


def _span(centre: float, reach: float, side: int) -> slice:
    return slice(max(0, int((centre - reach) * side)), min(side, int((centre + reach) * side) + 1))
