"""What a clip shows: one thing, or two with a relation, a motion and a background. Pure."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy

#: sRGB, far apart in hue or in lightness: a checker tells them by the nearest one.
COLORS = {
    "red": (222, 38, 38),
    "orange": (248, 138, 22),
    "yellow": (248, 222, 44),
    "green": (28, 150, 62),
    "blue": (42, 72, 222),
    "purple": (136, 52, 178),
    "pink": (250, 132, 190),
    "white": (246, 246, 246),
}
SHAPES = ("ball", "square", "triangle", "star", "heart")
SIZES = ("small", "medium", "big")
MOTIONS = ("right", "left", "up", "down", "bounce", "grow", "shrink", "circle", "still")
#: Two things move as one, so that their relation holds from the first frame to the last.
PAIR_MOTIONS = ("right", "left", "up", "down", "still")
#: `above`: the first thing is over the second; `left`: it is to the left of the second.
RELATIONS = ("above", "left")
BACKGROUNDS = ("field", "sea", "night", "desert", "room", "snow")

#: One combination in this many is never trained on, so that obedience is told from memory.
HELD_OUT_OF = 8

#: How often a clip shows two things.
_PAIRS = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Thing:
    """One object. None is what a caption leaves open."""

    color: str | None
    shape: str | None
    size: str | None = "medium"


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """One clip's content: the first of two things is the upper or the left one. None is what a caption leaves open."""

    things: tuple[Thing, ...]
    motion: str | None
    background: str | None
    relation: str | None = None


def is_held_out(scene: Scene) -> bool:
    """Say whether the combination of attributes is kept from training: the same answer in every process, for ever.

    One thing: colour, shape, motion and background. Two: both colours, both shapes and their relation.
    """
    looks = [part for thing in scene.things for part in (thing.color, thing.shape)]
    context = [scene.relation] if len(scene.things) > 1 else [scene.motion, scene.background]
    digest = hashlib.sha256(" ".join(map(str, looks + context)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_OF == 0


def draw_scene(rng: numpy.random.Generator, *, held_out: bool = False, things: int | None = None) -> Scene:
    """Draw a scene at random, from the trained combinations or from the held-out ones; *things* fixes their number."""
    while True:
        number = things or 1 + int(rng.random() < _PAIRS)
        scene = _draw_pair(rng) if number > 1 else _draw_single(rng)
        if is_held_out(scene) == held_out:
            return scene


def _draw_single(rng: numpy.random.Generator) -> Scene:
    size = str(rng.choice(SIZES, p=(0.25, 0.5, 0.25)))
    thing = Thing(str(rng.choice(list(COLORS))), str(rng.choice(SHAPES)), size)
    return Scene((thing,), str(rng.choice(MOTIONS)), str(rng.choice(BACKGROUNDS)))


def _draw_pair(rng: numpy.random.Generator) -> Scene:
    # Two colours: a pair of one colour would not say which shape is whose.
    colors = rng.choice(list(COLORS), 2, replace=False)
    things = tuple(Thing(str(color), str(rng.choice(SHAPES))) for color in colors)
    return Scene(things, str(rng.choice(PAIR_MOTIONS)), str(rng.choice(BACKGROUNDS)), str(rng.choice(RELATIONS)))
