"""Bring a caller's film to the size, frame rate and length of the clip that will be rendered from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from wanworker.errors import DiskFull, EngineError, InputUnavailable
from wanworker.media.new_file import new_file
from wanworker.media.video import ffmpeg
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.writer import MP4_CONTAINER, probe

#: `cover` cuts what is too much, `contain` adds black bars.
Fit = Literal["cover", "contain"]

_SCALE = "scale={width}:{height}:force_original_aspect_ratio={keep}:flags=lanczos+accurate_rnd+bitexact"
_REST = {"cover": "crop={width}:{height}", "contain": "pad={width}:{height}:-1:-1:black"}
_KEEP = {"cover": "increase", "contain": "decrease"}

#: A model looks at every pixel of this file, so nearly nothing is lost.
_CODEC = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "4", "-pix_fmt", "yuv420p", "-threads", "4")


async def conform(film: Path, target: Path, *, size: tuple[int, int], fps: float, frames: int, fit: Fit) -> VideoFacts:
    """
    Write *target*: the first *frames* frames of *film* at *fps* and *size* (pixels, even), without its sound.

    Return its facts; a shorter film gives fewer frames. Raises InputUnavailable for a film that does not decode, and
    DiskFull; *target* is then missing.
    """
    width, height = size
    words = {"width": width, "height": height, "keep": _KEEP[fit]}
    chain = f"fps={ffmpeg.rate(fps)},{_SCALE.format(**words)},{_REST[fit].format(**words)},setsar=1"
    options = ("-map", "0:V:0", "-an", "-vf", chain, "-frames:v", str(frames), *_CODEC, *MP4_CONTAINER)
    with new_file(target) as path:
        finished = await ffmpeg.run(
            "-loglevel", "error", "-y", *ffmpeg.reading(film, is_callers=True), *options, f"file:{path}"
        )
        if finished.returncode != 0:
            raise _failure(film, finished)
        return await probe(path)


async def frames_at(film: Path, *, fps: float, frames: int) -> int:
    """Return how many frames `conform` would write, at most *frames*, without writing any. Raises InputUnavailable."""
    counting = ("-map", "0:V:0", "-vf", f"fps={ffmpeg.rate(fps)}", "-frames:v", str(frames), "-nostats")
    finished = await ffmpeg.run(
        *ffmpeg.reading(film, is_callers=True), *counting, "-progress", "pipe:1", "-f", "null", "-"
    )
    if finished.returncode != 0:
        raise _failure(film, finished)
    return ffmpeg.frames_counted(finished.stdout)


def _failure(film: Path, finished: ffmpeg.Run) -> EngineError | InputUnavailable:
    error = ffmpeg.failure(f"read {film.name}", finished.returncode, finished.stderr)
    if isinstance(error, DiskFull):
        return error
    return InputUnavailable(f"The video {film.name} cannot be decoded. {ffmpeg.last_words(finished.stderr)}")
