"""`comfyui_i2v`: make a video from a picture with our image-to-video graph on ComfyUI, or with a named engine."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wanworker.actions._video_answer import Wanted, finished_answer
from wanworker.actions.base import Action, Context
from wanworker.actions.comfyui._answer import documented_timeout
from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.request.fields import parse
from wanworker.actions.request.picture import sized_by_picture
from wanworker.actions.request.shape import DEFAULT_AREA
from wanworker.jobs.model import check_request_id, hashes
from wanworker.jobs.output_paths import SUFFIXES
from wanworker.jobs.store.job_store import JobRequest
from wanworker.media.inputs.reader import InputReader, Source
from wanworker.planning.fitting import PreparedSpec
from wanworker.render import RenderRequest
from wanworker.spec import RenderSpec


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Render the video and return the documented answer. Raises WorkerError, for example ModelNotFound."""
    request, warnings = parse(I2vRequest, fields)
    image = request.checked_image()
    spec = request.to_spec(warnings)
    call = context.call
    upload_urls = request.upload_urls(context.settings.allow_hosts)
    wanted = Wanted(request.return_video, request.thumbnail, upload_urls)
    hashed, former = hashes(request.identity(), request.former_identity())
    to_render = RenderRequest(
        job=JobRequest(
            request_id=check_request_id(request.request_id) if request.request_id else call.request_id,
            runpod_id=call.runpod_id,
            action=ACTION.name,
            spec_hash=hashed,
            former_hash=former,
            prompt=request.prompt,
        ),
        engine=request.engine,
        timeout_s=request.timeout,
        prepare=functools.partial(_prepare, request, spec, image, context, tuple(warnings)),
        suffix=SUFFIXES[ACTION.name],
        num_outputs=request.num_outputs,
        draft=_draft(request, spec),
    )
    with documented_timeout():
        job = await context.renderer.render(to_render, call.report)
    answer = await finished_answer(job, context, wanted=wanted, extra=warnings)
    return answer | {"status": "completed"}


def _draft(request: I2vRequest, spec: RenderSpec) -> RenderSpec:
    """Return *spec* with names in place of the pictures that will be read: which are there decides the engine, too."""
    has_end = request.loop or request.source("end_image") is not None
    return dataclasses.replace(spec, image=Path("reference_image"), last_image=Path("end_image") if has_end else None)


async def _prepare(
    request: I2vRequest, spec: RenderSpec, image: Source, context: Context, warnings: tuple[str, ...], folder: Path
) -> PreparedSpec:
    """Read the files, then check that the server and the models are there: the documented order of checks."""
    end_image = request.source("end_image")
    inputs: InputReader = context.inputs
    files: dict[str, Any] = {"image": await inputs.image(image, folder, "reference_image", label="reference image")}
    if end_image is not None:
        files["last_image"] = await inputs.image(end_image, folder, "end_image", label="end image")
    if (sound := request.source("soundtrack")) is not None:
        files["soundtrack"] = await inputs.audio(sound, folder, "soundtrack", label="soundtrack")
    notes = list(warnings)
    if not spec.size_given:
        files["size"], files["image"] = await sized_by_picture(
            files["image"],
            area=spec.size.area,
            multiple=16,
            notes=notes,
            named=request.resolution or DEFAULT_AREA,
        )
    if request.loop:
        files["last_image"] = files["image"]
    complete = dataclasses.replace(spec, **files)
    if request.engine == "comfyui":
        await context.comfyui().check_models(complete, context.call.report)
    return PreparedSpec(complete, tuple(notes))


ACTION = Action("comfyui_i2v", run, I2vRequest)
