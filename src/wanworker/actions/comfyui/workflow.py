"""`comfyui_workflow`: run the caller's own ComfyUI graph and return every file that it saves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from wanworker.actions.base import Action, Context
from wanworker.actions.comfyui._answer import DEFAULT_TIMEOUT_S, delivered_outputs, documented_timeout
from wanworker.actions.comfyui._inputs import InputField, checked_inputs, overruled, read_inputs
from wanworker.actions.comfyui._workflow_files import WorkflowFiles
from wanworker.actions.comfyui._workflow_text import checked, is_file_text, is_json_text, parsed
from wanworker.actions.request.fields import Request, Timeout, parse
from wanworker.actions.request.json_value import from_text
from wanworker.deadline import Deadline
from wanworker.errors import InvalidRequest
from wanworker.jobs.model import Job, check_request_id, hashes
from wanworker.jobs.store.job_store import JobRequest
from wanworker.media.inputs.reader import Source
from wanworker.media.scratch import scratch_folder
from wanworker.media.threads import entered, in_thread
from wanworker.planning.fitting import PreparedSpec
from wanworker.render import RenderRequest
from wanworker.spec import GraphSpec
from wanworker.text.json_words import place_of_non_finite, shown

#: The engine that runs graphs.
_ENGINE = "comfyui"


def _slots(value: Any) -> Any:
    """Return an object that came as JSON text, as forms send it."""
    return from_text(value, "slots") if isinstance(value, str) and value.strip() else value or None


class WorkflowRequest(Request):
    """The fields of `comfyui_workflow`."""

    workflow: dict[str, Any] | str | None = Field(
        default=None, description="The graph, in API or browser format, or its URL or name."
    )
    slots: Annotated[dict[str, Any] | None, BeforeValidator(_slots)] = Field(
        default=None, description="Values for inputs of the graph, by `TITLE.INPUT` or `ID.INPUT`."
    )
    images: tuple[InputField, ...] = Field(default=(), max_length=64, description="Pictures to upload first.")
    audio: tuple[InputField, ...] = Field(default=(), max_length=16, description="Sounds to upload first.")
    videos: tuple[InputField, ...] = Field(default=(), max_length=16, description="Videos to upload first.")
    timeout: Timeout = Field(default=DEFAULT_TIMEOUT_S, description="The job's deadline in seconds.")
    return_base64: bool = Field(default=False, description="Return outputs as base64 in outputs[].data.")
    validate_only: bool = Field(default=False, description="Check the graph with the server, but do not run it.")
    engine: str | None = Field(default=None, description="`comfyui`, which always runs graphs.")
    request_id: str | None = Field(default=None, description="Your own id, an idempotency key.")

    def other_engine(self) -> list[str]:
        """Return a line if an engine is named that runs no graphs."""
        if self.engine in {None, "auto", _ENGINE}:
            return []
        return [f"engine {shown(self.engine)} was ignored: graphs always run on ComfyUI."]

    def reference(self) -> str | None:
        """Return the URL or name of the graph, or None if the graph itself was sent."""
        if not isinstance(self.workflow, str) or is_json_text(self.workflow) or is_file_text(self.workflow):
            return None
        return self.workflow.strip() or None

    def document(self) -> dict[str, Any]:
        """
        Return the JSON object of a graph that was sent, in API or browser format. Raises InvalidRequest, GraphRefused.
        """
        if not self.workflow:
            message = "Missing workflow: send the ComfyUI graph as an object, or its URL or name."
            raise InvalidRequest(message, field="workflow")
        return parsed(self.workflow, "workflow") if isinstance(self.workflow, str) else checked(self.workflow)


async def _fetched_document(reference: str, context: Context, folder: Path) -> dict[str, Any]:
    """Return the graph at a URL or of a name. Raises InvalidRequest, GraphRefused, InputUnavailable, InputRefused."""
    if not reference.lower().startswith(("https://", "http://")):
        return await in_thread(lambda: WorkflowFiles(context.settings).named(reference).read())
    source = Source("url", reference, "workflow")
    path = await context.inputs.document(source, folder, "workflow.json", label="workflow")
    return await in_thread(lambda: parsed(path.read_bytes(), "The workflow at that URL"))


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run the graph and return the documented answer. Raises WorkerError, for example GraphRefused."""
    request, warnings = parse(WorkflowRequest, fields)
    _check_slots(request.slots)
    reference = request.reference()
    sent_document = request.document() if reference is None else None
    sources = checked_inputs(images=request.images, audio=request.audio, videos=request.videos)
    warnings += request.other_engine()
    warnings += overruled(images=request.images, audio=request.audio, videos=request.videos)
    engine = context.comfyui()
    call = context.call
    sent = frozenset(source.name for source in sources)

    async def prepare(folder: Path, *, with_files: bool = True) -> PreparedSpec:
        document = sent_document or await _fetched_document(reference or "", context, folder)
        uploads = await read_inputs(sources, context.inputs, folder) if with_files else ()
        found = await engine.checked_graph(document, call.report, sent=sent, slots=request.slots)
        spec = GraphSpec(found.graph, uploads, found.left_out)
        return PreparedSpec(spec, (*warnings, *found.remarks, *found.left_out))

    if request.validate_only:
        with documented_timeout():
            async with entered(scratch_folder()) as folder, Deadline(request.timeout).scope():
                return _valid(await prepare(folder, with_files=False), call.request_id)

    graph = reference or sent_document
    hashed, former = hashes(_identity(request, graph), _identity(request, graph, former=True))
    to_render = RenderRequest(
        job=JobRequest(
            request_id=check_request_id(request.request_id) if request.request_id else call.request_id,
            runpod_id=call.runpod_id,
            action=ACTION.name,
            spec_hash=hashed,
            former_hash=former,
        ),
        engine=_ENGINE,
        timeout_s=request.timeout,
        prepare=prepare,
    )
    with documented_timeout():
        job = await context.renderer.render(to_render, call.report)
    answer = _completed(job, warnings)
    await delivered_outputs(job, answer, context, want_data=request.return_base64)
    return answer


def _completed(job: Job, warnings: Sequence[str]) -> dict[str, Any]:
    """Return the answer of a COMPLETED job, still without its outputs."""
    return {
        "request_id": job.request_id,
        "status": "completed",
        "outputs": [],
        "warnings": [*job.warnings, *(line for line in warnings if line not in job.warnings)],
        "engine": job.engine,
        "timings": dict(job.timings),
    }


def _check_slots(slots: Mapping[str, Any] | None) -> None:
    if (place := place_of_non_finite({"slots": slots})) is not None:
        raise InvalidRequest(f"{place[:100]} is NaN or infinite; it must be a finite number.", field="slots")


def _valid(prepared: PreparedSpec, request_id: str) -> dict[str, Any]:
    assert isinstance(prepared.spec, GraphSpec), "made above"
    warnings = list(prepared.warnings)
    return {"request_id": request_id, "status": "valid", "workflow": prepared.spec.graph, "warnings": warnings}


def _identity(
    request: WorkflowRequest, workflow: str | dict[str, Any] | None, *, former: bool = False
) -> dict[str, Any]:
    """
    Return what tells this request from others, with a digest in place of each file's bytes.

    A workflow by name or URL is told by that, as pictures are. Requests without slots have the hash of older versions.
    With *former*, the spelling of a file counts, as it did before records had a `hash_version`.
    """
    entries = (*request.images, *request.audio, *request.videos)
    texts = [(entry if former else entry.plainly()).model_dump_json() for entry in entries]
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    return {"workflow": workflow, "inputs": digests} | ({"slots": request.slots} if request.slots else {})


ACTION = Action("comfyui_workflow", run, WorkflowRequest, implied_by=lambda fields: bool(fields.get("workflow")))
