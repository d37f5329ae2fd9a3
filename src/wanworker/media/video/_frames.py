"""Read chosen frames of a video as pixels, through ffmpeg's PPM output, which carries the size."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from wanworker.errors import NoOutput
from wanworker.media.video import ffmpeg

AS_PPM = ("-fps_mode", "passthrough", "-c:v", "ppm", "-f", "image2pipe", "pipe:1")


class Frame(NamedTuple):
    """Hold one picture: sides in pixels; `rgb` has the rows from the top, with three bytes for each pixel."""

    width: int
    height: int
    rgb: bytes


async def read_some(path: Path, indices: Sequence[int], *, long_side_px: int) -> list[Frame]:
    """
    Return the frames numbered *indices* (ascending, from 0), the longer side scaled to *long_side_px*.

    Raises NoOutput when one of them does not decode.
    """
    chosen = "+".join(f"eq(n,{index})" for index in indices)
    scale = f"scale='if(gte(iw,ih),{long_side_px},-2)':'if(gte(iw,ih),-2,{long_side_px})':flags=lanczos"
    finished = await ffmpeg.run(*ffmpeg.reading(path), "-map", "0:v:0", "-vf", f"select='{chosen}',{scale}", *AS_PPM)
    pictures = list(pictures_in(io.BytesIO(finished.stdout)))
    if finished.returncode != 0 or len(pictures) != len(indices):
        raise NoOutput(f"{path.name} does not decode. {ffmpeg.last_words(finished.stderr)}")
    return pictures


def pictures_in(stream: IO[bytes]) -> Iterator[Frame]:
    """Split ffmpeg's PPM stream (`P6`, `width height`, `255`, pixels). A picture that is cut short ends it."""
    while stream.readline() == b"P6\n":
        width, height = (int(word) for word in stream.readline().split())
        stream.readline()
        rgb = stream.read(width * height * 3)
        if len(rgb) < width * height * 3:
            return
        yield Frame(width, height, rgb)
