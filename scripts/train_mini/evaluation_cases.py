"""What the miniature is asked when it is judged, and the judgement of one clip: held-out scenes, fixed seeds. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy

from train_mini.captions import caption
from train_mini.checkers import last_looks, read_clip, shown_first
from train_mini.checkers_masks import Pixels
from train_mini.checkers_validation import compared, same_looks
from train_mini.renderer import FRAMES, SIDE, draw_clip
from train_mini.scene import Scene, Thing, draw_scene

#: The kinds of clips that are asked for: one thing, two things, one thing whose first frame is given.
KINDS = ("single", "pair", "picture")

#: The issue's own bar for the first frame.
FIRST_FRAME_DB = 30.0

#: Keeps these scenes apart from those that training draws from the same seed.
_STAGE = 7


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How many clips of each kind, and how each is rendered."""

    singles: int = 100
    pairs: int = 100
    pictures: int = 100
    steps: int = 20
    guidance: float = 4.0
    #: The scheduler's flow_shift; None leaves what the folder says.
    shift: float | None = None
    max_text_tokens: int = 64
    side: int = SIDE
    frames: int = FRAMES
    seed: int = 0
    #: A folder with one LoRA for each of two experts, named *high_noise* and *low_noise*.
    loras: Path | None = None
    #: End after this many clips, of all kinds in turns.
    stop_after: int | None = None

    def count(self, kind: str) -> int:
        """Return how many clips of *kind* are asked for."""
        return {"single": self.singles, "pair": self.pairs, "picture": self.pictures}[kind]


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One question: a held-out scene in words, and the noise's seed; for `picture` also the first frame."""

    kind: str
    scene: Scene
    prompt: str
    seed: int
    image: Pixels | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """The answer: what was seen, and for each attribute whether it was what the case asked for."""

    case: Case
    pixels: Pixels
    seen: Scene
    right: dict[str, bool]
    #: Of a picture's case, else None.
    last: Thing | None = None
    first_frame_db: float | None = None

    @property
    def wrong(self) -> list[str]:
        """Return the names of what is wrong."""
        return [name for name, is_right in self.right.items() if not is_right]


def cases_of(plan: Plan, kinds: tuple[str, ...] = KINDS) -> Iterator[Case]:
    """Yield the cases of *kinds* in turns, so that a run that ends early has judged all of them.

    A case follows from the plan's seed, its kind and its number alone: a longer run begins with a shorter one's cases.
    """
    left = plan.stop_after
    for index in range(max(plan.count(kind) for kind in kinds)):
        for kind in kinds:
            if index >= plan.count(kind):
                continue
            if left is not None and left <= 0:
                return
            left = None if left is None else left - 1
            yield case_of(plan, kind, index)


def case_of(plan: Plan, kind: str, index: int) -> Case:
    """Return the case of *kind* with the number *index*."""
    rng = numpy.random.default_rng([plan.seed, _STAGE, KINDS.index(kind), index])
    seed = int(rng.integers(2**31))
    scene = draw_scene(rng, held_out=True, things=2 if kind == "pair" else 1)
    prompt = caption(scene, rng)
    is_picture = kind == "picture"
    image = draw_clip(scene, rng, frames=plan.frames, side=plan.side).pixels[0] if is_picture else None
    return Case(kind, scene, prompt, seed, image)


def judged(case: Case, pixels: Pixels) -> Judged:
    """Read *pixels*, (frames, height, width, 3), and compare them with what *case* asked for.

    Of a picture's clip the looks of the last frame and the first frame's likeness are judged too: the rest of its
    looks are the drawing's.
    """
    seen = read_clip(pixels, len(case.scene.things))
    right = compared(case.scene, seen)
    if case.image is None:
        return Judged(case, pixels, seen, right)
    last, likeness_db = last_looks(pixels), shown_first(pixels, case.image)
    right = {
        "picture first frame": likeness_db >= FIRST_FRAME_DB,
        "picture last looks": same_looks(case.scene.things, (last,)),
        "picture motion": right["single motion"],
    }
    return Judged(case, pixels, seen, right, last, likeness_db)
