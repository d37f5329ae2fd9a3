"""Build the render request of `generate` from its fields; every door uses it."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.picture import sized_by_picture
from wanworker.jobs.model import Job, spec_hash
from wanworker.jobs.store.job_store import JobRequest
from wanworker.media.inputs.reader import InputReader
from wanworker.render import PreparedSpec, RenderRequest
from wanworker.spec import RenderSpec, Task


def job_request(request: GenerateRequest, *, request_id: str, action: str, runpod_id: str | None = None) -> JobRequest:
    """Return the names under which *request* is recorded."""
    return JobRequest(
        request_id=request_id,
        runpod_id=runpod_id,
        action=action,
        spec_hash=spec_hash(request.identity()),
        prompt=request.prompt,
    )


def asked_of(request: GenerateRequest) -> dict[str, str]:
    """
    Return what *request* says of its video: `model`, `size` (`1280x720`) and `seconds`, for its record.

    Everything that can be refused before a file is read is refused here. Raises InvalidRequest.
    """
    spec = _spec(request, request.checked_task(), [])
    return {
        "model": request.diffusion_model or spec.task,
        "size": f"{spec.size.width}x{spec.size.height}",
        "seconds": f"{spec.frames / spec.fps:.2f}".rstrip("0").rstrip(".") if spec.frames else "auto",
    }


def generate_order(
    request: GenerateRequest,
    named: JobRequest,
    *,
    inputs: InputReader,
    warnings: list[str],
    engine: str,
    timeout_s: float,
    queued: Job | None = None,
) -> RenderRequest:
    """
    Return the order for *request*; everything that can be refused before a file is read is refused here.

    What was changed is a line in *warnings*; *engine* and *timeout_s* hold where the request names none. Raises
    InvalidRequest.
    """
    task = request.checked_task()
    spec = _spec(request, task, warnings)
    return RenderRequest(
        request=named,
        engine=request.engine or engine,
        timeout_s=request.timeout or timeout_s,
        prepare=functools.partial(_prepare, request, spec, task, inputs, tuple(warnings)),
        queued=queued,
        num_outputs=request.num_outputs,
    )


def _spec(request: GenerateRequest, task: Task, warnings: list[str]) -> RenderSpec:
    """Return the spec without its files: everything that can be refused before one is read is refused here."""
    size, is_given = request.shape(
        default=task.size,
        multiple=task.size_multiple,
        by_picture=task.takes_image and request.source("reference_image") is not None,
    )
    warnings += request.overruled()
    if request.prepared_path and not task.needs_driving_video:
        warnings.append(f"prepared_path was ignored: {task.name} does not use it here.")
    loras = request.checked_loras()
    return RenderSpec(
        task=task.name,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or None,
        size=size,
        size_given=is_given,
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
        profile=request.profile,
        diffusion_models=request.diffusion_models(),
        vae_model=request.vae_model or None,
        single_expert=request.single_expert,
        crf=request.crf,
    )


async def _prepare(
    request: GenerateRequest,
    spec: RenderSpec,
    task: Task,
    inputs: InputReader,
    warnings: tuple[str, ...],
    folder: Path,
) -> PreparedSpec:
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
        files["size"], files["image"] = await sized_by_picture(
            files["image"], area=spec.size.area, multiple=task.size_multiple, notes=notes
        )
    return PreparedSpec(dataclasses.replace(spec, **files), tuple(notes))
