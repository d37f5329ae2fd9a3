"""Send the first frame of a video."""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.responses import Response

from wanworker.media.video.thumbnail import MIME, thumbnail

#: Each picture runs ffmpeg, which must not crowd out a render on the CPU.
_AT_ONCE = 2


class FirstFrames:
    """Draw few pictures at once, whichever route asks for them."""

    def __init__(self) -> None:
        self._drawing = asyncio.Semaphore(_AT_ONCE)

    async def respond(self, video: Path) -> Response:
        """Return the response with the first frame of *video* as a JPEG. Raises NoOutput."""
        async with self._drawing:
            jpeg = await thumbnail(video)
        return Response(jpeg, media_type=MIME, headers={"Cache-Control": "no-store"})
