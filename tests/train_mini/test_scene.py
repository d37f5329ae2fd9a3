"""What is drawn, and what is kept from training."""

import itertools

import numpy
import pytest

from train_mini.scene import (
    BACKGROUNDS,
    COLORS,
    MOTIONS,
    PAIR_MOTIONS,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    draw_scene,
    is_held_out,
)


def single(color: str, shape: str, motion: str, background: str, size: str = "medium") -> Scene:
    return Scene((Thing(color, shape, size),), motion, background)


def pair(first: str, second: str, relation: str, motion: str = "still", background: str = "sea") -> Scene:
    things = tuple(Thing(*each.split()) for each in (first, second))
    return Scene(things, motion, background, relation)


#: Computed once, in another process: what a training kept back, no later one may learn.
SINGLES = {
    single("red", "ball", "right", "field"): True,
    single("red", "ball", "down", "room"): True,
    single("red", "ball", "still", "night"): True,
    single("blue", "star", "still", "snow"): False,
}
PAIRS = {
    pair("red ball", "orange ball", "above"): True,
    pair("red ball", "orange heart", "left"): True,
    pair("red triangle", "orange ball", "above"): True,
    pair("red ball", "blue square", "above"): False,
    pair("blue square", "yellow star", "left"): False,
}


@pytest.mark.parametrize(("scene", "answer"), [*SINGLES.items(), *PAIRS.items()])
def test_what_is_held_out_is_the_same_for_ever(scene: Scene, answer: bool) -> None:
    assert answer == is_held_out(scene)


def test_one_combination_in_eight_is_held_out() -> None:
    singles = [single(*each) for each in itertools.product(COLORS, SHAPES, MOTIONS, BACKGROUNDS)]
    looks = [f"{color} {shape}" for color, shape in itertools.product(COLORS, SHAPES)]
    pairs = [pair(*each) for each in itertools.product(looks, looks, RELATIONS)]

    for scenes in (singles, pairs):
        assert 0.125 == pytest.approx(sum(map(is_held_out, scenes)) / len(scenes), abs=0.015)


def test_neither_sizes_nor_a_pairs_motion_and_place_decide_what_is_held_out() -> None:
    sizes = {is_held_out(single("red", "ball", "right", "field", size)) for size in SIZES}
    places = {
        is_held_out(pair("red ball", "orange ball", "above", motion, background))
        for motion in PAIR_MOTIONS
        for background in BACKGROUNDS
    }

    assert ({True}, {True}) == (sizes, places)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_draw_is_never_of_the_other_kind(held_out: bool) -> None:
    rng = numpy.random.default_rng(0)

    assert {held_out} == {is_held_out(draw_scene(rng, held_out=held_out)) for _ in range(150)}


def test_training_draws_every_attribute_and_as_many_pairs_as_single_things() -> None:
    rng = numpy.random.default_rng(1)
    drawn = [draw_scene(rng) for _ in range(800)]
    singles = [each for each in drawn if len(each.things) == 1]
    things = [thing for each in drawn for thing in each.things]

    assert 0.5 == pytest.approx(len(singles) / len(drawn), abs=0.07)
    assert (set(COLORS), set(SHAPES), set(SIZES)) == tuple(
        {getattr(each, name) for each in things} for name in ("color", "shape", "size")
    )
    assert (set(MOTIONS), set(BACKGROUNDS)) == ({each.motion for each in singles}, {each.background for each in drawn})
    assert {None} == {each.relation for each in singles}


def test_two_things_have_two_colors_and_move_as_one() -> None:
    rng = numpy.random.default_rng(2)
    drawn = [draw_scene(rng, things=2) for _ in range(150)]

    assert {2} == {len({thing.color for thing in each.things}) for each in drawn}
    assert (set(RELATIONS), set(PAIR_MOTIONS)) == ({each.relation for each in drawn}, {each.motion for each in drawn})
    assert {"medium"} == {thing.size for each in drawn for thing in each.things}


@pytest.mark.parametrize("things", [1, 2])
def test_the_number_of_things_can_be_fixed(things: int) -> None:
    rng = numpy.random.default_rng(3)

    assert {things} == {len(draw_scene(rng, things=things).things) for _ in range(50)}
