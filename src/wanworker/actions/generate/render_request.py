"""Build the render request of `generate` from its fields; every door uses it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from wanworker.actions.base import Context
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.actions.request.lora import idle_strength
from wanworker.actions.request.picture import Subject, size_in_shape, sized_by_picture
from wanworker.actions.request.shape import DEFAULT_AREA
from wanworker.jobs.model import check_request_id, hashes
from wanworker.jobs.store.job_store import JobRequest
from wanworker.media.inputs.reader import InputReader
from wanworker.media.video.writer import probe
from wanworker.planning.fitting import PreparedSpec
from wanworker.render import RenderRequest
from wanworker.spec import RenderSpec, Task

Request = TypeVar("Request", bound=GenerateRequest)

#: What a spec calls the file of a field, where it has another name.
_NAMES = {"reference_image": "image"}


def job_request(request: GenerateRequest, *, request_id: str, action: str, runpod_id: str | None = None) -> JobRequest:
    """Return the names under which *request* is recorded."""
    hashed, former = hashes(request.identity(), request.former_identity())
    return JobRequest(
        request_id=request_id,
        runpod_id=runpod_id,
        action=action,
        spec_hash=hashed,
        former_hash=former,
        prompt=request.prompt,
    )


def read_request(
    model: type[Request], fields: Mapping[str, Any], context: Context, *, action: str
) -> tuple[Request, RenderRequest, list[str]]:
    """
    Return the request that *fields* are, what the renderer gets of it, and what is to be said of it so far.

    Everything that can be refused before a file is read is refused here. Raises InvalidRequest, and InputRefused for an
    upload URL.
    """
    request, warnings = parse(model, fields)
    call, settings = context.call, context.settings
    request.upload_urls(settings.allow_hosts)
    request_id = check_request_id(request.request_id) if request.request_id else call.request_id
    to_render = render_request(
        request,
        job_request(request, request_id=request_id, action=action, runpod_id=call.runpod_id),
        inputs=context.inputs,
        warnings=warnings,
        engine=settings.engine,
        timeout_s=settings.job_timeout_s,
    )
    return request, to_render, warnings


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


def render_request(
    request: GenerateRequest,
    named: JobRequest,
    *,
    inputs: InputReader,
    warnings: list[str],
    engine: str,
    timeout_s: float,
) -> RenderRequest:
    """
    Return what the renderer gets for *request*; what can be refused before a file is read is refused here.

    What was changed is a line in *warnings*; *engine* and *timeout_s* hold where the request names none. Raises
    InvalidRequest.
    """
    task = request.checked_task()
    spec = _spec(request, task, warnings)
    return RenderRequest(
        job=named,
        engine=request.engine or engine,
        timeout_s=request.timeout or timeout_s,
        prepare=functools.partial(_prepare, request, spec, task, inputs, tuple(warnings)),
        num_outputs=request.num_outputs,
        draft=_draft(request, spec, task),
    )


def _spec(request: GenerateRequest, task: Task, warnings: list[str]) -> RenderSpec:
    """Return the spec without its files: everything that can be refused before one is read is refused here."""
    size, is_given = request.wanted_size(warnings)
    warnings += request.overruled()
    warnings += idle_strength(request.lora_name, request.lora_strength, request.spelled("lora_strength"))
    warnings += request.refused_loras()
    if request.prepared_path and not task.needs_driving_video:
        warnings.append(f"prepared_path was ignored: {task.name} does not use it here.")
    loras = request.checked_loras()
    factor, upscaler = request.checked_upscale()
    if request.denoise is not None and task.denoise is None:
        warnings.append(f"{request.spelled('denoise')} was ignored: {task.name} starts from noise, not from a video.")
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
        denoise=None if task.denoise is None else request.denoise,
        loop=request.loop,
        target_fps=request.target_fps,
        upscale_factor=factor,
        upscale_model=upscaler,
    )


def _taken(request: GenerateRequest, task: Task) -> dict[str, bool]:
    """Return the fields that may name a file, and whether *task* uses what they name."""
    return {
        "reference_image": task.takes_image,
        "last_image": True,
        "audio": task.needs_audio,
        "driving_video": request.reads_film(task),
        "soundtrack": True,
    }


def _draft(request: GenerateRequest, spec: RenderSpec, task: Task) -> RenderSpec:
    """Return *spec* with names in place of the files that will be read: which are there decides the engine, too."""
    taken = (field for field, is_taken in _taken(request, task).items() if is_taken and request.source(field))
    files = {_NAMES.get(field, field): Path(field) for field in taken}
    if task.takes_prepared and request.prepared_path:
        files["prepared_dir"] = Path(request.prepared_path)
    if request.loop and "image" in files:
        files["last_image"] = files["image"]
    return dataclasses.replace(spec, **files)  # type: ignore[arg-type]


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
    prepared = request.prepared_path if task.takes_prepared else None
    readers = {"audio": inputs.audio, "driving_video": inputs.video, "soundtrack": inputs.audio}
    for field, is_taken in _taken(request, task).items():
        source = request.source(field)
        if source and is_taken:
            label = task.film if field == "driving_video" else field.replace("_", " ")
            read = readers.get(field, inputs.image)
            files[_NAMES.get(field, field)] = await read(source, folder, field, label=label)
        elif source:
            sent = request.spelled(f"{field}_{source.kind}").removesuffix(f"_{source.kind}")
            notes.append(f"{sent} was ignored: {task.name} does not use it here.")
    if prepared:
        files["prepared_dir"] = inputs.directory(prepared, label="prepared folder", field="prepared_path")
    if not spec.size_given:
        files |= await _sized(files, task, spec.size.area, request.resolution or DEFAULT_AREA, notes)
    if request.loop:
        files["last_image"] = files["image"]
    return PreparedSpec(dataclasses.replace(spec, **files), tuple(notes))


async def _sized(files: Mapping[str, Any], task: Task, area: int, named: str, notes: list[str]) -> dict[str, Any]:
    """Return the size that the picture gives, or else the video, and the picture that may have been cropped to it."""
    multiple = task.size_multiple
    if "image" in files:
        size, picture = await sized_by_picture(files["image"], area=area, multiple=multiple, notes=notes, named=named)
        return {"size": size, "image": picture}
    if "driving_video" in files:
        film = await probe(files["driving_video"])
        subject = Subject("driving_video", task.film, "video", film.width, film.height)
        return {"size": size_in_shape(subject, area=area, multiple=multiple, notes=notes, named=named)}
    return {}
