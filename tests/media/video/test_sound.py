"""Sounds: how long they are, and joined with a clip."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from fakes.clips import clip
from wanworker.errors import InputUnavailable
from wanworker.media.video.sound import add_sound, sound_duration_s
from wanworker.media.video.writer import decode_check


def tone(path: Path, seconds: float) -> Path:
    """Write a square wave of 200 Hz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes([0, 40] * 20 + [0, 216] * 20) * round(seconds * 200))
    return path


async def test_the_length_of_a_sound_is_found_by_decoding_it(tmp_path: Path) -> None:
    assert 1.5 == pytest.approx(await sound_duration_s(tone(tmp_path / "a.wav", 1.5)), abs=0.01)


async def test_a_file_without_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputUnavailable, match=r"silent\.mp4 cannot be decoded"):
        await sound_duration_s(clip(tmp_path / "silent.mp4"))


@pytest.mark.parametrize("seconds", [0.3, 5.0])
async def test_the_joined_clip_is_as_long_as_its_pictures(tmp_path: Path, seconds: float) -> None:
    silent = clip(tmp_path / "silent.mp4", frames=17, fps=16)

    await add_sound(silent, tone(tmp_path / "a.wav", seconds), tmp_path / "joined.mp4", duration_s=17 / 16)

    facts = await decode_check(tmp_path / "joined.mp4")
    assert (True, 17) == (facts.has_audio, facts.frames)
    assert 17 / 16 == pytest.approx(await sound_duration_s(tmp_path / "joined.mp4"), abs=0.05)


async def test_the_same_parts_give_the_same_bytes(tmp_path: Path) -> None:
    silent, sound = clip(tmp_path / "silent.mp4"), tone(tmp_path / "a.wav", 1)
    for name in ("one.mp4", "two.mp4"):
        await add_sound(silent, sound, tmp_path / name, duration_s=1)

    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
