"""Small clips stretched in space and time."""

from __future__ import annotations

import numpy
import pytest

from wanworker.engines.resident.child._film import resampled


def clip(*levels: int) -> numpy.ndarray[tuple[int, int, int, int], numpy.dtype[numpy.uint8]]:
    """Return a clip of grey frames, 4 x 2 pixels."""
    frames = [numpy.full((2, 4, 3), level, numpy.uint8) for level in levels]
    return numpy.stack(frames)


def levels_of(frames: list[bytes]) -> list[int]:
    return [frame[0] for frame in frames]


def test_frames_between_are_the_weighted_mean_and_the_ends_stay() -> None:
    frames = list(resampled(clip(0, 100, 200), 3, width=4, height=2, count=5))

    assert [0, 50, 100, 150, 200] == levels_of(frames)


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 200]), (3, [0, 100, 200])])
def test_fewer_frames_are_spread_over_the_whole_clip(count: int, expected: list[int]) -> None:
    assert expected == levels_of(list(resampled(clip(0, 100, 200), 3, width=4, height=2, count=count)))


def test_a_single_frame_is_repeated() -> None:
    assert [7, 7, 7] == levels_of(list(resampled(clip(7), 1, width=4, height=2, count=3)))


def test_frames_have_the_size_that_was_asked_for() -> None:
    frames = list(resampled(clip(0, 255), 2, width=30, height=20, count=9))

    assert {30 * 20 * 3} == {len(frame) for frame in frames}
    assert 9 == len(frames)
