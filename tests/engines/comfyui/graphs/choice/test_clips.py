from __future__ import annotations

import pytest

from wanworker.engines.comfyui.graphs.choice.clips import Clips, motion_clips, sound_clips


@pytest.mark.parametrize(
    ("sound_s", "most", "clips"),
    [
        (5.0, None, Clips((77,), 80)),
        (2.0, None, Clips((29,), 32)),
        (5.1, None, Clips((77, 13), 82)),
        (12.0, None, Clips((77, 77, 29), 192)),
        (12.0, 81, Clips((77, 13), 81)),
        (0.1, None, Clips((5,), 5)),
        (3600.0, None, Clips((*([77] * 15), 13), 1201)),
    ],
)
def test_a_sound_decides_the_clips(sound_s: float, most: int | None, clips: Clips) -> None:
    assert clips == sound_clips(sound_s, most)


@pytest.mark.parametrize(
    ("driving", "most", "clips"),
    [
        (77, None, Clips((77,), 77)),
        (20, None, Clips((21,), 20)),
        (78, None, Clips((77, 21), 78)),
        (149, None, Clips((77, 77), 149)),
        (150, None, Clips((77, 77, 21), 150)),
        (150, 33, Clips((33,), 33)),
        (1, None, Clips((1,), 1)),
    ],
)
def test_a_driving_video_decides_the_clips(driving: int, most: int | None, clips: Clips) -> None:
    assert clips == motion_clips(driving, most)


def test_clips_give_every_frame_that_is_asked() -> None:
    for frames in range(1, 400):
        sound, motion = sound_clips(frames / 16, None), motion_clips(frames, None)

        assert sum(length + 3 for length in sound.lengths) >= sound.frames == max(5, frames)
        assert motion.lengths[0] + sum(length - 5 for length in motion.lengths[1:]) >= motion.frames == frames
        assert {1} == {length % 4 for length in (*sound.lengths, *motion.lengths)}
        assert 77 == max(77, *sound.lengths, *motion.lengths)
