"""Define the documented routes of the REST API, and our additions."""

from __future__ import annotations

import http
import time
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from wanworker.engines.preview import Previewed
from wanworker.errors import UnknownJob
from wanworker.jobs.store.job_store import PAGE_LIMIT
from wanworker.media.video.thumbnail import MIME
from wanworker.ranges import RANGES
from wanworker.rest.http.error_responses import answer, responses
from wanworker.rest.http.request_body import read_fields
from wanworker.rest.responses.download import Downloads
from wanworker.rest.responses.events import EventStreams
from wanworker.rest.responses.health import Health, HealthService
from wanworker.rest.responses.listing import Listings
from wanworker.rest.responses.metrics import CONTENT_TYPE, Metrics
from wanworker.rest.responses.thumbnails import Thumbnails
from wanworker.rest.schemas.bodies import documented_body
from wanworker.rest.schemas.generate import GenerateBody
from wanworker.rest.schemas.status import Status
from wanworker.rest.service.jobs import JobService


class Started(BaseModel):
    """Describe a queued job, with all fields that the request left out filled in."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": "0b0f9c9e5a1d4d1e8f5b2a7c3d4e5f60",
                "status": "queued",
                "message": "Video generation started",
            }
        }
    )

    job_id: str
    status: Literal["queued"]
    message: Literal["Video generation started"]
    queue_position: int | None = Field(description="The place in the queue; 1 is next.")
    warnings: list[str]
    negative_prompt: str | None
    engine: str
    seed: int
    steps: int
    cfg: float
    width: int | None = Field(description="null: the picture decides.")
    height: int | None
    length: int
    fps: float
    num_outputs: int | None = Field(default=None, description="Only if several were asked for.")
    thumbnail_url: str | None = Field(default=None, description="Only if `thumbnail` was asked for.")


class Jobs(BaseModel):
    """Hold a page of jobs, newest first."""

    jobs: list[Status]
    total: int
    next_cursor: str | None = Field(description="Ask for the next page with it.")


class Deleted(BaseModel):
    """Describe a job that was deleted."""

    job_id: str
    deleted: Literal[True]


#: The form of a `next_cursor` (jobs/store/_index.py).
CURSOR = r"^\d{4}-\d\d-\d\d\.\d{1,15}$"

#: Which of several outputs a route is about.
OutputNumber = Annotated[
    int | None, Query(ge=1, le=int(RANGES["num_outputs"].high), description="Which of several outputs, from 1.")
]

_MP4 = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}


def job_routes(
    service: JobService,
    downloads: Downloads,
    thumbnails: Thumbnails,
    metrics: Metrics,
    streams: EventStreams,
    other_preview: Callable[[str], Previewed | None],
) -> APIRouter:
    """
    Return the documented routes of jobs, and their events, previews and thumbnails.

    *other_preview* gives the picture of a job that came by RunPod's routes.
    """
    router = APIRouter(tags=["jobs"])
    listings = Listings(service, clock=time.monotonic)

    @router.post(
        "/generate",
        responses={200: {"model": Started}, **responses(401, 408, 413, 415, 422, 429, 503, 507)},
        openapi_extra=documented_body(GenerateBody, files={"image": "The first frame, a file."}),
    )
    async def generate(request: Request) -> Response:
        """Queue a video."""
        started = await service.submit(await read_fields(request))
        metrics.submitted()
        return answer(started)

    @router.get("/status/{job_id}", responses={200: {"model": Status}, **responses(401, 404)})
    async def status(job_id: str) -> Response:
        """Return the state of a job."""
        return answer(await service.status(job_id))

    @router.head("/download/{job_id}", include_in_schema=False)
    @router.get(
        "/download/{job_id}",
        response_class=Response,
        responses={200: _MP4, 206: _MP4 | {"description": "A range"}, **responses(401, 404, 409, 410, 422)},
    )
    async def download(request: Request, job_id: str, output: OutputNumber = None) -> Response:
        """Return the video. One complete download removes it; a range or HEAD does not."""
        return await downloads.respond(request, job_id, output)

    @router.get("/jobs", responses={200: {"model": Jobs}, **responses(401, 422)})
    async def jobs(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 50,
        cursor: Annotated[str | None, Query(pattern=CURSOR)] = None,
    ) -> Response:
        """List jobs, newest first."""
        return await listings.respond(limit, cursor, request.headers)

    @router.delete("/jobs/{job_id}", responses={200: {"model": Deleted}, **responses(401, 404)})
    async def delete(job_id: str) -> Response:
        """Stop a job if it has not ended, and remove it and its video."""
        await service.delete(job_id)
        await thumbnails.forget(job_id)
        return answer({"job_id": job_id, "deleted": True})

    @router.get(
        "/events/{job_id}",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **responses(401, 404, 503)},
    )
    async def job_events(job_id: str) -> Response:
        """Follow a job: `progress` events until `completed`, `error` or `deleted`. Data is the JSON of /status."""
        await service.find(job_id)
        return streams.respond(job_id)

    @router.get(
        "/preview/{job_id}",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}, **responses(401, 404)},
    )
    async def preview(job_id: str) -> Response:
        """Return a picture of the render so far."""
        live = service.live(job_id)
        seen = live.preview if live is not None else other_preview(job_id)
        if seen is None:
            raise UnknownJob(f"There is no preview of job {job_id[:80]!r} at the moment.")
        return Response(seen.image, media_type=seen.mime, headers={"Cache-Control": "no-store"})

    @router.get(
        "/thumbnail/{job_id}",
        response_class=Response,
        responses={200: {"content": {MIME: {}}}, **responses(401, 404, 409, 410, 422)},
    )
    async def thumbnail(job_id: str, output: OutputNumber = None) -> Response:
        """Return a small picture of the first frame. It stays after the video was downloaded."""
        return await thumbnails.respond(job_id, output)

    return router


def server_routes(service: JobService, health: HealthService, metrics: Metrics) -> APIRouter:
    """Return the routes that describe the server itself."""
    router = APIRouter(tags=["server"])

    @router.get("/", responses={200: {"model": Health}})
    async def status_of_server() -> Response:
        """Return the API's status."""
        return answer(health.to_json())

    @router.get("/ready", responses={200: {"model": Health}, 503: {"model": Health}})
    async def ready() -> Response:
        """Answer 200 if a video can be rendered, else 503."""
        is_ready = health.is_ready
        return answer(health.to_json(), http.HTTPStatus.OK if is_ready else http.HTTPStatus.SERVICE_UNAVAILABLE)

    @router.get("/ping", responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}})
    async def ping() -> Response:
        """Answer that the server is alive. RunPod's load balancer asks this."""
        return answer({"status": "healthy"})

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **responses(401)},
    )
    async def exposition() -> Response:
        """Return counters for Prometheus."""
        runner = service.runner
        cards = service.worker.registry.cards.views()
        text = metrics.text(waiting=runner.waiting, running=len(runner.running), limit=runner.limit, cards=cards)
        return Response(text, media_type=CONTENT_TYPE)

    return router
