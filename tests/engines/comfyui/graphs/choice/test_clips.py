from __future__ import annotations

import pytest

from wanworker.engines.comfyui.graphs.choice.clips import Clips, film_clip, motion_clips, sound_clips


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
    ("task", "driving", "most", "clips"),
    [
        ("animate-14B", 77, None, Clips((77,), 77)),
        ("animate-14B", 20, None, Clips((21,), 20)),
        ("animate-14B", 78, None, Clips((77, 21), 78)),
        ("animate-14B", 149, None, Clips((77, 77), 149)),
        ("animate-14B", 150, None, Clips((77, 77, 21), 150)),
        ("animate-14B", 150, 33, Clips((33,), 33)),
        ("animate-14B", 1, None, Clips((1,), 1)),
        ("animate2-14B", 81, None, Clips((81,), 81)),
        ("animate2-14B", 161, None, Clips((81, 81), 161)),
        ("animate2-14B", 162, None, Clips((81, 81, 17), 162)),
        ("animate2-14B", 162, 33, Clips((33,), 33)),
    ],
)
def test_a_driving_video_decides_the_clips(task: str, driving: int, most: int | None, clips: Clips) -> None:
    assert clips == motion_clips(task, driving, most)


@pytest.mark.parametrize(
    ("film_frames", "frames", "said"),
    [
        (None, 81, ""),
        (81, 81, ""),
        (300, 81, "the control video has 300 frames; its first 81 were used. frame_num takes more."),
        (80, 77, "frame_num 81 was changed to 77: the control video has no more."),
        (3, 1, "frame_num 81 was changed to 1: the control video has no more."),
    ],
)
def test_a_clip_is_no_longer_than_the_film_that_it_follows(film_frames: int | None, frames: int, said: str) -> None:
    warnings: list[str] = []

    assert Clips((frames,), frames) == film_clip("vace-A14B", 81, film_frames, warnings)
    assert ([said] if said else []) == warnings


def test_clips_give_every_frame_that_is_asked() -> None:
    for frames in range(1, 400):
        sound, motion = sound_clips(frames / 16, None), motion_clips("animate-14B", frames, None)
        second = motion_clips("animate2-14B", frames, None)

        assert sum(length + 3 for length in sound.lengths) >= sound.frames == max(5, frames)
        assert motion.lengths[0] + sum(length - 5 for length in motion.lengths[1:]) >= motion.frames == frames
        assert second.lengths[0] + sum(length - 1 for length in second.lengths[1:]) >= second.frames == frames
        assert 81 == max(81, *second.lengths)
        assert {1} == {length % 4 for length in (*sound.lengths, *motion.lengths, *second.lengths)}
        assert 77 == max(77, *sound.lengths, *motion.lengths)
