"""Answer /thumbnail: a small picture of each video, made once and kept on the volume."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from starlette.responses import Response

from wanworker.errors import WorkerError
from wanworker.jobs.model import Output
from wanworker.media.new_file import new_file
from wanworker.media.threads import in_thread
from wanworker.media.video.thumbnail import MIME, thumbnail
from wanworker.rest.service.jobs import JobService
from wanworker.rest.service.outputs import gone, name_of, output_of

log = logging.getLogger(__name__)

#: Two at once leave a render its cores. A page of new jobs asks for dozens.
_AT_ONCE = 2
#: A gallery shows dozens at once, so they are small: the longer side in pixels, and ffmpeg's scale of quality.
_LONG_SIDE_PX, _QUALITY = 320, 8
#: How many pictures are kept, of 4 to 10 kB each. The oldest make room.
_KEPT = 4000
#: A picture is named by its video's content, so it never changes; a job that renders again is asked for anew.
_HEADERS = {"Cache-Control": "private, max-age=86400"}


class Thumbnails:
    """Make and keep pictures in *folder*, which is made when the first one is asked for."""

    def __init__(self, service: JobService, folder: Path, *, kept: int = _KEPT) -> None:
        self._service = service
        self._folder = folder
        self._kept = kept
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._making: dict[str, asyncio.Task[bytes]] = {}

    async def respond(self, request_id: str, number: int | None = None) -> Response:
        """
        Return the picture of a job, or of its output *number*, from 1, of several.

        Raises UnknownJob, NotReady, Gone, and what a broken video raises.
        """
        job = await self._service.find(request_id)
        if not job.outputs:
            await self._service.video(request_id, number)  # raises, and says why there is none
            raise gone(request_id)
        output = output_of(job, number)
        path = self._path(output)
        picture = await in_thread(_read, path)
        if picture is None:
            picture = await self._made(request_id, number, path)
        return Response(picture, media_type=MIME, headers=_HEADERS)

    async def forget(self, request_id: str) -> None:
        """Remove the pictures of a job that was deleted."""
        await in_thread(self._remove, self._folder, f"{request_id}.*.jpg")

    @staticmethod
    def _remove(folder: Path, pattern: str) -> None:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)

    def _path(self, output: Output) -> Path:
        return self._folder / f"{name_of(output)}.{output.sha256[:12]}.jpg"

    async def _made(self, request_id: str, number: int | None, path: Path) -> bytes:
        """Return the picture once it is made. All that ask for it at once share the work."""
        making = self._making.get(path.name)
        if making is None:
            making = asyncio.create_task(self._make(request_id, number, path))
            self._making[path.name] = making
            making.add_done_callback(lambda _task: self._making.pop(path.name, None))
        return await asyncio.shield(making)

    async def _make(self, request_id: str, number: int | None, path: Path) -> bytes:
        video = await self._service.video(request_id, number)
        async with self._turns:
            try:
                picture = await thumbnail(video, long_side_px=_LONG_SIDE_PX, quality=_QUALITY)
            except WorkerError:
                if not await in_thread(video.is_file):
                    raise gone(request_id) from None
                raise
            try:
                await in_thread(self._keep, path, picture)
            except (WorkerError, OSError) as error:
                log.warning("a thumbnail was not kept: %s", error)
            return picture

    def _keep(self, path: Path, picture: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with new_file(path.with_name(f"{path.name}.part")) as part:
            part.write_bytes(picture)
            part.replace(path)
        pictures = list(self._folder.glob("*.jpg"))
        if len(pictures) > self._kept:
            for old in sorted(pictures, key=_made_at)[: len(pictures) - self._kept]:
                old.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _made_at(path: Path) -> float:
    """Return when a picture was made; another thread may remove it meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
