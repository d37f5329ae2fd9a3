"""Make a small picture of a video's first frame."""

from __future__ import annotations

from pathlib import Path

from wanworker.errors import NoOutput
from wanworker.media.video import ffmpeg

MIME = "image/jpeg"

_LONG_SIDE_PX = 640
_SCALE = (
    f"scale='if(gte(iw,ih),min(iw,{_LONG_SIDE_PX}),-2)':'if(gte(iw,ih),-2,min(ih,{_LONG_SIDE_PX}))'"
    ":flags=lanczos+accurate_rnd+bitexact:out_range=pc"
)
_JPEG = ("-frames:v", "1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "3", "-flags:v", "+bitexact")


async def thumbnail(path: Path) -> bytes:
    """
    Return the first frame of *path* as a JPEG, its longer side at most 640 pixels. The same file gives the same bytes.

    Raises NoOutput if the frame does not decode.
    """
    arguments = ("-map", "0:v:0", "-vf", _SCALE, *_JPEG, "-f", "image2pipe", "pipe:1")
    finished = await ffmpeg.run("-loglevel", "error", *ffmpeg.reading(path), *arguments)
    if finished.returncode != 0 or not finished.stdout:
        raise NoOutput(f"The first frame of {path.name} does not decode. {ffmpeg.last_words(finished.stderr)}")
    return finished.stdout
