"""Define the routes of `/v1/videos`. What their fields and answers mean is in wanworker.videos."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from wanworker.jobs.model import Job
from wanworker.media.video.thumbnail import MIME
from wanworker.rest.http.error_responses import answer, responses
from wanworker.rest.http.request_body import read_fields
from wanworker.rest.responses.download import Downloads
from wanworker.rest.responses.metrics import Metrics
from wanworker.rest.responses.thumbnails import Thumbnails
from wanworker.rest.schemas.bodies import documented_body
from wanworker.rest.service.intake import NewJob, check_url
from wanworker.rest.service.jobs import JobService
from wanworker.videos.errors import VideoFailure
from wanworker.videos.listing import Limit, Order, Variant
from wanworker.videos.models import VideoModels
from wanworker.videos.request import FILES, VideoBody, VideoJob, nested, read_job
from wanworker.videos.video import VideoDeleted, VideoList, VideoObject, page_of, video_of

VideoId = Annotated[str, Path(description="The id that POST returned, or the id of any job.")]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_CONTENT = {"content": {"video/mp4": _BINARY, MIME: _BINARY}}


def video_routes(
    service: JobService, models: VideoModels, downloads: Downloads, thumbnails: Thumbnails, metrics: Metrics
) -> APIRouter:
    """Return the routes over the jobs of *service*."""
    router = APIRouter(prefix="/v1/videos", tags=["videos"])
    ttl_s = service.worker.settings.output_ttl_s

    def shown(job: Job) -> VideoObject:
        live = service.live(job.request_id)
        if live is None:
            return video_of(job, ttl_s=ttl_s)
        return video_of(job, live_percent=live.percent, is_rendering=live.is_rendering)

    @router.post(
        "",
        responses={200: {"model": VideoObject}, **_failures(400, 401, 408, 413, 415, 429, 503, 507)},
        openapi_extra=documented_body(VideoBody, files=FILES),
    )
    async def create(request: Request) -> Response:
        """Queue a video."""
        fields = nested(await read_fields(request, files=FILES))
        asked = await read_job(fields, models)
        job = await service.queue(_new_job(asked, fields))
        metrics.submitted()
        # The record gets them with the others when the job's turn has come.
        return _answer(shown(job).model_copy(update={"warnings": asked.warnings}), job.request_id)

    @router.get("", responses={200: {"model": VideoList}, **_failures(400, 401, 404)})
    async def videos(
        after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
        limit: Limit = 20,
        order: Annotated[Order, Query(description="The order by time: `desc` has the newest first.")] = "desc",
    ) -> Response:
        """List videos."""
        jobs, has_more = await service.after(limit, after, oldest_first=order == "asc")
        return _answer(page_of([shown(job) for job in jobs], has_more=has_more))

    @router.get("/{video_id}", responses={200: {"model": VideoObject}, **_failures(401, 404)})
    async def video(video_id: VideoId) -> Response:
        """Return the state of a video."""
        return _answer(shown(await service.find(video_id)), video_id)

    @router.head("/{video_id}/content", include_in_schema=False)
    @router.get(
        "/{video_id}/content",
        response_class=Response,
        responses={200: _CONTENT, 206: _CONTENT | {"description": "A range"}, **_failures(400, 401, 404, 409, 410)},
    )
    async def content(request: Request, video_id: VideoId, variant: Variant = "video") -> Response:
        """Return the video, or its first frame, any number of times."""
        if variant == "thumbnail":
            return await thumbnails.respond(video_id)
        return await downloads.respond(request, video_id, counts=False)

    @router.delete("/{video_id}", responses={200: {"model": VideoDeleted}, **_failures(401, 404)})
    async def delete(video_id: VideoId) -> Response:
        """Stop the render if it has not ended, and remove the job and its files."""
        await service.delete(video_id)
        await thumbnails.forget(video_id)
        return _answer(VideoDeleted(id=video_id), video_id)

    return router


def _failures(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return the schema of failures. FastAPI would add its own for 422, which is 400 here."""
    return responses(*statuses, model=VideoFailure)


def _answer(content: BaseModel, request_id: str | None = None) -> Response:
    """Return *content*. The header is the id by which the clients of this wire name a request in their messages."""
    return answer(content.model_dump(mode="json"), headers={"x-request-id": request_id} if request_id else None)


def _new_job(asked: VideoJob, sent: dict[str, object]) -> NewJob:
    """Return the job with its URLs checked, which are fetched when its turn has come."""
    urls = {name: source for name, source in asked.inputs.items() if source.kind == "url"}
    for source in urls.values():
        check_url(
            source.value, source.field or "input_reference", hint="Send a public http(s) URL, or the file itself."
        )
    return NewJob(
        fields={**asked.fields, **{f"{name}_url": source.value for name, source in urls.items()}},
        inputs={name: source for name, source in asked.inputs.items() if name not in urls},
        warnings=asked.warnings,
        sent=[*sent],
    )
