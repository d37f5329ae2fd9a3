"""`comfyui_workflow`: run the caller's own ComfyUI graph and return every file that it saves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from wanworker.actions.base import Action, Context
from wanworker.actions.comfyui._answer import DEFAULT_TIMEOUT_S, delivered_outputs, documented_timeout
from wanworker.actions.comfyui._inputs import InputField, checked_inputs, read_inputs
from wanworker.actions.request.fields import Request, Timeout, parse
from wanworker.actions.request.json_value import MAX_DEPTH, check_json
from wanworker.deadline import Deadline
from wanworker.errors import InvalidRequest
from wanworker.jobs.model import check_request_id, spec_hash
from wanworker.jobs.store.job_store import JobRequest
from wanworker.media.inputs.data_uri import decode, is_data_url
from wanworker.render import PreparedSpec, RenderRequest
from wanworker.spec import GraphSpec
from wanworker.text.json_words import kind_of

if TYPE_CHECKING:
    from wanworker.comfyui.graph.api_format import Graph


#: The largest file that may come as a data URI with a workflow in its metadata.
_FILE_BYTES = 64 << 20


class WorkflowRequest(Request):
    """The fields of `comfyui_workflow`."""

    workflow: dict[str, Any] | str | None = Field(default=None, description="The graph, in API or browser format.")
    images: tuple[InputField, ...] = Field(default=(), max_length=64, description="Pictures to upload first.")
    audio: tuple[InputField, ...] = Field(default=(), max_length=16, description="Sounds to upload first.")
    videos: tuple[InputField, ...] = Field(default=(), max_length=16, description="Videos to upload first.")
    timeout: Timeout = Field(default=DEFAULT_TIMEOUT_S, description="The job's deadline in seconds.")
    return_base64: bool = Field(default=False, description="Return outputs as base64 in outputs[].data.")
    validate_only: bool = Field(default=False, description="Check the graph with the server, but do not run it.")
    request_id: str | None = Field(default=None, description="Your own id, an idempotency key.")

    def document(self) -> dict[str, Any]:
        """Return the graph's JSON object, in API or browser format. Raises InvalidRequest, GraphRefused."""
        if not self.workflow:
            raise InvalidRequest("Missing workflow: send the ComfyUI graph as an object.", field="workflow")
        document = _parsed(self.workflow) if isinstance(self.workflow, str) else self.workflow
        from wanworker.comfyui.graph.api_format import is_ui_format, read_graph, unwrapped  # a slow import

        document = unwrapped(document)
        if not isinstance(document, dict):
            message = f"workflow must be an object: a graph in API or browser format; got {kind_of(document)}."
            raise InvalidRequest(message, field="workflow")
        if not is_ui_format(document):
            read_graph(document)  # a malformed graph is refused without asking the server
        return document


def _parsed(text: str) -> object:
    if is_data_url(text):
        from wanworker.comfyui.graph.workflow_file import read_workflow_file  # a slow import

        document = read_workflow_file(decode(text, max_bytes=_FILE_BYTES))
        check_json({"workflow": document})
        return document
    try:
        document = json.loads(text)
    except RecursionError as error:
        message = f"workflow is nested too deeply; at most {MAX_DEPTH} levels are read."
        raise InvalidRequest(message, field="workflow") from error
    except ValueError as error:
        raise InvalidRequest(f"workflow is text, but cannot be read as JSON: {error}.", field="workflow") from error
    check_json({"workflow": document})
    return document


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run the graph and return the documented answer. Raises WorkerError, for example GraphRefused."""
    request, warnings = parse(WorkflowRequest, fields)
    document = request.document()
    sources = checked_inputs(images=request.images, audio=request.audio, videos=request.videos)
    engine = context.comfyui()
    call = context.call
    sent = frozenset(source.name for source in sources)
    if request.validate_only:
        with documented_timeout():
            async with Deadline(request.timeout).scope():
                graph, remarks = await engine.checked_graph(document, call.report, sent=sent)
        return _valid(graph, [*warnings, *remarks], call.request_id)

    async def prepare(folder: Path) -> PreparedSpec:
        uploads = await read_inputs(sources, context.inputs, folder)
        graph, remarks = await engine.checked_graph(document, call.report, sent=sent)
        return PreparedSpec(GraphSpec(graph, uploads), (*warnings, *remarks))

    order = RenderRequest(
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
        "warnings": [*job.warnings, *(line for line in warnings if line not in job.warnings)],
        "engine": job.engine,
        "timings": dict(job.timings),
    }
    await delivered_outputs(job, answer, context, want_data=request.return_base64)
    return answer


def _valid(graph: Graph, warnings: list[str], request_id: str) -> dict[str, Any]:
    return {"request_id": request_id, "status": "valid", "workflow": graph, "warnings": warnings}


def _identity(request: WorkflowRequest) -> list[str]:
    """Return the fields that tell this request from others, with a digest in place of each file's bytes."""
    entries = [entry.model_dump_json() for entry in (*request.images, *request.audio, *request.videos)]
    return [hashlib.sha256(entry.encode()).hexdigest() for entry in entries]


ACTION = Action("comfyui_workflow", run, implied_by=lambda fields: bool(fields.get("workflow")))
