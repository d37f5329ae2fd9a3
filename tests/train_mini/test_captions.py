"""Captions are read back by rules of this file's own, written without the tables that made them."""

from __future__ import annotations

import re

import numpy
import pytest

from train_mini.captions import caption, forget, plain_caption
from train_mini.scene import BACKGROUNDS, COLORS, MOTIONS, RELATIONS, SHAPES, Scene, Thing, draw_scene, is_held_out
from train_mini.sentences import NOISE
from train_mini.words import VOCABULARY, tokens_of

COLOR_RULES = {
    "red": "red|crimson|scarlet|ruby",
    "orange": "orange|tangerine",
    "yellow": "yellow|golden|gold|lemon",
    "green": "green|emerald|lime",
    "blue": "blue|azure|navy",
    "purple": "purple|violet|lilac",
    "pink": "pink|rosy|magenta",
    "white": "white|ivory",
}
SHAPE_RULES = {
    "ball": "balls?|circles?|dis[ck]s?|spheres?|orbs?|bubbles?",
    "square": "squares?|box|boxes|cubes?|blocks?",
    "triangle": "triangles?|pyramids?|cones?",
    "star": "stars?",
    "heart": "hearts?",
}
PLACES = r"\b(green (field|grass|meadow)|blue (sea|water)|yellow sand|white snow)\b"


def said_by(text: str, rules: dict[str, str]) -> list[str]:
    """Return the names whose words occur, in the order of their words."""
    found = [(match.start(), name) for name, rule in rules.items() for match in re.finditer(rf"\b({rule})\b", text)]
    return [name for _, name in sorted(found)]


def without_noise(text: str) -> str:
    known = set(VOCABULARY)
    return " ".join(word for word in text.lower().split() if set(tokens_of(word)) <= known)


@pytest.fixture
def rng() -> numpy.random.Generator:
    return numpy.random.default_rng(5)


def test_the_colours_and_shapes_of_5000_captions_are_read_back(rng: numpy.random.Generator) -> None:
    wrong = []
    for _ in range(5000):
        scene = draw_scene(rng)
        text = caption(scene, rng)
        plain = re.sub(PLACES, "", without_noise(text))
        colors = said_by(plain, COLOR_RULES)
        shapes = said_by(re.sub(r"\b(in|round in) (a )?circles?\b", "", plain), SHAPE_RULES)
        is_circle = scene.motion == "circle"
        wanted = {thing.shape for thing in scene.things}
        if sorted(colors) != sorted(str(thing.color) for thing in scene.things):
            wrong.append((text, colors))
        elif not wanted <= set(shapes) or not set(shapes) <= wanted | ({"ball"} if is_circle else set()):
            wrong.append((text, shapes))

    assert [] == wrong


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_first_thing_said_is_the_upper_or_left_one_unless_the_words_turn_the_pair(
    relation: str, rng: numpy.random.Generator
) -> None:
    turning = {"above": r"below|under|beneath|underneath|bottom", "left": "right"}[relation]
    scene = Scene((Thing("red", "ball"), Thing("blue", "star")), None, None, relation)
    texts = [without_noise(caption(scene, rng)) for _ in range(300)]
    red_first = [text for text in texts if said_by(text, COLOR_RULES) == ["red", "blue"]]
    blue_first = [text for text in texts if text not in red_first]

    assert 50 < len(red_first) < 250
    assert all(re.search(rf"\b({turning}|above it|left of it)\b", text) for text in blue_first)


def test_open_attributes_are_not_said(rng: numpy.random.Generator) -> None:
    scene = Scene((Thing(None, None, None),), None, None)
    texts = [without_noise(caption(scene, rng)) for _ in range(300)]

    assert all([] == said_by(text, COLOR_RULES) + said_by(text, SHAPE_RULES) for text in texts)
    assert "" in texts
    assert any("something" in text for text in texts)


def test_a_caption_without_a_motion_or_a_place_has_no_word_of_one(rng: numpy.random.Generator) -> None:
    scene = Scene((Thing("red", "ball"), Thing("blue", "star")), None, None, None)
    moving = r"moves?|moving|rolls?|rolling|fl\w+|field|sea|ocean|night|space|desert|room|snow|sand|table"
    texts = [without_noise(caption(scene, rng)) for _ in range(500)]

    assert not [text for text in texts if re.search(rf"\b({moving})\b", text.replace("movie", ""))]


def test_every_word_is_in_the_vocabulary_or_noise(rng: numpy.random.Generator) -> None:
    known, noise, noisy = set(VOCABULARY), set(NOISE), 0
    for _ in range(5000):
        strange = set(tokens_of(caption(forget(draw_scene(rng), rng), rng))) - known
        noisy += bool(strange)
        assert all(word in noise or re.fullmatch("[a-z]{2,8}", word) for word in strange)

    assert not known & noise
    assert 0.15 < noisy / 5000 < 0.25


@pytest.mark.slow
def test_every_word_of_the_vocabulary_is_said(rng: numpy.random.Generator) -> None:
    likes = [Thing(None, "ball"), Thing("red", "heart"), Thing(None, None)]
    pairs = [
        Scene((thing, thing), motion, None, relation) for thing in likes for motion in MOTIONS for relation in RELATIONS
    ]
    said: set[str] = set()
    for index in range(20_000):
        scene = pairs[index % len(pairs)] if index % 4 == 0 else forget(draw_scene(rng), rng, 0.2)
        said.update(tokens_of(caption(scene, rng)))

    assert set() == set(VOCABULARY) - said


def test_forgetting_leaves_about_six_in_a_hundred_open(rng: numpy.random.Generator) -> None:
    scene = Scene((Thing("red", "ball"), Thing("blue", "star")), "up", "sea", "above")
    kept = [forget(scene, rng) for _ in range(4000)]

    for count in (
        sum(each.things[1].color is None for each in kept),
        sum(each.things[0].shape is None for each in kept),
        sum(each.motion is None for each in kept),
        sum(each.background is None for each in kept),
        sum(each.relation is None for each in kept),
    ):
        assert 0.045 < count / 4000 < 0.075
    assert Scene((Thing(None, None, None),) * 2, None, None, None) == forget(scene, rng, 1.0)


def test_plain_captions_are_plain_english() -> None:
    one = Scene((Thing("red", "ball"),), "right", "field")
    small = Scene((Thing("orange", "star", "small"),), "bounce", None)
    two = Scene((Thing("yellow", "star"), Thing("blue", "square")), None, "night", "above")
    moving = Scene((Thing("pink", "heart"), Thing(None, None)), "left", "sea", "left")

    assert "a red ball moves to the right over a green field" == plain_caption(one)
    assert "a small orange star bounces" == plain_caption(small)
    assert "a yellow star above a blue square at night" == plain_caption(two)
    assert "a pink heart to the left of a thing, both move to the left over the sea" == plain_caption(moving)


def test_plain_captions_tell_scenes_apart() -> None:
    scenes = [Scene((Thing(c, s),), m, b) for c in COLORS for s in SHAPES for m in MOTIONS for b in BACKGROUNDS]

    assert len(scenes) == len({plain_caption(scene) for scene in scenes})


def test_the_same_seed_says_the_same(rng: numpy.random.Generator) -> None:
    scene = draw_scene(rng)

    assert caption(scene, numpy.random.default_rng(3)) == caption(scene, numpy.random.default_rng(3))


def test_scenes_that_are_held_out_are_never_drawn_for_training(rng: numpy.random.Generator) -> None:
    assert not any(is_held_out(draw_scene(rng)) for _ in range(500))
    assert all(is_held_out(draw_scene(rng, held_out=True)) for _ in range(100))
