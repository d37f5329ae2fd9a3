"""Define the documented routes of the REST API, and our additions."""

from __future__ import annotations

import asyncio
import http
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from wanworker.errors import UnknownJob
from wanworker.jobs.store.job_store import PAGE_LIMIT
from wanworker.media.video.thumbnail import MIME, thumbnail
from wanworker.rest.http.error_responses import answer, responses
from wanworker.rest.http.request_body import read_fields
from wanworker.rest.responses.download import Downloads
from wanworker.rest.responses.events import EventStreams
from wanworker.rest.responses.health import Health, HealthService
from wanworker.rest.responses.listing import Listings
from wanworker.rest.responses.metrics import CONTENT_TYPE, Metrics
from wanworker.rest.schemas.generate import GenerateBody
from wanworker.rest.schemas.status import Status
from wanworker.rest.service.jobs import JobService
from wanworker.spec import RANGES


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
    queue_position: int | None = Field(description="1: next.")
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
    num_outputs: int | None = Field(default=None, description="Where several were asked for.")
    thumbnail_url: str | None = Field(default=None, description="Where `thumbnail` was asked for.")


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

#: Each thumbnail runs ffmpeg, which must not crowd out a render on the CPU.
_THUMBNAILS_AT_ONCE = 2

_MP4 = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}


def documented_body() -> dict[str, Any]:
    """Return the schema of the body of POST /generate: the same fields as JSON and as a form."""
    schema = {"$ref": "#/components/schemas/GenerateBody"}
    form = GenerateBody.model_json_schema()
    form["properties"] = {name: _text_alone(field) for name, field in form["properties"].items()}
    form["properties"]["image"] = {"type": "string", "format": "binary", "description": "The first frame, a file."}
    form.pop("example", None)
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def _text_alone(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a form's field. A form leaves a field out and has no null."""
    choices: list[dict[str, Any]] = field.get("anyOf", [{}])
    kind = next(choice for choice in choices if choice.get("type") != "null")
    return {name: value for name, value in field.items() if name not in {"anyOf", "default"}} | kind


def job_routes(service: JobService, downloads: Downloads, metrics: Metrics, streams: EventStreams) -> APIRouter:
    """Return the documented routes of jobs, and their events and previews."""
    router = APIRouter(tags=["jobs"])
    listings = Listings(service, clock=time.monotonic)
    drawing = asyncio.Semaphore(_THUMBNAILS_AT_ONCE)

    @router.post(
        "/generate",
        responses={200: {"model": Started}, **responses(401, 408, 413, 415, 422, 429, 503, 507)},
        openapi_extra=documented_body(),
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

    @router.get(
        "/thumbnail/{job_id}",
        response_class=Response,
        responses={200: {"content": {MIME: {}}}, **responses(401, 404, 409, 410, 422)},
    )
    async def first_frame(job_id: str, output: OutputNumber = None) -> Response:
        """Return the first frame of the video. It does not count as a download."""
        path = await service.video(job_id, output)
        async with drawing:
            jpeg = await thumbnail(path)
        return Response(jpeg, media_type=MIME, headers={"Cache-Control": "no-store"})

    @router.get("/jobs", responses={200: {"model": Jobs}, **responses(401, 422)})
    async def jobs(
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 50,
        cursor: Annotated[str | None, Query(pattern=CURSOR)] = None,
    ) -> Response:
        """List jobs, newest first."""
        return await listings.respond(limit, cursor)

    @router.delete("/jobs/{job_id}", responses={200: {"model": Deleted}, **responses(401, 404)})
    async def delete(job_id: str) -> Response:
        """Stop a job if it has not ended, and remove it and its video."""
        await service.delete(job_id)
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
        if live is None or live.preview is None:
            raise UnknownJob(f"There is no preview of job {job_id[:80]!r} at the moment.")
        return Response(live.preview.image, media_type=live.preview.mime, headers={"Cache-Control": "no-store"})

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
