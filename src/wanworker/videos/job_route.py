"""
Answer a RunPod job with `openai_route` and `openai_input`, which RunPod makes of a call of `/openai/v1/...`.

A job ends with its answer, so a request for a video is answered when the video is there, and its content comes as JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import Field

from wanworker.actions.request.fields import Request, parse
from wanworker.actions.request.json_value import check_json
from wanworker.errors import InvalidRequest, NoOutput
from wanworker.jobs.model import Job, JobStatus, check_request_id
from wanworker.jobs.store.job_store import JobStore
from wanworker.media.threads import in_thread
from wanworker.media.video.thumbnail import MIME, thumbnail
from wanworker.serverless.answer import size_bytes
from wanworker.text.json_words import kind_of
from wanworker.videos.listing import Listed, Variant
from wanworker.videos.models import VideoModels
from wanworker.videos.request import read_job
from wanworker.videos.video import page_of, video_of

#: Performs an action of this worker: takes its fields, and how many bytes of the answer to leave free.
Perform = Callable[[dict[str, Any], int], Awaitable[dict[str, Any]]]

#: What a video has beside the texts of its request, generously.
_FACTS_BYTES = 2000

_ROUTES = "/v1/videos, /v1/videos/ID and /v1/videos/ID/content"


class _Content(Request):
    variant: Variant = Field(default="video")


def is_routed(payload: Mapping[str, Any]) -> bool:
    """Say whether a job's input names a route of this wire."""
    return payload.get("openai_route") is not None


class VideoRoutes:
    """Answer such jobs from *store* and by the actions of the worker."""

    def __init__(self, store: JobStore, models: VideoModels) -> None:
        self._store = store
        self._models = models

    async def answer(self, payload: Mapping[str, Any], perform: Perform) -> dict[str, Any]:
        """Return what the route answers. Raises WorkerError."""
        check_json(payload)
        parts, fields = _read(payload)
        if not parts:
            lists = "prompt" not in fields and _says_how_to_list(payload.get("openai_input") or {})
            return await (self._listed(fields) if lists else self._made(fields, perform))
        job = await in_thread(self._store.find, check_request_id(parts[0]))
        if len(parts) == 1:
            return _with(_alone(job), parse(Request, fields)[1])
        content, unknown = parse(_Content, fields)
        return _with(await self._content(job, content.variant, perform), unknown)

    async def _made(self, fields: dict[str, Any], perform: Perform) -> dict[str, Any]:
        """Render a video, and return it with its content: another job may not find it where no volume is shared."""
        asked = await read_job(fields, self._models)
        reserve_bytes = size_bytes([asked.fields["prompt"], asked.warnings]) + _FACTS_BYTES
        answer = await perform({"action": "generate", **asked.as_payload()}, reserve_bytes)
        job = await in_thread(self._store.find, answer["request_id"])
        video = _alone(job)
        video["warnings"] = [*asked.warnings, *answer["warnings"]]
        return {**video, "content": _content_of(answer)}

    async def _listed(self, fields: dict[str, Any]) -> dict[str, Any]:
        asked, unknown = parse(Listed, fields)
        page = await in_thread(lambda: self._store.after(asked.limit, asked.after, oldest_first=asked.order == "asc"))
        listed = page_of([video_of(job) for job in page.jobs], has_more=page.next_cursor is not None)
        return _with(listed.model_dump(mode="json"), unknown)

    async def _content(self, job: Job, variant: str, perform: Perform) -> dict[str, Any]:
        if job.status is not JobStatus.COMPLETED or not job.outputs:
            why = f"it failed: {job.error.text}" if job.error else "it has not ended."
            raise NoOutput(f"Video {job.request_id} has no content: {why}", hint="Ask for it when it is completed.")
        if variant == "thumbnail":
            jpeg = await thumbnail(Path(job.outputs[0].path))
            return {"content_type": MIME, "b64_json": base64.b64encode(jpeg).decode("ascii")}
        return _content_of(await perform({"action": "status", "request_id": job.request_id}, 0))


def _with(answer: dict[str, Any], unknown: list[str]) -> dict[str, Any]:
    """Return *answer* with the warnings about *unknown* fields of the question, if there are any."""
    return {**answer, "warnings": [*answer.get("warnings", ()), *unknown]} if unknown else answer


def _says_how_to_list(given: Mapping[str, Any]) -> bool:
    """Say whether *given* is no body of a video: whoever forgot the prompt of a video is told so, not sent a list."""
    return given.keys() <= Listed.model_fields.keys()


def _alone(job: Job) -> dict[str, Any]:
    """
    Return a video as an answer of its own. Its error is called `failure`.

    RunPod takes a key `error` at the top of an answer for the failure of the job that asks.
    """
    video = video_of(job).model_dump(mode="json")
    failure = video.pop("error")
    return video | ({"failure": failure} if failure else {})


def _content_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file as base64, or where it is: as the answer's limit allows."""
    result = answer["result"]
    content: dict[str, Any] = {"content_type": "video/mp4", "delivery": answer["delivery"]}
    if data := result.get("data"):
        content["b64_json"] = data.rpartition(",")[2]
    return content | {name: result[name] for name in ("url", "path") if name in result}


def _read(payload: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the parts of the route after `/v1/videos`, and the fields in its query and in `openai_input`."""
    route, given = payload["openai_route"], payload.get("openai_input")
    if not isinstance(route, str):
        raise InvalidRequest(f"openai_route must be text; got {kind_of(route)}.", field="openai_route")
    if given is not None and not isinstance(given, Mapping):
        raise InvalidRequest(f"openai_input must be an object; got {kind_of(given)}.", field="openai_input")
    path, _, query = route.partition("?")
    parts = [part for part in path.split("/") if part]
    parts = parts[1:] if parts[:1] == ["openai"] else parts
    is_known = parts[:2] == ["v1", "videos"] and (len(parts) < 4 or parts[3:] == ["content"])
    if not is_known:
        raise InvalidRequest(
            f"openai_route {route[:80]!r} is not answered; known: {_ROUTES}.",
            hint="Send one of these routes, or a job with an action.",
            field="openai_route",
        )
    asked = dict(parse_qsl(query))
    fields = {**asked, **{str(name): value for name, value in (given or {}).items() if value is not None}}
    if differing := [name for name, text in asked.items() if text != str(fields[name])]:
        message = f"{differing[0][:60]} differs in openai_route and in openai_input."
        raise InvalidRequest(message, hint="Send it once.", field=differing[0][:60])
    return parts[2:], fields
