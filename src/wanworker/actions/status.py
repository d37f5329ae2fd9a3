"""`status`: report the state of a job, from any worker that shares the volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from wanworker.actions._video_answer import Wanted, finished_answer, status_block
from wanworker.actions.base import Action, Context
from wanworker.actions.request.fields import Request, parse
from wanworker.errors import InvalidRequest
from wanworker.jobs.model import JobStatus, check_request_id
from wanworker.media.threads import in_thread


class StatusRequest(Request):
    """The fields of `status`."""

    request_id: str | None = Field(default=None, description="The request id, or the id that /run returned.")
    return_video: bool = Field(default=True, description="Return a finished video as a data URI in result.data.")


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Return the job's status, with its video if it is COMPLETED. Raises UnknownJob."""
    request, warnings = parse(StatusRequest, fields)
    if not request.request_id:
        raise InvalidRequest("Missing request_id: status needs the id of a job.", field="request_id")
    job = await in_thread(context.store.find, check_request_id(request.request_id))
    if job.status is JobStatus.COMPLETED:
        return await finished_answer(job, context, wanted=Wanted(video=request.return_video), extra=warnings)
    answer: dict[str, Any] = {"request_id": job.request_id, "status": status_block(job)}
    if lines := [*job.warnings, *warnings]:
        answer["warnings"] = lines
    return answer


_STATUS_FIELDS = frozenset(StatusRequest.model_fields)


def _is_implied_by(fields: Mapping[str, Any]) -> bool:
    """Say whether *fields*, without unknown ones, have a request id and at most return_video beside it."""
    return "request_id" in fields and set(fields) <= _STATUS_FIELDS


ACTION = Action("status", run, StatusRequest, aliases=("get", "result"), implied_by=_is_implied_by)
