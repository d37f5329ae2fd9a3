"""The finished clip: its frame rate, its size and its sound, counted again."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.clips import clip
from fakes.recordings import sound
from wanworker.errors import EngineFailed
from wanworker.media.video import ffmpeg
from wanworker.media.video.finishing import Finish, finish_clip, finished_frames
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.sound import sound_duration_s
from wanworker.media.video.writer import decode_check


async def finished(path: Path, finish: Finish, told: list[tuple[str, int, int]] | None = None) -> tuple[str, ...]:
    """Finish the clip at *path* and return what was said. What was promised is what the file has."""
    facts = await decode_check(path)

    def hear(*heard: object) -> None:
        if told is not None:
            told.append(heard)  # type: ignore[arg-type]

    done = await finish_clip(path, path.with_name("spare.mp4"), finish, facts=facts, on_frames=hear)
    assert done.facts == await decode_check(path)
    assert not path.with_name("spare.mp4").exists()
    return done.lines


@pytest.fixture
def encodings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Put a program before ffmpeg that writes down its arguments; return the crf of each run that encodes."""
    log, real = tmp_path / "runs", ffmpeg.program()
    wrapper = tmp_path / "ffmpeg"
    wrapper.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(wrapper))
    ffmpeg.program.cache_clear()
    yield lambda: [run.partition("-crf ")[2].split()[0] for run in log.read_text().splitlines() if "libx264" in run]
    ffmpeg.program.cache_clear()


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        (Finish(target_fps=8, upscale_factor=2, rendered_width=64, crf=40), ["40"]),
        (Finish(target_fps=8, crf=40, encodes=True), ["40"]),
        (Finish(crf=51, encodes=True), ["51"]),
        (Finish(soundtrack=Path("tone.wav"), crf=40, encodes=True), ["40"]),
        (Finish(soundtrack=Path("tone.wav"), crf=40), []),
    ],
)
async def test_the_pictures_are_encoded_once_at_most(
    tmp_path: Path, encodings: Callable[[], list[str]], finish: Finish, expected: list[str]
) -> None:
    path = clip(tmp_path / "clip.mp4", frames=5)
    before = encodings()
    if finish.soundtrack is not None:
        finish = dataclasses.replace(finish, soundtrack=sound(tmp_path / "tone.wav"))
    await finished(path, finish)

    assert expected == encodings()[len(before) :]
    assert finish.soundtrack is None or (await decode_check(path)).has_audio


def seen(facts: VideoFacts) -> tuple[int, int, float, int, bool]:
    return facts.width, facts.height, facts.fps, facts.frames, facts.has_audio


@pytest.mark.parametrize(
    ("target_fps", "frames", "said"),
    [
        (24, 26, "frames were added between those at 16 fps by ffmpeg's motion compensation"),
        (60, 64, "frames were added between those at 16 fps"),
        (8, 9, "the nearest of the 16 frames per second were used"),
    ],
)
async def test_a_frame_rate_changes_the_frames_and_not_the_time(
    tmp_path: Path, target_fps: float, frames: int, said: str
) -> None:
    path = clip(tmp_path / "clip.mp4", frames=17)
    told: list[tuple[str, int, int]] = []
    (line,) = await finished(path, Finish(target_fps=target_fps), told)

    facts = await decode_check(path)
    assert (64, 48, target_fps, frames, False) == seen(facts)
    assert abs(facts.duration_s - 17 / 16) <= 0.5 / target_fps
    assert said in line
    assert [("interpolating", 0, frames), ("interpolating", frames, frames)] == [told[0], told[-1]]


async def test_a_clip_is_stretched_only_if_the_engine_has_not_enlarged_it(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", frames=5)
    (line,) = await finished(path, Finish(upscale_factor=2, rendered_width=64))

    assert (128, 96, 16.0, 5, False) == seen(await decode_check(path))
    assert line.startswith("upscale 2: stretched from 64*48 to 128*96 by ffmpeg, which adds no detail")
    assert () == await finished(path, Finish(upscale_factor=2, rendered_width=64))


async def test_a_sound_becomes_as_long_as_the_finished_clip(tmp_path: Path) -> None:
    path, short = clip(tmp_path / "clip.mp4", frames=17), sound(tmp_path / "tone.wav")
    lines = await finished(path, Finish(target_fps=8, upscale_factor=2, soundtrack=short, rendered_width=64))

    assert (128, 96, 8.0, 9, True) == seen(await decode_check(path))
    assert 9 / 8 == pytest.approx(await sound_duration_s(path), abs=0.05)
    assert "the soundtrack is 0.50 s long; the rest of the 1.12 s is silent." == lines[-1]


async def test_a_longer_sound_is_cut_and_takes_the_place_of_the_clips_own(tmp_path: Path) -> None:
    path, tone = clip(tmp_path / "clip.mp4", frames=5), sound(tmp_path / "tone.wav")
    before = (await decode_check(path)).frames
    first = await finished(path, Finish(soundtrack=tone))
    second = await finished(path, Finish(soundtrack=tone))

    assert ("the soundtrack was cut from 0.50 s to the 0.31 s of the clip.",) == first
    assert "the soundtrack took the place of the sound that the clip had." == second[0]
    assert (before, True) == ((await decode_check(path)).frames, True)


async def test_the_clips_own_sound_stays_when_only_the_pictures_change(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", frames=17)
    await finished(path, Finish(soundtrack=sound(tmp_path / "tone.wav")))
    await finished(path, Finish(target_fps=24))

    assert (24.0, 26, True) == seen(await decode_check(path))[2:]


async def test_nothing_to_do_leaves_the_bytes(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", frames=5)
    before = path.read_bytes()

    assert () == await finished(path, Finish(target_fps=16.0))
    assert before == path.read_bytes()


async def test_the_same_clip_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        path = clip(tmp_path / f"{name}.mp4", frames=9)
        await finished(path, Finish(target_fps=24, upscale_factor=2, soundtrack=sound(tmp_path / "tone.wav")))
        made.append(path.read_bytes())

    assert made[0] == made[1]


async def test_a_failure_leaves_the_clip_as_it_was(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", frames=5)
    facts, before = await decode_check(path), path.read_bytes()
    spare = tmp_path / "nowhere" / "spare.mp4"

    with pytest.raises(EngineFailed, match="ffmpeg could not finish the clip"):
        await finish_clip(path, spare, Finish(target_fps=24), facts=facts, on_frames=lambda *_heard: None)
    assert before == path.read_bytes()


async def test_a_cancelled_pass_leaves_the_clip_and_no_other_file(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", frames=65, width=640, height=480)
    facts, before = await decode_check(path), path.read_bytes()
    begun = asyncio.Event()

    work = asyncio.ensure_future(
        finish_clip(
            path, tmp_path / "spare.mp4", Finish(target_fps=120), facts=facts, on_frames=lambda *_heard: begun.set()
        )
    )
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert before == path.read_bytes()
    assert ["clip.mp4"] == [file.name for file in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("frames", "fps", "target", "finished_as"), [(81, 16, 60, 304), (1, 16, 8, 1), (121, 24, 23.976, 121)]
)
def test_frames_are_counted_by_the_time(frames: int, fps: float, target: float, finished_as: int) -> None:
    assert finished_as == finished_frames(frames, fps, target)
