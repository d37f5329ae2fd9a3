"""Re-encode a video to fit a size: two passes of x264, with a smaller frame if the bitrate is too low."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wanworker.errors import EngineFailed
from wanworker.media.video import ffmpeg
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.writer import H264_CODEC, MP4_CONTAINER, decode_check

#: Below this, x264 shows blocks on moving pictures, and fewer pixels look better. From our trials on noise and clips.
_SANE_BITS_PER_PIXEL = 0.04
_SMALLEST_SIDE_PX = 128
_AUDIO_BPS, _LEAST_AUDIO_BPS = 96_000, 24_000
#: Index, headers: about 20 bytes a frame and a second of sound's 50 packets, and the boxes around them.
_CONTAINER_BYTES, _FRAME_BYTES = 4096, 24
#: Two passes miss a clip's bitrate by a few per cent, a very short one's by more; then the miss corrects the aim.
_AIM, _ATTEMPTS = 0.96, 3


@dataclass(frozen=True, slots=True)
class Plan:
    """Say how to encode: the size in pixels, and bits per second for the pictures and the sound (0 for none)."""

    width: int
    height: int
    video_bps: int
    audio_bps: int


@dataclass(frozen=True, slots=True)
class Reencoded:
    """Hold the facts of the new file, and the bitrates that it was made with."""

    facts: VideoFacts
    plan: Plan


async def reencode(path: Path, target: Path, *, max_bytes: int, facts: VideoFacts) -> Reencoded:
    """
    Encode *path*, which holds *facts*, to the mp4 *target* of at most *max_bytes*; frames, fps and sound are kept.

    The new file is decoded and compared before it appears. Raises EngineFailed when no sane quality fits, DiskFull when
    the disk is full; then, or when cancelled, nothing is left.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        aim = _AIM
        for _ in range(_ATTEMPTS):
            plan = plan_for(facts, max_bytes=int(max_bytes * aim))
            await _two_passes(path, part, plan)
            size_bytes = part.stat().st_size
            if size_bytes <= max_bytes:
                made = await _verified(part, facts)
                part.replace(target)
                return Reencoded(made, plan)
            aim *= _AIM * max_bytes / size_bytes
        raise EngineFailed(f"{path.name} came out at {size_bytes} bytes; at most {max_bytes} fit.")
    finally:
        part.unlink(missing_ok=True)


def plan_for(facts: VideoFacts, *, max_bytes: int) -> Plan:
    """
    Divide *max_bytes* among container, sound and pictures, and choose the size that this bitrate can carry.

    Raises EngineFailed if the pictures would have to be smaller than 128 pixels. Pure.
    """
    body = max_bytes - _CONTAINER_BYTES - _FRAME_BYTES * facts.frames
    if facts.has_audio:
        body -= math.ceil(facts.duration_s * 50) * _FRAME_BYTES
    total_bps = 8 * body / facts.duration_s
    audio_bps = round(min(_AUDIO_BPS, max(_LEAST_AUDIO_BPS, 0.15 * total_bps))) if facts.has_audio else 0
    video_bps = math.floor(total_bps - audio_bps)
    wanted_bps = _SANE_BITS_PER_PIXEL * facts.width * facts.height * facts.fps
    scale = min(1.0, math.sqrt(max(0, video_bps) / wanted_bps))
    # An odd side (of another program's file) loses a pixel, because yuv420p needs even sides.
    width, height = (2 * math.floor(side * scale / 2) for side in (facts.width, facts.height))
    if scale < 1 and min(width, height) < _SMALLEST_SIDE_PX:
        raise EngineFailed(
            f"{facts.frames} frames of {facts.width}x{facts.height} cannot be made to fit {max_bytes} bytes "
            f"with acceptable quality."
        )
    return Plan(width, height, video_bps, audio_bps)


async def _two_passes(path: Path, part: Path, plan: Plan) -> None:
    scale = ("-vf", f"scale={plan.width}:{plan.height}:flags=lanczos+accurate_rnd+bitexact")
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".passes-") as log_dir:
        log = ("-passlogfile", str(Path(log_dir) / "x264"))
        common = ("-y", "-loglevel", "error", *ffmpeg.reading(path), "-map", "0:v:0", *scale, *log)
        common += ("-fps_mode", "passthrough", "-b:v", str(plan.video_bps))
        sound = ("-map", "0:a:0", "-c:a", "aac", "-b:a", str(plan.audio_bps)) if plan.audio_bps else ()
        first = ("-pass", "1", *H264_CODEC, "-an", "-f", "null", "-")
        for last in (first, ("-pass", "2", *H264_CODEC, *sound, *MP4_CONTAINER, f"file:{part}")):
            finished = await ffmpeg.run(*common, *last)
            if finished.returncode != 0:
                raise ffmpeg.failure(f"re-encode {path.name}", finished.returncode, finished.stderr)


async def _verified(part: Path, facts: VideoFacts) -> VideoFacts:
    made = await decode_check(part)
    if made.frames != facts.frames or abs(made.fps - facts.fps) > 0.01 * facts.fps or made.has_audio != facts.has_audio:
        raise EngineFailed(
            f"The re-encoded copy has {made.frames} frames at {made.fps:g} fps, not {facts.frames} at {facts.fps:g}."
        )
    return made
