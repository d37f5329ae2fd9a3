"""Render a queued request: the runner calls this when a job's turn has come."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from wanworker import logs
from wanworker.actions.generate.render_request import job_request, render_request
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import naming_unknown, parse
from wanworker.app import Worker
from wanworker.engines.base import Report
from wanworker.engines.comfyui.engine import ComfyUI
from wanworker.engines.comfyui.graphs import missing_for
from wanworker.engines.registry import HERE
from wanworker.errors import InputUnavailable
from wanworker.jobs.model import Job
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.store.job_store import JobRequest
from wanworker.media.inputs.reader import InputReader
from wanworker.media.threads import in_thread
from wanworker.render import RenderRequest
from wanworker.rest.schemas.generate import GenerateBody, generate_fields, with_engine_defaults
from wanworker.rest.service.uploads import Uploads

log = logging.getLogger(__name__)

#: The action in the records of this door's jobs. Sweeping deletes files of no other jobs.
ACTION = "rest"

_FASTWAN = "ti2v-5B-fastwan"


def render_request_of(
    worker: Worker, request: GenerateRequest, named: JobRequest, *, inputs: InputReader, warnings: list[str]
) -> RenderRequest:
    """Return what the renderer gets for a job of this server; see render_request. Raises InvalidRequest."""
    return render_request(
        request,
        named,
        inputs=inputs,
        warnings=warnings,
        engine=worker.settings.engine,
        timeout_s=worker.settings.job_timeout_s,
    )


class QueueExecutor:
    """Render a kept request with the worker's own renderer, with FastWAN on ComfyUI where that is available."""

    def __init__(self, worker: Worker, kept: PendingRequests, uploads: Uploads) -> None:
        self._worker = worker
        self._kept = kept
        self._uploads = uploads
        self._inputs = worker.inputs.below(kept.folder)

    async def __call__(self, job: Job, report: Report) -> Job:
        """
        Return the COMPLETED job. Raises WorkerError. On cancellation, CancelledError is raised after all work has
        stopped.
        """
        logs.request_id.set(job.request_id)
        kept = await in_thread(self._kept.get, job.request_id)
        if kept is None:
            raise InputUnavailable("The request of this job is no longer on the volume.")
        fields, remarks = await self._completed(kept["fields"], kept.get("left_out"))
        to_render = self._to_render(job, fields, [*kept.get("warnings", ()), *remarks])
        done = await self._worker.renderer.render(to_render, report)
        return await self._uploads.put(done) if kept.get("uploads") else done

    async def place_of(self, job: Job) -> str:
        """
        Return the place where *job*, whose request is on the volume, will be rendered, as far as that is known by now.

        Raises WorkerError.
        """
        to_render = await in_thread(self._kept_request, job)
        return HERE if to_render is None else await self._worker.renderer.place_of(to_render)

    def _kept_request(self, job: Job) -> RenderRequest | None:
        kept = self._kept.get(job.request_id)
        return None if kept is None else self._to_render(job, kept["fields"], [])

    def _to_render(self, job: Job, fields: dict[str, Any], warnings: list[str]) -> RenderRequest:
        request, _ = parse(GenerateRequest, fields)
        named = job_request(request, request_id=job.request_id, action=ACTION)
        to_render = render_request_of(self._worker, request, named, inputs=self._inputs, warnings=warnings)
        return dataclasses.replace(to_render, queued=job)

    async def meant(self, sent: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """
        Return the fields of the `generate` action as which *sent*, a body of POST /generate, would render here.

        With them comes what is to be said of the body. Raises InvalidRequest.
        """
        with naming_unknown(GenerateBody, sent):
            body, remarks = parse(GenerateBody, sent)
            resolved = body.resolved(remarks)
        fields = generate_fields(body, resolved)
        if body.seed == -1:
            del fields["seed"]
        if body.image:
            fields["reference_image_base64"] = body.image
        fields, more = await self._completed(fields, body.left_out())
        return fields, [*remarks, *more]

    async def _completed(self, fields: dict[str, Any], left_out: list[str] | None) -> tuple[dict[str, Any], list[str]]:
        """Return *fields* with what the engine that renders needs, and what changed. See NewJob for *left_out*."""
        if left_out is None:
            return fields, []
        asked = fields.get("engine") or self._worker.settings.engine
        may_be_fastwan = asked in {"auto", "comfyui"} and "diffusion_model" not in fields
        is_fastwan = may_be_fastwan and await asyncio.to_thread(self.has_fastwan)
        return with_engine_defaults(fields, left_out, is_fastwan=is_fastwan)

    def has_fastwan(self) -> bool:
        """Say whether a ComfyUI server, running or ours to start, has all files of FastWAN. Blocks for some seconds."""
        if not any(row.name == "comfyui" for row in self._worker.registry.rows):
            return False
        engine: Any = self._worker.registry.engine("comfyui")
        if not isinstance(engine, ComfyUI) or not engine.readiness("ti2v-5B").is_ready:
            return False
        lists = engine.lists.from_server_now() or engine.lists.from_folders()
        return not missing_for(_FASTWAN, lists)
