"""Small sounds and films, made by ffmpeg while the test waits."""

from __future__ import annotations

import subprocess
from pathlib import Path

from wanworker.media.video.ffmpeg import program


def sound(path: Path, *, with_cover: bool = False) -> Path:
    """Write half a second of a tone in the format of the suffix."""
    tone = ("-f", "lavfi", "-i", "sine=duration=0.5:sample_rate=16000")
    cover = ("-f", "lavfi", "-i", "color=red:size=32x32:duration=0.1:rate=10", "-frames:v", "1", "-c:v", "mjpeg")
    if with_cover:
        return _made(path, *tone, *cover, "-map", "0:a", "-map", "1:v", "-disposition:v:0", "attached_pic")
    return _made(path, *tone)


def film(path: Path, *, size: str = "32x32", with_sound: bool = False) -> Path:
    """Write three frames in the format of the suffix."""
    frames = ("-f", "lavfi", "-i", f"color=red:size={size}:duration=0.3:rate=10")
    tone = ("-f", "lavfi", "-i", "sine=duration=0.3:sample_rate=16000") if with_sound else ()
    return _made(path, *frames, *tone)


def _made(path: Path, *arguments: str) -> Path:
    subprocess.run([program(), "-v", "error", "-nostdin", "-threads", "1", *arguments, "-y", path], check=True)
    return path
