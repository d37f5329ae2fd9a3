"""`comfyui_workflow`: run the caller's own ComfyUI graph and return every file that it saves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from wanworker.actions.base import Action, Context
from wanworker.actions.fields import Request, Timeout, parse
from wanworker.actions.graph_answer import DEFAULT_TIMEOUT_S, delivered_outputs, documented_timeout
from wanworker.actions.graph_inputs import InputField, checked_inputs, read_inputs
from wanworker.engines.comfyui import ComfyUI
from wanworker.errors import InvalidRequest
from wanworker.jobs.model import check_request_id, spec_hash
from wanworker.jobs.store import JobRequest
from wanworker.render import Order, Prepared
from wanworker.spec import GraphSpec


class WorkflowRequest(Request):
    """The fields of `comfyui_workflow`."""

    workflow: dict[str, Any] | str | None = Field(default=None, description="The graph: API format, or the browser's.")
    images: tuple[InputField, ...] = Field(default=(), max_length=64, description="Pictures to upload first.")
    audio: tuple[InputField, ...] = Field(default=(), max_length=16, description="Sounds to upload first.")
    videos: tuple[InputField, ...] = Field(default=(), max_length=16, description="Videos to upload first.")
    timeout: Timeout = Field(default=DEFAULT_TIMEOUT_S, description="The job's deadline in seconds.")
    return_base64: bool = Field(default=False, description="Return outputs as base64 in outputs[].data.")
    validate_only: bool = Field(default=False, description="Check the graph with the server, queue nothing.")
    request_id: str | None = Field(default=None, description="Your own id, an idempotency key.")

    def document(self) -> dict[str, Any]:
        """Return the graph's JSON object. Raises InvalidRequest."""
        if self.workflow is None or self.workflow == {}:
            raise InvalidRequest("Missing workflow: send the ComfyUI graph as an object.", field="workflow")
        if isinstance(self.workflow, dict):
            return self.workflow
        try:
            document = json.loads(self.workflow)
        except ValueError as error:
            raise InvalidRequest(f"workflow is text that is no JSON: {error}.", field="workflow") from error
        if not isinstance(document, dict):
            raise InvalidRequest("workflow must be an object: a graph in API or browser format.", field="workflow")
        return document


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run the graph and return the documented answer. Raises WorkerError, GraphRefused among them."""
    request, warnings = parse(WorkflowRequest, fields)
    document = request.document()
    sources = checked_inputs(images=request.images, audio=request.audio, videos=request.videos)
    engine = context.comfyui()
    if request.validate_only:
        return await _validated(document, engine, context, warnings)
    call = context.call

    async def prepare(folder: Path) -> Prepared:
        uploads = await read_inputs(sources, context.inputs, folder)
        graph, remarks = await engine.checked_graph(document, call.report)
        return Prepared(GraphSpec(graph, uploads), (*warnings, *remarks))

    order = Order(
        request=JobRequest(
            request_id=check_request_id(request.request_id) if request.request_id else call.request_id,
            runpod_id=call.runpod_id,
            action=ACTION.name,
            spec_hash=spec_hash({"workflow": document, "inputs": _identity(request)}),
        ),
        engine="comfyui",
        timeout_s=request.timeout,
        prepare=prepare,
    )
    with documented_timeout():
        job = await context.renderer.render(order, call.report)
    answer: dict[str, Any] = {
        "request_id": job.request_id,
        "status": "completed",
        "outputs": [],
        "warnings": [*job.warnings],
        "engine": job.engine,
        "timings": dict(job.timings),
    }
    await delivered_outputs(job, answer, context, want_data=request.return_base64)
    return answer


async def _validated(
    document: dict[str, Any], engine: ComfyUI, context: Context, warnings: list[str]
) -> dict[str, Any]:
    graph, remarks = await engine.checked_graph(document, context.call.report)
    return {
        "request_id": context.call.request_id,
        "status": "valid",
        "workflow": graph,
        "warnings": [*warnings, *remarks],
    }


def _identity(request: WorkflowRequest) -> list[str]:
    """Return what tells the inputs of one request from another's, without keeping their bytes."""
    entries = [entry.model_dump_json() for entry in (*request.images, *request.audio, *request.videos)]
    return [hashlib.sha256(entry.encode()).hexdigest() for entry in entries]


ACTION = Action("comfyui_workflow", run, implied_by=lambda fields: bool(fields.get("workflow")))
