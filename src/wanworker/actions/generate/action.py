"""`generate`: make a video from a prompt, a picture, a sound or a driving video, on any engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wanworker.actions._video_answer import Wanted, finished_answer
from wanworker.actions.base import Action, Context
from wanworker.actions.generate.order import generate_order, job_request
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.jobs.model import check_request_id

_IMPLIED_BY = ("prompt", "reference_image_url", "reference_image_base64", "reference_image_path", "image_url",
               "image_base64", "image_path")  # fmt: skip


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Render what *fields* ask for and return the documented answer. Raises WorkerError."""
    request, warnings = parse(GenerateRequest, fields)
    if request.negative_prompt and request.sample_guide_scale is not None and request.sample_guide_scale <= 1:
        warnings.append("negative_prompt has no effect at sample_guide_scale <= 1, where no guidance is computed.")
    call, settings = context.call, context.settings
    wanted = Wanted(request.return_video, request.thumbnail, request.upload_urls(settings.allow_hosts))
    request_id = check_request_id(request.request_id) if request.request_id else call.request_id
    order = generate_order(
        request,
        job_request(request, request_id=request_id, action=ACTION.name, runpod_id=call.runpod_id),
        inputs=context.inputs,
        warnings=warnings,
        engine=settings.engine,
        timeout_s=settings.job_timeout_s,
    )
    job = await context.renderer.render(order, call.report)
    return await finished_answer(job, context, wanted=wanted, extra=warnings)


ACTION = Action(
    "generate",
    run,
    aliases=("request", "create"),
    implied_by=lambda fields: any(fields.get(name) for name in _IMPLIED_BY),
)
