"""Finish a clip with ffmpeg: the frame rate, the size, the sound and the quality that were asked for, in one pass."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wanworker.errors import EngineFailed
from wanworker.media.new_file import new_file
from wanworker.media.video import ffmpeg
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.sound import AAC, sound_duration_s
from wanworker.media.video.writer import DEFAULT_CRF, H264_CODEC, MP4_CONTAINER, decode_check

#: Hears (stage, frames written, frames of the whole clip).
OnFrames = Callable[[str, int, int], None]

#: A side that has grown by at least this was enlarged by the engine.
_GROWN = 1.5

#: Frame rates that differ by less than this are one.
_SAME_FPS = 0.01

#: Motion is looked for in both directions; where a scene changes, no frames are mixed.
_INTERPOLATE = "minterpolate=fps={fps}:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"
_FRAME = re.compile(rb"^frame=\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Finish:
    """
    Hold what a clip must become. What is None is left as it was rendered.

    `rendered_width` in pixels tells whether the engine has enlarged it. Pictures that change are encoded at `crf`,
    x264's constant rate factor. `encodes` says that all are, because the engine has not encoded them so.
    """

    target_fps: float | None = None
    upscale_factor: int | None = None
    soundtrack: Path | None = None
    rendered_width: int = 0
    crf: int = DEFAULT_CRF
    encodes: bool = False

    @property
    def is_nothing(self) -> bool:
        """Say whether the clip stays as it is."""
        changes = (self.target_fps, self.upscale_factor, self.soundtrack)
        return not self.encodes and all(change is None for change in changes)


@dataclass(frozen=True, slots=True)
class _Change:
    """Hold what is left to do: filters for the pictures, the crf to encode them at (None: copied), a sound to join."""

    stage: str
    filters: tuple[str, ...]
    crf: int | None
    frames: int
    duration_s: float
    sound: Path | None


@dataclass(frozen=True, slots=True)
class Finished:
    """Hold the facts of a finished clip, what was done in words, and whether it is a new file."""

    facts: VideoFacts
    lines: tuple[str, ...] = ()
    is_new: bool = False


async def finish_clip(clip: Path, spare: Path, finish: Finish, *, facts: VideoFacts, on_frames: OnFrames) -> Finished:
    """
    Do to *clip*, which has *facts*, what the engine has left of *finish*, and return its new facts and what was done.

    The pictures are encoded once at most. The new file is made as *spare* and takes the clip's place when it has been
    decoded and counted. Raises EngineFailed, DiskFull and InputUnavailable; *clip* is then as it
    was. On cancellation ffmpeg is dead before CancelledError is raised.
    """
    lines: list[str] = []
    change = await _change(finish, facts, lines)
    if change is None:
        return Finished(facts)
    await _run(clip, spare, change, has_audio=facts.has_audio, on_frames=on_frames)
    with new_file(spare):
        made = await decode_check(spare)
        if made.frames != change.frames:
            raise EngineFailed(f"The finished clip has {made.frames} frames, not {change.frames}.")
        spare.replace(clip)
    return Finished(made, tuple(lines), is_new=True)


def finished_frames(frames: int, fps: float, target_fps: float) -> int:
    """Return how many frames a clip has at *target_fps*. It plays as long as before."""
    return max(1, math.floor(frames * target_fps / fps + 0.5))


async def _change(finish: Finish, facts: VideoFacts, lines: list[str]) -> _Change | None:
    filters, frames, duration_s = [], facts.frames, facts.duration_s
    stage = "joining the sound" if finish.soundtrack is not None else "encoding"
    if enlarging := _enlarging(finish, facts, lines):
        filters, stage = [enlarging], "upscaling"
    target = finish.target_fps
    if target is not None and abs(target - facts.fps) > _SAME_FPS:
        frames = finished_frames(facts.frames, facts.fps, target)
        duration_s = frames / target
        filters, stage = [*_timing(facts.fps, target, lines), *filters], "interpolating"
    if finish.soundtrack is not None:
        await _say_sound(finish.soundtrack, duration_s, facts, lines)
    crf = finish.crf if filters or finish.encodes else None
    if crf is None and finish.soundtrack is None:
        return None
    return _Change(stage, tuple(filters), crf, frames, duration_s, finish.soundtrack)


def _timing(fps: float, target: float, lines: list[str]) -> tuple[str, ...]:
    """Return the filters that bring a clip to *target* frames per second. The last frame is held for its own time."""
    rate = ffmpeg.rate(target)
    held = f"tpad=stop_mode=clone:stop_duration={max(1.0, 4 / fps):.3f}"
    if target < fps:
        lines.append(f"target_fps {target:g}: the nearest of the {fps:g} frames per second were used.")
        return (held, f"fps={rate}")
    lines.append(
        f"target_fps {target:g}: frames were added between those at {fps:g} fps by ffmpeg's motion compensation; a "
        "frame interpolation model on ComfyUI does it better."
    )
    return (held, _INTERPOLATE.format(fps=rate))


def _enlarging(finish: Finish, facts: VideoFacts, lines: list[str]) -> str | None:
    factor = finish.upscale_factor
    if factor is None or facts.width >= finish.rendered_width * _GROWN:
        return None
    width, height = facts.width * factor, facts.height * factor
    lines.append(
        f"upscale {factor}: stretched from {facts.width}*{facts.height} to {width}*{height} by ffmpeg, which "
        "adds no detail; an upscale model needs ComfyUI and a file in its folder upscale_models."
    )
    return f"scale={width}:{height}:flags=lanczos+accurate_rnd+full_chroma_int+bitexact"


async def _say_sound(sound: Path, duration_s: float, facts: VideoFacts, lines: list[str]) -> None:
    sound_s = await sound_duration_s(sound, field="soundtrack")
    if facts.has_audio:
        lines.append("the soundtrack took the place of the sound that the clip had.")
    if sound_s > duration_s + 0.05:
        lines.append(f"the soundtrack was cut from {sound_s:.2f} s to the {duration_s:.2f} s of the clip.")
    elif sound_s < duration_s - 0.05:
        lines.append(f"the soundtrack is {sound_s:.2f} s long; the rest of the {duration_s:.2f} s is silent.")


async def _run(clip: Path, spare: Path, change: _Change, *, has_audio: bool, on_frames: OnFrames) -> None:
    pictures: tuple[str, ...] = ("-c:v", "copy")
    if change.crf is not None:
        filters = ("-vf", ",".join(change.filters)) if change.filters else ()
        pictures = (*filters, "-frames:v", str(change.frames), "-fps_mode", "passthrough")
        pictures += ("-crf", str(change.crf), *H264_CODEC)
    sound: tuple[str, ...] = ("-map", "0:a:0", "-c:a", "copy") if has_audio else ()
    if change.sound is not None:
        # `apad` and `-t` make the sound exactly as long as the pictures, whichever was longer.
        sound = ("-map", "1:a:0", *AAC, "-af", "apad")
    inputs = (*ffmpeg.reading(clip), *(ffmpeg.reading(change.sound) if change.sound else ()))
    output = ("-t", f"{change.duration_s:.6f}", "-nostats", "-progress", "pipe:1", *MP4_CONTAINER, f"file:{spare}")

    def hear(line: bytes) -> None:
        if found := _FRAME.match(line):
            on_frames(change.stage, int(found[1]), change.frames)

    on_frames(change.stage, 0, change.frames)
    with new_file(spare):
        finished = await ffmpeg.run(
            "-loglevel", "error", "-y", *inputs, "-map", "0:v:0", *pictures, *sound, *output, on_line=hear
        )
        if finished.returncode != 0:
            raise ffmpeg.failure("finish the clip", finished.returncode, finished.stderr)
