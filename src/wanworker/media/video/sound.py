"""Measure a sound, and join it to a silent clip."""

from __future__ import annotations

import re
from pathlib import Path

from wanworker.errors import InputUnavailable
from wanworker.media.new_file import new_file
from wanworker.media.video import ffmpeg
from wanworker.media.video.writer import MP4_CONTAINER

_OUT_TIME = re.compile(rb"^out_time_us=(\d+)", re.MULTILINE)
#: The sound of a clip: stereo, and the same bytes for the same sound.
AAC = ("-c:a", "aac", "-b:a", "128k", "-ac", "2", "-flags:a", "+bitexact")


async def sound_duration_s(audio: Path, field: str = "audio") -> float:
    """
    Return how long *audio* plays, by decoding it, because headers may be wrong.

    Raises InputUnavailable, about *field*, if it does not decode.
    """
    arguments = (*ffmpeg.reading(audio), "-map", "0:a:0", "-nostats", "-progress", "pipe:1", "-f", "null", "-")
    finished = await ffmpeg.run(*arguments)
    times = _OUT_TIME.findall(finished.stdout)
    if finished.returncode != 0 or not times:
        words = ffmpeg.last_words(finished.stderr)
        raise InputUnavailable(f"The sound {audio.name} cannot be decoded. {words}", field=field)
    return int(times[-1]) / 1_000_000


async def add_sound(silent: Path, audio: Path, target: Path, *, duration_s: float) -> None:
    """
    Write *target*: the unchanged pictures of *silent* with the first *duration_s* seconds of *audio* as AAC.

    A shorter sound ends in silence. Raises EngineFailed or DiskFull; *target* is then missing, never partial.
    """
    # `apad` and `-t` make the sound exactly as long as the pictures, whichever was longer.
    mapping = ("-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy", *AAC, "-af", "apad", "-t", f"{duration_s:.6f}")
    with new_file(target) as path:
        finished = await ffmpeg.run(
            "-loglevel",
            "error",
            "-y",
            *ffmpeg.reading(silent),
            *ffmpeg.reading(audio),
            *mapping,
            *MP4_CONTAINER,
            f"file:{path}",
        )
        if finished.returncode != 0:
            raise ffmpeg.failure(f"join {audio.name} with the video", finished.returncode, finished.stderr)
