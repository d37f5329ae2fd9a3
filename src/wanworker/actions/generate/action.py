"""`generate`: make a video from a prompt, a picture, a sound or a driving video, on any engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wanworker.actions._video_answer import Wanted, finished_answer
from wanworker.actions.base import Action, Context
from wanworker.actions.generate.render_request import read_request
from wanworker.actions.generate.request import GenerateRequest

_FILES = ("reference_image", "audio", "driving_video")
_IMPLIED_BY = frozenset(
    {"prompt", "task", *(f"{name}_{kind}" for name in _FILES for kind in ("url", "base64", "path"))}
)


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Render what *fields* ask for and return the documented answer. Raises WorkerError."""
    request, to_render, warnings = read_request(GenerateRequest, fields, context, action=ACTION.name)
    urls = request.upload_urls(context.settings.allow_hosts)
    wanted = Wanted(request.return_video, request.thumbnail, urls)
    job = await context.renderer.render(to_render, context.call.report)
    return await finished_answer(job, context, wanted=wanted, extra=warnings)


def _is_implied_by(fields: Mapping[str, Any]) -> bool:
    """Say whether *fields* have what only a video is made of, by any spelling."""
    aliases = GenerateRequest.aliases()
    return any(value and aliases.get(name, name) in _IMPLIED_BY for name, value in fields.items())


ACTION = Action(
    "generate",
    run,
    GenerateRequest,
    aliases=("request", "create"),
    implied_by=_is_implied_by,
)
