"""How often the checkers are right on clips whose content is known: drawn, then blurred and noised as a model would."""

from __future__ import annotations

import collections
from typing import Any

import numpy

from train_mini.checkers import last_looks, read_clip
from train_mini.checkers_masks import Pixels, Values
from train_mini.renderer import draw_clip
from train_mini.scene import Scene, Thing, draw_scene


def validate(clips: int, seed: int, *, blur_px: float = 0, noise: float = 0) -> dict[str, float]:
    """Return the share of *clips* (half of them pairs) in which each attribute was read right.

    *blur_px* is a Gaussian's standard deviation, in pixels; *noise* one in levels of 255. Keys are `single color`,
    `pair shapes` and so on; `pair colors` and `pair shapes` want both things right.
    """
    rng = numpy.random.default_rng(seed)
    right: collections.Counter[str] = collections.Counter()
    asked: collections.Counter[str] = collections.Counter()
    for index in range(clips):
        scene = draw_scene(rng, things=1 + index % 2)
        pixels = worsened(draw_clip(scene, rng).pixels, rng, blur_px=blur_px, noise=noise)
        found = compared(scene, read_clip(pixels, len(scene.things)))
        if len(scene.things) == 1:
            found["single last looks"] = same_looks(scene.things, (last_looks(pixels),))
        for name, is_right in found.items():
            right[name] += is_right
            asked[name] += 1
    return {name: right[name] / asked[name] for name in sorted(asked)}


def compared(asked: Scene, seen: Scene) -> dict[str, bool]:
    """Say for each attribute of *asked* whether *seen* has the same; what is None in *asked* was not asked."""
    kind, plural = ("single", "") if len(asked.things) == 1 else ("pair", "s")
    looks = list(zip(asked.things, seen.things, strict=True))
    wanted = {
        f"{kind} color{plural}": [(a.color, b.color) for a, b in looks],
        f"{kind} shape{plural}": [(a.shape, b.shape) for a, b in looks],
        f"{kind} motion": [(asked.motion, seen.motion)],
        f"{kind} background": [(asked.background, seen.background)],
        f"{kind} relation": [(asked.relation, seen.relation)],
    }
    open_ = {name for name, parts in wanted.items() if all(part is None for part, _ in parts)}
    return {name: all(a in {None, b} for a, b in parts) for name, parts in wanted.items() if name not in open_}


def same_looks(asked: tuple[Thing, ...], seen: tuple[Thing, ...]) -> bool:
    """Say whether colours and shapes are the same; sizes are not compared."""
    return [(each.color, each.shape) for each in asked] == [(each.color, each.shape) for each in seen]


def worsened(pixels: Pixels, rng: numpy.random.Generator, *, blur_px: float, noise: float) -> Pixels:
    """Return *pixels* blurred (standard deviation in pixels), then with noise (standard deviation in levels)."""
    values = pixels.astype(numpy.float32)
    if blur_px:
        reach = int(numpy.ceil(3 * blur_px))
        kernel = numpy.exp(-0.5 * (numpy.arange(-reach, reach + 1) / blur_px) ** 2)
        for axis in (1, 2):
            values = _blurred(values, kernel / kernel.sum(), axis)
    if noise:
        values = numpy.asarray(values + rng.normal(0, noise, values.shape), numpy.float32)
    return numpy.asarray(values.round().clip(0, 255), numpy.uint8)


def _blurred(values: Values, kernel: Any, axis: int) -> Values:
    reach = len(kernel) // 2
    padding = [(0, 0)] * values.ndim
    padding[axis] = (reach, reach)
    padded = numpy.pad(values, padding, mode="edge")
    length = values.shape[axis]
    blurred = numpy.zeros_like(values)
    for index, share in enumerate(kernel):
        blurred += numpy.float32(share) * numpy.take(padded, range(index, index + length), axis)
    return blurred
