"""`generate`: a prompt (and a picture, a sound, a driving video) becomes a video on whichever engine can."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wanworker.actions.answer import finished_answer
from wanworker.actions.base import Action, Context
from wanworker.actions.fields import parse
from wanworker.actions.generate_request import GenerateRequest
from wanworker.jobs.model import check_request_id, spec_hash
from wanworker.jobs.store import JobRequest
from wanworker.media.inputs import InputReader
from wanworker.media.picture import picture_size
from wanworker.render import Order, Prepared
from wanworker.spec import RenderSpec, Size, Task, size_at_aspect

_IMPLIED_BY = ("prompt", "reference_image_url", "reference_image_base64", "reference_image_path", "image_url",
               "image_base64", "image_path")  # fmt: skip


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Render what *fields* ask for and return the documented answer. Raises WorkerError."""
    request, warnings = parse(GenerateRequest, fields)
    task = request.checked_task()
    spec = _spec(request, task, warnings)
    call = context.call
    order = Order(
        request=JobRequest(
            request_id=check_request_id(request.request_id) if request.request_id else call.request_id,
            runpod_id=call.runpod_id,
            action=ACTION.name,
            spec_hash=spec_hash(request.identity()),
            prompt=request.prompt,
        ),
        engine=request.engine or context.settings.engine,
        timeout_s=request.timeout or context.settings.job_timeout_s,
        prepare=functools.partial(_prepare, request, spec, task, context.inputs, tuple(warnings)),
    )
    job = await context.renderer.render(order, call.report)
    return await finished_answer(job, context, want_video=request.return_video, extra=warnings)


def _spec(request: GenerateRequest, task: Task, warnings: list[str]) -> RenderSpec:
    """Return the spec without its files: everything that can be refused before one is read is refused here."""
    asked_size = request.checked_size()
    loras = request.checked_loras()
    if request.negative_prompt and request.sample_guide_scale is not None and request.sample_guide_scale <= 1:
        warnings.append("negative_prompt does nothing at sample_guide_scale <= 1: no guidance is computed there.")
    return RenderSpec(
        task=task.name,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or None,
        size=asked_size or task.size,
        size_given=asked_size is not None,
        fps=request.fps or float(task.fps),
        fps_given=request.fps is not None,
        frames=request.checked_frames(task, warnings),
        seed=request.drawn_seed(),
        steps=request.sample_steps,
        guidance=request.sample_guide_scale,
        guidance_low=request.guidance_scale_2,
        shift=request.sample_shift,
        solver=request.sample_solver,
        use_lora=request.use_lora or bool(loras),
        loras=loras,
        offload_model=request.offload_model,
    )


async def _prepare(
    request: GenerateRequest,
    spec: RenderSpec,
    task: Task,
    inputs: InputReader,
    warnings: tuple[str, ...],
    folder: Path,
) -> Prepared:
    """Read the request's files into *folder*; a size that was left out takes the picture's aspect."""
    notes = list(warnings)
    files: dict[str, Any] = {}
    for field, name, read, is_taken in (
        ("reference_image", "image", inputs.image, task.takes_image),
        ("last_image", "last_image", inputs.image, True),
        ("audio", "audio", inputs.audio, task.needs_audio),
        ("driving_video", "driving_video", inputs.video, task.needs_driving_video and not request.prepared_path),
    ):
        source = request.source(field)
        if source and is_taken:
            files[name] = await read(source, folder, field, label=field.replace("_", " "))
        elif source:
            notes.append(f"{field} was ignored: {task.name} does not use it here.")
    if task.needs_driving_video and request.prepared_path:
        files["prepared_dir"] = inputs.directory(request.prepared_path, label="prepared folder", field="prepared_path")
    if not spec.size_given and "image" in files:
        files["size"] = _size_of(files["image"], task)
    return Prepared(dataclasses.replace(spec, **files), tuple(notes))


def _size_of(picture: Path, task: Task) -> Size:
    width, height = picture_size(picture)
    return size_at_aspect(width / height, task.size.area, task.size_multiple)


ACTION = Action(
    "generate",
    run,
    aliases=("request", "create"),
    implied_by=lambda fields: any(fields.get(name) for name in _IMPLIED_BY),
)
