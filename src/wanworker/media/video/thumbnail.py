"""Draw the beginning of a video as a small JPEG."""

from __future__ import annotations

import asyncio
from pathlib import Path

from wanworker.errors import NoOutput
from wanworker.media.new_file import new_file
from wanworker.media.video import ffmpeg

_LONG_SIDE_PX = 320
#: ffmpeg's scale runs from 2 (best) to 31. A thumbnail has 4 to 10 kB.
_QUALITY = 8
_TIMEOUT_S = 30.0


async def thumbnail(path: Path, target_jpeg: Path) -> Path:
    """
    Write the first frame of *path*, its longer side at most 320 pixels, and return *target_jpeg*.

    The file appears completely or not at all. Raises NoOutput if the video does not decode, and DiskFull.
    """
    side = f"min({_LONG_SIDE_PX},{{0}})"
    wide, high = side.format("iw"), side.format("ih")
    scale = f"scale='if(gte(iw,ih),{wide},-2)':'if(gte(iw,ih),-2,{high})':flags=area,format=yuvj420p"
    with new_file(target_jpeg.with_name(f"{target_jpeg.name}.part")) as part:
        encoding = ("-frames:v", "1", "-c:v", "mjpeg", "-q:v", str(_QUALITY), "-f", "image2", "-update", "1", "-y")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                arguments = (*ffmpeg.reading(path), "-map", "0:v:0", "-vf", scale, *encoding, f"file:{part}")
                finished = await ffmpeg.run("-loglevel", "error", *arguments)
        except TimeoutError as error:
            raise NoOutput(f"{path.name} was not decoded within {_TIMEOUT_S:g} s.") from error
        if finished.returncode != 0 or not part.is_file():
            raise NoOutput(f"{path.name} does not decode. {ffmpeg.last_words(finished.stderr)}")
        part.replace(target_jpeg)
    return target_jpeg
