import dataclasses
from pathlib import Path

import pytest

from fakes.clips import clip, noisy_clip, with_sound
from wanworker.errors import EngineFailed
from wanworker.media.outputs._reencode import plan_for, reencode
from wanworker.media.video import mp4
from wanworker.media.video.writer import decode_check


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noisy_clip(tmp_path_factory.mktemp("reencode") / "noisy.mp4", fps=23.976)


@pytest.mark.parametrize("share", [0.8, 0.3])
async def test_the_copy_fits_with_the_same_frames_and_rate(noisy: Path, tmp_path: Path, share: float) -> None:
    facts = mp4.facts(noisy)
    room = int(facts.size_bytes * share)
    target = tmp_path / "small.mp4"
    made = await reencode(noisy, target, max_bytes=room, facts=facts)
    decoded = await decode_check(target)

    assert room * 0.7 < target.stat().st_size <= room
    assert (facts.frames, pytest.approx(facts.fps)) == (decoded.frames, decoded.fps)
    assert (320, 240) == (made.plan.width, made.plan.height)
    assert [target] == list(tmp_path.iterdir())


async def test_the_sound_is_kept(noisy: Path, tmp_path: Path) -> None:
    source = with_sound(noisy, tmp_path / "sound.mp4")
    facts = mp4.facts(source)
    made = await reencode(source, tmp_path / "small.mp4", max_bytes=facts.size_bytes // 2, facts=facts)

    assert made.facts.has_audio
    assert facts.frames == made.facts.frames


def test_few_bits_make_the_picture_smaller_and_too_few_are_refused() -> None:
    facts = mp4.VideoFacts(1280, 720, 16.0, 81, 5.0625, 9_000_000, "h264", False)
    large, small = plan_for(facts, max_bytes=1_000_000), plan_for(facts, max_bytes=100_000)

    assert (1280, 720) == (large.width, large.height)
    assert 128 <= small.height < 720
    assert 1280 / 720 == pytest.approx(small.width / small.height, rel=0.02)
    assert 0 == small.width % 2 == small.height % 2
    with pytest.raises(EngineFailed, match="cannot be made to fit 9000 bytes"):
        plan_for(facts, max_bytes=9000)


def test_the_sound_gets_its_share_of_the_bits() -> None:
    facts = mp4.VideoFacts(1280, 720, 16.0, 81, 5.0625, 9_000_000, "h264", True)
    plan = plan_for(facts, max_bytes=1_000_000)
    silent = plan_for(dataclasses.replace(facts, has_audio=False), max_bytes=1_000_000)

    assert 96_000 == plan.audio_bps
    assert silent.video_bps - 110_000 < plan.video_bps < silent.video_bps - 96_000


async def test_what_cannot_fit_leaves_nothing(noisy: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="acceptable quality"):
        await reencode(noisy, tmp_path / "small.mp4", max_bytes=6000, facts=mp4.facts(noisy))

    assert [] == list(tmp_path.iterdir())


async def test_a_copy_that_lost_frames_is_not_taken(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4")
    wrong = dataclasses.replace(mp4.facts(source), frames=99)

    with pytest.raises(EngineFailed, match="17 frames"):
        await reencode(source, tmp_path / "small.mp4", max_bytes=100_000, facts=wrong)
    assert [source] == list(tmp_path.iterdir())
