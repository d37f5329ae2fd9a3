"""Small square clips become larger without being stretched: motion, edges and background."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from PIL import Image

from wanworker.engines.resident.child._upscaling import Canvas, between, sharpened

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]

SKY, GROUND, THING = (120, 180, 230), (100, 180, 90), (220, 20, 30)
SIDE = 128


def clip(frames: int = 9, *, size: int = 24, step: int = 4) -> Pixels:
    """Return a red square that moves to the right over sky and ground, *step* pixels a frame."""
    made = numpy.empty((frames, SIDE, SIDE, 3), numpy.uint8)
    made[:, : SIDE // 2], made[:, SIDE // 2 :] = SKY, GROUND
    for index, frame in enumerate(made):
        left = 30 + index * step
        frame[52 : 52 + size, left : left + size] = THING
    return made


def thing_in(frame: Pixels) -> tuple[float, float, float, float]:
    """Return the red thing's centre and its width and height, in pixels."""
    rows, columns = numpy.nonzero(numpy.abs(frame.astype(int) - THING).sum(2) < 150)
    return columns.mean(), rows.mean(), float(numpy.ptp(columns)) + 1, float(numpy.ptp(rows)) + 1


def placed(canvas: Canvas, frame: Pixels, width: int, height: int) -> Pixels:
    return numpy.frombuffer(canvas.placed(frame), numpy.uint8).reshape(height, width, 3)


@pytest.mark.parametrize("count", [33, 24])
def test_a_thing_between_two_frames_is_one_thing_on_its_way(count: int) -> None:
    frames = list(between(clip(), count))

    assert count == len(frames)
    centres = [thing_in(frame)[0] for frame in frames]
    assert centres == sorted(centres)
    assert [thing_in(frame)[2] for frame in frames] == pytest.approx([24] * count, abs=2)
    even = numpy.linspace(centres[0], centres[-1], count)
    assert numpy.abs(numpy.array(centres) - even).max() < 1.5


def test_the_first_and_the_last_frame_stay_where_they_are() -> None:
    frames = clip()
    made = list(between(frames, 81))

    for index, own in ((0, 0), (40, 4), (80, 8)):
        assert numpy.abs(made[index].astype(int) - frames[own]).mean() < 1.5


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 8]), (3, [0, 4, 8]), (9, list(range(9)))])
def test_fewer_frames_are_spread_over_the_whole_clip(count: int, expected: list[int]) -> None:
    frames = clip()

    assert [(frames[index] == made).all() for index, made in zip(expected, between(frames, count), strict=True)]


def test_a_single_frame_is_repeated() -> None:
    assert 3 == len(list(between(clip(1), 3)))


def test_left_early_no_process_is_left() -> None:
    made = between(clip(), 400)
    next(made)
    made.close()

    assert [] == list(made)


@pytest.mark.parametrize(("width", "height"), [(640, 352), (352, 640), (512, 512), (96, 64)])
def test_a_square_stays_a_square_in_the_middle(width: int, height: int) -> None:
    frames = clip()
    scale = min(width, height) / SIDE

    made = placed(Canvas(frames, width, height), frames[4], width, height)

    x, y, wide, high = thing_in(made)
    assert (24 * scale, 24 * scale) == pytest.approx((wide, high), abs=2 * scale)
    own_x, own_y, *_ = thing_in(frames[4])
    assert x == pytest.approx((width - SIDE * scale) / 2 + own_x * scale, abs=scale)
    assert y == pytest.approx((height - SIDE * scale) / 2 + own_y * scale, abs=scale)


def test_the_background_goes_on_beside_the_square() -> None:
    frames = clip()
    wide = placed(Canvas(frames, 640, 352), frames[4], 640, 352)
    high = placed(Canvas(frames, 352, 640), frames[4], 352, 640)

    for x in (0, 100, 143, 150, 500, 639):
        assert wide[40, x] == pytest.approx(SKY, abs=2)
        assert wide[320, x] == pytest.approx(GROUND, abs=2)
    assert high[0, 170] == pytest.approx(SKY, abs=2)
    assert high[639, 170] == pytest.approx(GROUND, abs=2)


def test_a_picture_of_the_callers_goes_on_beside_the_square() -> None:
    frames = clip()
    beyond = Image.new("RGB", (640, 352), (9, 8, 7))

    made = placed(Canvas(frames, 640, 352, beyond), frames[4], 640, 352)

    assert tuple(made[100, 20]) == (9, 8, 7)
    assert made[100, 320] == pytest.approx(SKY, abs=2)


def test_the_background_alone_has_nothing_of_the_thing() -> None:
    empty = numpy.frombuffer(Canvas(clip(), 320, 320).empty, numpy.uint8).reshape(320, 320, 3)

    assert not (numpy.abs(empty.astype(int) - THING).sum(2) < 150).any()


def test_a_blurred_edge_becomes_steep_without_a_halo() -> None:
    ramp = numpy.clip(40 + (numpy.arange(64) - 26) * 13, 40, 200).astype(numpy.uint8)
    frame = numpy.broadcast_to(ramp[None, :, None], (64, 64, 3)).copy()

    made = sharpened(frame)

    assert (made.min(), made.max()) == (40, 200)
    between_px = [int(((each > 60) & (each < 180)).sum()) for each in (frame[30, :, 0], made[30, :, 0])]
    assert between_px[1] <= 0.6 * between_px[0]


def test_a_soft_gradient_stays_as_it_is() -> None:
    gradient = numpy.linspace(100, 140, 256).astype(numpy.uint8)
    frame = numpy.broadcast_to(gradient[None, :, None], (64, 256, 3)).copy()

    assert (sharpened(frame) == frame).all()
