"""Prepare s2v: the number of clips of a sound, and an ffmpeg under the name that upstream calls."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from wanworker.engines.wan_cli.argv import clips_for
from wanworker.media.video import ffmpeg

#: Upstream counts 30 frames of sound a second, and 16 pictures (wan/modules/s2v/audio_encoder.py).
_SOUND_FPS, _VIDEO_FPS = 30, 16

_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")


def clips_of(sound_s: float, frames: int | None) -> int:
    """Return how many clips upstream renders for *sound_s* seconds of sound; *frames* limits them. Pure."""
    asked, clip_frames = clips_for(frames)
    held = int(int(sound_s * _SOUND_FPS) / (clip_frames * _SOUND_FPS / _VIDEO_FPS)) + 1
    return held if asked is None else min(asked, held)


async def duration_s(sound: Path) -> float | None:
    """Return the length of *sound* in seconds, or None if ffmpeg does not know it."""
    said = await ffmpeg.run(*ffmpeg.reading(sound))
    match = _DURATION.search(said.stderr)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def with_ffmpeg(env: Mapping[str, str], folder: Path) -> Mapping[str, str]:
    """
    Return *env* with an `ffmpeg` on its PATH. Upstream calls it by that name, and drops the sound without it.

    If the system has none, *folder* gets a link to ours.
    """
    path = env.get("PATH", os.defpath)
    if shutil.which("ffmpeg", path=path):
        return env
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(ffmpeg.program())
    return {**env, "PATH": f"{folder}{os.pathsep}{path}"}
