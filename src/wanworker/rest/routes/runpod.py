"""Define RunPod's routes: /v2/{endpoint}/run, /runsync, /status/{id} and /cancel/{id}."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from wanworker.rest.http.body_limits import CHARGE_KEY, Charge
from wanworker.rest.http.error_responses import answer, responses
from wanworker.rest.http.request_body import read_object
from wanworker.rest.service.runpod_jobs import RunPodJobs

#: RunPod's limits on `?wait=`, in milliseconds.
_WAIT_MS = Query(ge=1000, le=300_000)


class RunPodBody(BaseModel):
    """A job as RunPod takes it."""

    model_config = ConfigDict(json_schema_extra={"example": {"input": {"action": "health"}}})

    input: dict[str, Any] = Field(description="What docs/api.md describes.")
    webhook: str | None = Field(default=None, description="Called by POST with the JSON of /status when the job ends.")
    policy: dict[str, Any] | None = Field(default=None, description="`executionTimeout` and `ttl` in milliseconds.")
    s3Config: dict[str, Any] | None = Field(default=None, description="The bucket for the video.")  # noqa: N815


class RunPodJob(BaseModel):
    """A job as RunPod shows it; the answer is wrapped in `output`."""

    model_config = ConfigDict(extra="allow")

    id: str
    status: str


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunPodBody"}}},
    }
}
_ANSWER: dict[int | str, dict[str, Any]] = {200: {"model": RunPodJob}}


def runpod_routes(runpod_jobs: RunPodJobs) -> APIRouter:
    """Return the routes over *runpod_jobs*."""
    router = APIRouter(prefix="/v2/{endpoint}", tags=["runpod"])

    @router.post("/run", responses={**_ANSWER, **responses(401, 408, 413, 422, 429, 503)}, openapi_extra=_BODY)
    async def run(endpoint: str, request: Request) -> Response:  # noqa: ARG001 - every endpoint name is accepted
        """Start a job."""
        job_id = await _started(runpod_jobs, request, is_sync=False)
        return answer({"id": job_id, "status": "IN_QUEUE"})

    @router.post("/runsync", responses={**_ANSWER, **responses(401, 408, 413, 422, 429, 503)}, openapi_extra=_BODY)
    async def runsync(endpoint: str, request: Request, wait: Annotated[int, _WAIT_MS] = 90_000) -> Response:  # noqa: ARG001
        """Start a job and wait for its answer. If it has not ended after `wait` milliseconds, return its status."""
        job_id = await _started(runpod_jobs, request, is_sync=True)
        return answer(await runpod_jobs.wait(job_id, wait / 1000))

    @router.get("/status/{job_id}", responses={**_ANSWER, **responses(401, 404)})
    async def status(endpoint: str, job_id: str) -> Response:  # noqa: ARG001
        """Return the state of a job."""
        return answer(runpod_jobs.status(job_id))

    @router.post("/cancel/{job_id}", responses={**_ANSWER, **responses(401, 404)})
    async def cancel(endpoint: str, job_id: str) -> Response:  # noqa: ARG001
        """Stop a job."""
        return answer(await runpod_jobs.cancel(job_id))

    return router


async def _started(runpod_jobs: RunPodJobs, request: Request, *, is_sync: bool) -> str:
    """Start the job of *request*. Its body counts as held until the job has ended, because the job keeps its input."""
    body = await read_object(request)
    charge: Charge = getattr(request.state, CHARGE_KEY)
    job_id = runpod_jobs.start(body, is_sync=is_sync, on_end=charge.release)
    charge.keep()
    await runpod_jobs.taken(job_id)
    return job_id
