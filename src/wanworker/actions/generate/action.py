"""`generate`: make a video from a prompt, a picture, a sound or a driving video, on any engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wanworker.actions._video_answer import Wanted, finished_answer
from wanworker.actions.base import Action, Context
from wanworker.actions.generate.order import read_order
from wanworker.actions.generate.request import GenerateRequest

_IMPLIED_BY = ("prompt", "reference_image_url", "reference_image_base64", "reference_image_path", "image_url",
               "image_base64", "image_path")  # fmt: skip


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Render what *fields* ask for and return the documented answer. Raises WorkerError."""
    request, order, warnings = read_order(GenerateRequest, fields, context, action=ACTION.name)
    urls = request.upload_urls(context.settings.allow_hosts)
    wanted = Wanted(request.return_video, request.thumbnail, urls)
    job = await context.renderer.render(order, context.call.report)
    return await finished_answer(job, context, wanted=wanted, extra=warnings)


ACTION = Action(
    "generate",
    run,
    GenerateRequest,
    aliases=("request", "create"),
    implied_by=lambda fields: any(fields.get(name) for name in _IMPLIED_BY),
)
