"""Make a small picture of a video's first frame."""

from __future__ import annotations

import asyncio
from pathlib import Path

from wanworker.errors import NoOutput
from wanworker.media.video import ffmpeg

MIME = "image/jpeg"

_TIMEOUT_S = 30.0


async def thumbnail(path: Path, *, long_side_px: int = 640, quality: int = 3) -> bytes:
    """
    Return the first frame of *path* as a JPEG, its longer side at most *long_side_px*. The same file gives the same
    bytes.

    *quality* is ffmpeg's scale, from 2 (best) to 31. Raises NoOutput if the frame does not decode.
    """
    scale = (
        f"scale='if(gte(iw,ih),min(iw,{long_side_px}),-2)':'if(gte(iw,ih),-2,min(ih,{long_side_px}))'"
        ":flags=lanczos+accurate_rnd+bitexact:out_range=pc"
    )
    jpeg = ("-frames:v", "1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", str(quality), "-flags:v", "+bitexact")
    arguments = ("-map", "0:v:0", "-vf", scale, *jpeg, "-f", "image2pipe", "pipe:1")
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            finished = await ffmpeg.run("-loglevel", "error", *ffmpeg.reading(path), *arguments)
    except TimeoutError as error:
        raise NoOutput(f"{path.name} was not decoded within {_TIMEOUT_S:g} s.") from error
    if finished.returncode != 0 or not finished.stdout:
        raise NoOutput(f"The first frame of {path.name} does not decode. {ffmpeg.last_words(finished.stderr)}")
    return finished.stdout
