"""Build the FastAPI application of the REST door."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

import wanworker
from wanworker.actions.generate.plan import PlanRequest
from wanworker.app import Worker
from wanworker.engines.runpod.remote_jobs import RemoteJobs, notes_folder
from wanworker.errors import WorkerError
from wanworker.jobs.model import Job, JobStatus
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import WRITTEN_AT_ONCE, Runner
from wanworker.media.threads import in_thread
from wanworker.rest.http import error_responses
from wanworker.rest.http.auth import OPEN_PATHS, Guard
from wanworker.rest.http.limits import LIMITS, Limits
from wanworker.rest.http.response_headers import ResponseHeaders
from wanworker.rest.responses.download import Downloads
from wanworker.rest.responses.events import EventStreams
from wanworker.rest.responses.health import HealthService
from wanworker.rest.responses.metrics import Metrics
from wanworker.rest.responses.page_files import Body, PageFiles
from wanworker.rest.responses.thumbnails import Thumbnails
from wanworker.rest.routes.jobs import job_routes, server_routes
from wanworker.rest.routes.plan import plan_routes
from wanworker.rest.routes.runpod import RunPodBody, runpod_routes
from wanworker.rest.schemas.generate import GenerateBody
from wanworker.rest.schemas.page_tables import page_tables
from wanworker.rest.service.executor import QueueExecutor
from wanworker.rest.service.jobs import JobService
from wanworker.rest.service.recovery import JobRecovery
from wanworker.rest.service.retention import Sweeper
from wanworker.rest.service.runpod_jobs import RunPodJobs
from wanworker.rest.service.uploads import Uploads
from wanworker.rest.service.webhooks import Webhooks
from wanworker.rest.videos.routes import video_routes
from wanworker.settings import Settings
from wanworker.videos.errors import PREFIX
from wanworker.videos.request import VideoBody

log = logging.getLogger(__name__)

_HERE = Path(__file__).resolve().parent


class Parts:
    """Hold everything that the routes share."""

    def __init__(self, worker: Worker, settings: Settings) -> None:
        self.worker = worker
        self.kept = PendingRequests(settings.jobs_dir / "kept")
        self.metrics = Metrics()
        self.sweeper = Sweeper(worker.store, ttl_s=settings.output_ttl_s, quota_bytes=settings.output_quota_bytes)
        secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else None
        webhooks = Webhooks(secret=secret, allow_hosts=settings.allow_hosts)
        remote = RemoteJobs(notes_folder(settings.jobs_dir))
        turns = asyncio.Semaphore(WRITTEN_AT_ONCE)
        self.recovery = JobRecovery(
            worker.store, self.kept, webhooks, self._heard, is_elsewhere=remote.knows, turns=turns
        )
        self.uploads = Uploads(worker.store)
        self.executor = QueueExecutor(worker, self.kept, self.uploads)
        self.runner = Runner(
            worker.store,
            self.executor,
            limit=settings.max_queue,
            slots=worker.registry.slots,
            place_of=self.executor.place_of,
            on_end=self.recovery.ended,
            turns=turns,
        )
        as_shown = self.recovery.as_shown
        self.service = JobService(worker, self.kept, self.runner, self.uploads, as_shown=as_shown)
        self.thumbnails = Thumbnails(self.service, settings.jobs_dir / "thumbnails")
        self.downloads = Downloads(self.service, once=settings.download_once)
        self.health = HealthService(worker, self.runner)
        self.runpod_jobs = RunPodJobs(worker, webhooks, limit=settings.max_queue, turns=turns)

    def _heard(self, request_id: str, job: Job | None) -> None:
        self.uploads.forget(request_id)  # a job that failed leaves no right to write behind
        was_called_off = job is None or job.status is JobStatus.CANCELLED
        self.metrics.ended(None if was_called_off else job)
        _log_end(request_id, job)
        if job is None:
            self.sweeper.forget(request_id)
        else:
            self.service.remember(job)
            self.sweeper.add(job)

    @contextlib.asynccontextmanager
    async def running(self, _app: FastAPI) -> AsyncIterator[None]:
        """
        Run the background work while the application serves, and stop it afterwards.

        What an earlier process left is taken up meanwhile: on a slow volume, that may take minutes.
        """
        await in_thread(self.kept.ids)  # a folder that nobody can read is told at once
        work: tuple[Coroutine[Any, Any, None], ...] = (
            self.runner.run(),
            self._take_up(),
            self.runpod_jobs.watch(),
            self.sweeper.watch(),
            self.health.watch(),
        )
        tasks = [asyncio.create_task(each) for each in work]
        self.worker.note_ready()
        self.worker.warm_up()
        self.worker.facts.begin_kernel()
        try:
            yield
        finally:
            self.worker.registry.leave_jobs()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for close in (self.runpod_jobs.close, self.downloads.close, self.recovery.close, self.worker.close):
                await close()

    async def _take_up(self) -> None:
        """Give up what dead processes had, tidy up, and resume what waited, until cancelled."""
        try:
            await self.worker.recover_once()
        except WorkerError as error:
            log.warning("the jobs of earlier processes could not be looked through: %s", error)
        except Exception:  # the jobs that waited are taken up all the same
            log.exception("the jobs of earlier processes could not be looked through")
        await in_thread(self.kept.remove_leftovers)
        await self.recovery.watch(self.runner)


#: The groups of routes, in the order in which people need them.
_GROUPS = [
    {"name": "jobs", "description": "Queue a video with `POST /generate`, follow it, and download it."},
    {"name": "videos", "description": "The same jobs as OpenAI's video API has them."},
    {"name": "runpod", "description": "The same jobs as a RunPod endpoint takes them."},
    {"name": "server", "description": "Whether the server lives and can render."},
]


def _log_end(request_id: str, job: Job | None) -> None:
    """Say how a job ended, in one line. Why it failed has been logged where that is known."""
    if job is None:
        log.info("job %s ended: its record was deleted", request_id)
    elif job.status is JobStatus.COMPLETED and job.outputs:
        seconds, video = job.timings.get("total_s", 0.0), job.outputs[0]
        facts = f"{video.width}x{video.height}, {video.frames} frames, {video.size_bytes:,} bytes"
        log.info("job %s ended: COMPLETED in %.1f s by %s (%s)", request_id, seconds, job.engine, facts)
    else:
        log.info("job %s ended: %s", request_id, job.status.value)


def create_app(worker: Worker, settings: Settings, limits: Limits = LIMITS) -> FastAPI:
    """Return the application. It starts nothing before its lifespan begins, and closes *worker* when that ends."""
    parts = Parts(worker, settings)
    app = FastAPI(
        title="FastWAN 2.2-5B Video Generation API",
        version=wanworker.__version__,
        summary="Generate videos with Wan 2.2.",
        openapi_tags=_GROUPS,
        lifespan=parts.running,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    error_responses.install(app)
    app.include_router(server_routes(parts.service, parts.health, parts.metrics))
    streams = EventStreams(parts.service, limits.streams)
    preview = parts.runpod_jobs.preview
    app.include_router(job_routes(parts.service, parts.downloads, parts.thumbnails, parts.metrics, streams, preview))
    app.include_router(plan_routes(worker, parts.executor.meant, limit=settings.max_queue))
    models = worker.video_models
    app.include_router(video_routes(parts.service, models, parts.downloads, parts.thumbnails, parts.metrics))
    app.include_router(runpod_routes(parts.runpod_jobs))
    pages = {
        "/ui": PageFiles(_HERE / "page", {"tables.json": lambda: json.dumps(page_tables()).encode()}),
        "/docs": PageFiles(_HERE / "docs_page"),
    }
    for place, files in pages.items():
        app.router.add_route(f"{place}/{{name:path}}", files.respond, include_in_schema=False)
    app.add_middleware(ResponseHeaders)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    is_open = settings.rest_allow_open or settings.port is not None
    app.add_middleware(Guard, key=key, is_local=key is None and not is_open, limits=limits)
    app.openapi = functools.partial(_schema, app, app.openapi, has_key=key is not None)  # type: ignore[method-assign]
    app.router.add_route("/openapi.json", _Schema(app).respond, include_in_schema=False)
    return app


class _Schema:
    """Serve the schema of *app*, written once."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._body: Body | None = None

    async def respond(self, request: Request) -> Response:
        """Return the schema as JSON."""
        if self._body is None:
            self._body = await in_thread(lambda: Body.of(json.dumps(self._app.openapi()).encode()))
        return self._body.answer(request.headers, "application/json")


def _correct(path: str, routes: Iterable[dict[str, Any]]) -> None:
    """Sum up each route by what it does, where FastAPI has the function's name; and take out what it never answers."""
    for route in routes:
        route["summary"] = route["description"].partition(". ")[0].rstrip(".")
        if path.startswith(PREFIX):
            route["responses"].pop("422", None)  # FastAPI's own; it is 400 there


def _schema(app: FastAPI, plain: Any, *, has_key: bool) -> dict[str, Any]:
    """Return the schema, with the bodies that the routes read themselves, and with the key where one is wanted."""
    if app.openapi_schema is None:
        schema = plain()
        for path, methods in schema["paths"].items():
            _correct(path, methods.values())
        components = schema.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for model in (GenerateBody, PlanRequest, RunPodBody, VideoBody):
            own = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= own.pop("$defs", {})
            schemas[model.__name__] = own
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "WAN_API_KEY."}}
        schema["security"] = [{"key": []}] if has_key else [{}, {"key": []}]
        for path in OPEN_PATHS & schema["paths"].keys():
            schema["paths"][path]["get"]["security"] = []
    return app.openapi_schema or {}
