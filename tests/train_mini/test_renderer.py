"""The drawn clips: the same from the same seed, in the colours that are named, and the mask where a thing is."""

import itertools

import numpy
import pytest

from train_mini.renderer import Clip, _background, draw_clip
from train_mini.scene import BACKGROUNDS, COLORS, SHAPES, Scene, Thing, draw_scene
from train_mini.tracks import tracks_of

SIDE = 64
FRAMES = 5


def single(color: str = "red", shape: str = "ball", motion: str = "right", background: str = "sea") -> Scene:
    return Scene((Thing(color, shape, "big"),), motion, background)


def drawn(scene: Scene, seed: int = 0, frames: int = FRAMES) -> Clip:
    return draw_clip(scene, numpy.random.default_rng(seed), frames=frames, side=SIDE)


def from_behind(clip: Clip, scene: Scene, seed: int) -> numpy.ndarray:
    """Return how far each pixel is from the bare background, (frames, side, side), in levels of 255."""
    bare = _background(str(scene.background), numpy.random.default_rng(seed), SIDE)
    return numpy.abs(clip.pixels - bare).max(-1)


def test_the_same_seed_gives_the_same_pixels_and_another_one_others() -> None:
    one, two, other = (drawn(single(), seed) for seed in (3, 3, 4))

    assert (one.pixels.tobytes(), one.mask.tobytes()) == (two.pixels.tobytes(), two.mask.tobytes())
    assert one.pixels.tobytes() != other.pixels.tobytes()


def test_a_clip_has_the_frames_and_the_side_that_are_asked_for() -> None:
    clip = draw_clip(single(), numpy.random.default_rng(0), frames=9, side=32)

    assert ((9, 32, 32, 3), numpy.uint8) == (clip.pixels.shape, clip.pixels.dtype)
    assert ((9, 32, 32), numpy.float32) == (clip.mask.shape, clip.mask.dtype)


@pytest.mark.parametrize("seed", range(8))
def test_the_mask_covers_what_differs_from_the_background(seed: int) -> None:
    scene = draw_scene(numpy.random.default_rng(seed))
    clip = drawn(scene, seed)
    difference = from_behind(clip, scene, seed)

    assert (clip.mask[difference > 1] > 0).all()
    assert (difference[clip.mask == 0] <= 0.51).all()
    assert (difference > 1).any((1, 2)).all()


def widened(mask: numpy.ndarray, by_px: int) -> numpy.ndarray:
    """Return *mask* and all within *by_px* pixels of it, along rows and columns."""
    shifts = range(-by_px, by_px + 1)
    return numpy.any([numpy.roll(mask, (dy, dx), (1, 2)) for dy in shifts for dx in shifts], 0)


@pytest.mark.parametrize("seed", range(8))
def test_the_mask_ends_with_the_thing(seed: int) -> None:
    scene = draw_scene(numpy.random.default_rng(seed))
    clip = drawn(scene, seed)
    is_seen = from_behind(clip, scene, seed) > 1

    assert widened(is_seen, 3)[clip.mask > 0].all()
    assert not is_seen.all()


def test_a_thing_that_hardly_stands_out_weighs_more() -> None:
    plain, hard = (drawn(single(color="white", background=background)) for background in ("night", "snow"))

    assert 1 == plain.mask.max()
    assert 1.4 < hard.mask.max() <= 2.5


@pytest.mark.parametrize(("color", "shape"), [*itertools.product(COLORS, SHAPES)])
def test_a_thing_has_its_color_at_its_centre(color: str, shape: str) -> None:
    scene = single(color, shape, "still", "room")
    pixels = drawn(scene, frames=1).pixels[0]
    middle = pixels[SIDE // 2 - 2 : SIDE // 2 + 2, SIDE // 2 - 2 : SIDE // 2 + 2].astype(float).mean((0, 1))
    nearest = min(COLORS, key=lambda name: numpy.abs(middle - COLORS[name]).sum())

    assert color == nearest


@pytest.mark.parametrize(("background", "is_dark"), [("night", False), ("snow", True), ("sea", True)])
def test_an_outline_is_dark_where_the_background_is_not(background: str, is_dark: bool) -> None:
    scene = single("white", "ball", "still", background)
    rng = numpy.random.default_rng(0)
    _background(background, rng, SIDE)
    (track,) = tracks_of(scene, rng, 1)
    row = drawn(scene, frames=1).pixels[0, int(track.y[0] * SIDE)].astype(float).mean(-1)
    edge, middle = (row[int((track.x[0] - share * track.radius[0]) * SIDE)] for share in (0.95, 0.3))

    assert is_dark == (edge < 0.75 * middle)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_background_is_its_own_and_the_same_in_every_frame(background: str) -> None:
    pixels = drawn(single(motion="still", background=background)).pixels
    others = [
        drawn(single(motion="still", background=each), frames=1).pixels for each in BACKGROUNDS if each != background
    ]

    assert (pixels == pixels[:1]).all()
    assert all(numpy.abs(pixels[0, :4].astype(float) - each[0, :4]).mean() > 4 for each in others)


def test_things_are_drawn_where_their_tracks_say() -> None:
    scene = Scene((Thing("red", "square"), Thing("white", "square")), "right", "night", "above")
    rng = numpy.random.default_rng(9)
    _background("night", rng, SIDE)
    tracks = tracks_of(scene, rng, FRAMES)
    pixels = drawn(scene, 9).pixels.astype(float)
    frames = numpy.arange(FRAMES)
    found = [
        pixels[frames, (track.y * SIDE).astype(int), (track.x * SIDE).astype(int)] - COLORS[str(thing.color)]
        for track, thing in zip(tracks, scene.things, strict=True)
    ]

    assert numpy.abs(found).max() < 30


def test_an_unknown_background_or_color_is_refused() -> None:
    with pytest.raises(KeyError, match="moon"):
        drawn(single(background="moon"))
    with pytest.raises(KeyError, match="mauve"):
        drawn(single(color="mauve"))
