"""Where things go, and that they stay in the picture: over many seeds."""

import itertools
from collections.abc import Iterator

import numpy
import pytest

from train_mini.scene import MOTIONS, PAIR_MOTIONS, RELATIONS, SHAPES, SIZES, Scene, Thing
from train_mini.shapes import outline
from train_mini.tracks import Track, tracks_of

FRAMES = 17
SEEDS = range(40)

#: The tips of a star or a triangle may leave the frame: by no more than two pixels of 128.
CUT = 2 / 128


def singles(motion: str) -> Iterator[Track]:
    for seed, size in itertools.product(SEEDS, SIZES):
        yield from tracks_of(
            Scene((Thing("red", "ball", size),), motion, "sea"), numpy.random.default_rng(seed), FRAMES
        )


def pairs(motion: str, relation: str) -> Iterator[list[Track]]:
    scene = Scene((Thing("red", "ball"), Thing("blue", "star")), motion, "sea", relation)
    for seed in SEEDS:
        yield tracks_of(scene, numpy.random.default_rng(seed), FRAMES)


@pytest.fixture(scope="module")
def every_track() -> Track:
    """Return all tracks as one, a row each."""
    tracks = [track for motion in MOTIONS for track in singles(motion)]
    for motion, relation in itertools.product(PAIR_MOTIONS, RELATIONS):
        tracks += itertools.chain.from_iterable(pairs(motion, relation))
    return Track(*(numpy.stack([getattr(track, name) for track in tracks]) for name in ("x", "y", "radius")))


def air(track: Track, left: float, top: float, right: float, bottom: float) -> float:
    """Return the least room to the border over all frames of what reaches so many radii from its centre."""
    rooms = (
        track.x - left * track.radius, 1 - track.x - right * track.radius,
        track.y - top * track.radius, 1 - track.y - bottom * track.radius,
    )  # fmt: skip
    return float(numpy.min(rooms))


def test_a_ball_stays_wholly_inside_the_frame(every_track: Track) -> None:
    assert air(every_track, 1, 1, 1, 1) > 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_leaves_the_frame_by_more_than_two_pixels(every_track: Track, shape: str) -> None:
    (left, top), (right, bottom) = -outline(shape).min(0), outline(shape).max(0)

    assert air(every_track, left, top, right, bottom) > -CUT


@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("right", "x", 1), ("left", "x", -1), ("down", "y", 1), ("up", "y", -1)]
)
def test_a_thing_moves_straight_from_border_to_border(motion: str, axis: str, sign: int) -> None:
    for track in singles(motion):
        along, across = getattr(track, axis), getattr(track, "y" if axis == "x" else "x")

        assert (sign * numpy.diff(along) > 0).all()
        assert (0, 0) == (numpy.ptp(across), numpy.ptp(track.radius))
        assert sign * (along[-1] - along[0]) > 0.85 * (1 - 2 * (1.2 * track.radius[0] + 0.015))


def test_a_jump_goes_up_once_and_comes_down_where_it_began() -> None:
    for track in singles("bounce"):
        middle = FRAMES // 2

        assert (numpy.diff(track.y[: middle + 1]) < 0).all()
        assert (numpy.diff(track.y[middle:]) > 0).all()
        assert track.y[0] == pytest.approx(track.y[-1], abs=1e-5)
        assert (0, 0) == (numpy.ptp(track.x), numpy.ptp(track.radius))
        assert track.y[0] - track.y[middle] > 0.3


@pytest.mark.parametrize(("motion", "sign"), [("grow", 1), ("shrink", -1)])
def test_a_thing_grows_and_shrinks_to_more_than_the_double_in_its_place(motion: str, sign: int) -> None:
    for track in singles(motion):
        assert (sign * numpy.diff(track.radius) > 0).all()
        assert track.radius.max() > 2 * track.radius.min()
        assert (0, 0) == (numpy.ptp(track.x), numpy.ptp(track.y))


def test_a_circle_is_round_and_closes() -> None:
    for track in singles("circle"):
        reach = numpy.hypot(track.x - 0.5, track.y - 0.5)
        turns = numpy.diff(numpy.unwrap(numpy.arctan2(track.y - 0.5, track.x - 0.5)))

        assert reach.min() == pytest.approx(reach.max(), abs=1e-5)
        assert reach.min() > 0.17
        assert 2 * numpy.pi == pytest.approx(turns.sum(), abs=1e-4)
        assert (turns > 0).all()


def test_what_is_still_does_not_move() -> None:
    for track in singles("still"):
        assert {0} == {numpy.ptp(each) for each in (track.x, track.y, track.radius)}


def test_sizes_do_not_overlap() -> None:
    radii = {}
    for size in SIZES:
        scene = Scene((Thing("red", "ball", size),), "still", "sea")
        tracks = [tracks_of(scene, numpy.random.default_rng(seed), 1)[0] for seed in SEEDS]
        radii[size] = [float(track.radius[0]) for track in tracks]

    assert max(radii["small"]) < min(radii["medium"])
    assert max(radii["medium"]) < min(radii["big"])


@pytest.mark.parametrize(("motion", "relation"), [*itertools.product(PAIR_MOTIONS, RELATIONS)])
def test_a_relation_holds_from_the_first_frame_to_the_last(motion: str, relation: str) -> None:
    for first, second in pairs(motion, relation):
        near, far = (second.y - first.y, second.x - first.x)[:: 1 if relation == "above" else -1]

        assert (near > 2 * first.radius + 2 / 128).all()
        assert (numpy.abs(far) < 1e-6).all()
        assert numpy.ptp(near) < 1e-5


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("right", "x", 1), ("left", "x", -1), ("down", "y", 1), ("up", "y", -1)]
)
def test_two_things_move_where_they_say(motion: str, axis: str, sign: int, relation: str) -> None:
    other = "y" if axis == "x" else "x"
    for tracks in pairs(motion, relation):
        for track in tracks:
            assert (sign * numpy.diff(getattr(track, axis)) > 0).all()
            assert numpy.ptp(getattr(track, other)) < 1e-5
            assert sign * (getattr(track, axis)[-1] - getattr(track, axis)[0]) > 0.15


def test_two_still_things_do_not_move() -> None:
    for relation in RELATIONS:
        for tracks in pairs("still", relation):
            assert {0} == {numpy.ptp(each) for track in tracks for each in (track.x, track.y, track.radius)}


def test_the_same_seed_gives_the_same_tracks() -> None:
    scene = Scene((Thing("red", "ball"),), "circle", "sea")
    one, two, other = (tracks_of(scene, numpy.random.default_rng(seed), FRAMES)[0] for seed in (5, 5, 6))

    assert (one.x.tobytes(), one.y.tobytes()) == (two.x.tobytes(), two.y.tobytes())
    assert one.x.tobytes() != other.x.tobytes()
