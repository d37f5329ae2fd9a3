"""Define POST /plan: what a job would become, without rendering it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from wanworker.actions.base import Call
from wanworker.actions.generate.plan import ACTION, PlanRequest
from wanworker.app import Worker
from wanworker.jobs.runner import QueueFull
from wanworker.progress import Progress
from wanworker.rest.http.error_responses import answer, responses
from wanworker.rest.http.request_body import read_object

#: Returns the fields of the action for a body of POST /generate, and the remarks on it.
Meant = Callable[[Mapping[str, Any]], Awaitable[tuple[dict[str, Any], list[str]]]]

_PRICE = "price_per_hour"

#: The answer holds no video, so it never comes near a limit.
_ANSWER_BYTES = 10 * 1024**2


class PlannedVideo(BaseModel):
    """Describe the file that would be made. null is what only the render will show."""

    width: int | None
    height: int | None
    fps: float | None
    frames: int | None
    duration_s: float | None


class PlannedRecipe(BaseModel):
    """Say how it would be sampled."""

    name: str = Field(description="Where the numbers come from that the request leaves open.")
    steps: int
    guidance: float
    guidance_low: float = Field(description="The low-noise expert's; a model of one expert has one guidance.")
    shift: float
    solver: str


class Plan(BaseModel):
    """Describe what a job with the same fields would become."""

    model_config = ConfigDict(extra="allow")

    engine: str
    model: str
    size: str | None = Field(description="null if only the render can tell; see `unknown`.")
    video: PlannedVideo
    seed: int | None = Field(description="null: a random one would be drawn.")
    num_outputs: int
    recipe: PlannedRecipe | None
    placement: dict[str, Any] | None = Field(description="Where the weights would be, from diffusers.")
    warnings: list[str] = Field(description="Every warning that the job would have.")
    unknown: list[str] = Field(description="What cannot be known before, in sentences.")
    seconds: float | None = Field(description="The median of like jobs on this volume; null without one.")
    seconds_warm: float | None = Field(description="The median of those that found everything loaded.")
    seconds_cold: float | None = Field(description="The median of those that had to load or to start something.")
    like_jobs: int = Field(description="How many like jobs there are, at most 20.")
    cost: float | None = Field(description="`seconds` at `price_per_hour`; null if one of the two is not known.")


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{PlanRequest.__name__}"}}},
    }
}


#: Which route's fields the body has.
Route = Annotated[
    Literal["generate"] | None,
    Query(alias="for", description="generate: the body has the fields of POST /generate, not those of the action."),
]


def plan_routes(worker: Worker, meant: Meant, *, limit: int) -> APIRouter:
    """
    Return the route over *worker*. At most *limit* plans are made at once.

    *meant* returns the action's fields for a body of POST /generate, and the remarks on it.
    """
    router = APIRouter(tags=["jobs"])
    running: set[str] = set()

    @router.post(
        "/plan",
        responses={200: {"model": Plan}, **responses(400, 401, 404, 408, 409, 413, 422, 429, 500, 503, 504, 507)},
        openapi_extra=_BODY,
    )
    async def plan(request: Request, route: Route = None) -> Response:
        """Say what a job would become and what it costs, without rendering. The body has the fields of generate."""
        fields = await read_object(request)
        if len(running) >= limit:
            raise QueueFull(f"{limit} plans are being made already.", retry_after_s=5)
        call = Call(uuid.uuid4().hex, None, _unheard, _ANSWER_BYTES)
        running.add(call.request_id)
        try:
            if route is None:
                return answer(await worker.perform({**fields, "action": ACTION.name}, call))
            return answer(await _planned_for_generate(worker, meant, fields, call))
        finally:
            running.discard(call.request_id)

    return router


async def _planned_for_generate(worker: Worker, meant: Meant, sent: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """Return the plan of the job that POST /generate would make of *sent*, which may name a price as well."""
    price = {name: value for name, value in sent.items() if name == _PRICE}
    fields, remarks = await meant({name: value for name, value in sent.items() if name != _PRICE})
    plan = await worker.perform({**fields, **price, "action": ACTION.name}, call)
    own = [line for line in plan["warnings"] if line not in remarks]
    return {**plan, "warnings": [*remarks, *own]}


def _unheard(_progress: Progress) -> None:
    """Take progress that nobody asks for."""
