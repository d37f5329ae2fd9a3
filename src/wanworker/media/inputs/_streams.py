"""Decode the start of a sound or a video with ffmpeg, to see that it holds what it should."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from wanworker.errors import InputUnavailable
from wanworker.media.video import ffmpeg

#: Larger frames are refused by the decoder before it allocates them (8K is 33 megapixels).
_MAX_FRAME_PIXELS = 40_000_000

#: How ffmpeg calls the stream, one frame of it, and we both. "V" leaves out the cover pictures of songs.
_STREAMS = {"sound": ("0:a:0", "-frames:a", "sound"), "film": ("0:V:0", "-frames:v", "moving picture")}


async def require_stream(
    path: Path,
    kind: Literal["sound", "film"],
    *,
    reader: str,
    timeout_s: float,
    run: Callable[..., Awaitable[ffmpeg.Run]] = ffmpeg.run,
) -> None:
    """
    Decode the first frame of the first sound or film stream of *path*.

    *reader* is the one ffmpeg demuxer that may open the file, and a local file the only thing that it may open: no
    playlist, no second file, no network. *run* runs ffmpeg.

    Raises InputUnavailable when there is no such stream, when it does not decode or when that takes too long,
    EngineUnavailable when there is no ffmpeg.
    """
    stream, one_frame, wanted = _STREAMS[kind]
    reading = ("-protocol_whitelist", "file", "-max_pixels", str(_MAX_FRAME_PIXELS), "-f", reader, "-i", f"file:{path}")
    listing = ("-map", stream, one_frame, "1", "-f", "framecrc", "-")
    try:
        async with asyncio.timeout(timeout_s):
            finished = await run("-v", "error", "-threads", "1", *reading, *listing)
    except TimeoutError as error:
        raise InputUnavailable(f"it could not be opened within {timeout_s:g} s.") from error
    # One line a decoded frame; ffmpeg also ends with 0 when it has decoded nothing.
    if not any(line and not line.startswith(b"#") for line in finished.stdout.splitlines()):
        raise InputUnavailable(f"it holds no {wanted} that can be decoded.")
