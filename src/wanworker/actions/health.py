"""`health`: report what this worker can do, from facts that are already known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import Field

import wanworker
from wanworker.actions.base import Action, Context
from wanworker.actions.request.fields import Request, parse
from wanworker.engines.machine.facts import Kernel


class HealthRequest(Request):
    """The fields of `health`."""

    health: bool = Field(default=True, description='The documented short form: `{"health": true}`.')
    refresh: bool = Field(default=False, description="Probe the machine again; do not answer from kept facts.")


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Return the documented keys and, for each engine, which tasks it can render or why not. Ages are in seconds."""
    request, warnings = parse(HealthRequest, fields)
    facts, age_s = await context.facts.current(refresh=request.refresh)
    settings = context.settings
    answer = {
        "ok": facts.can_render_real or settings.mini,
        "wan_home": str(settings.wan_home),
        "ckpt_dir": str(settings.ckpt_dir),
        "comfyui_url": settings.comfyui_base_url,
        "comfyui_status": facts.comfyui_status,
        "version": wanworker.__version__,
        "mini_allowed": settings.mini,
        "engines": {name: dict(tasks) for name, tasks in facts.engines.items()},
        "placements": {task: dict(plan) for task, plan in facts.placements.items()},
        "gpus": [dataclasses.asdict(gpu) for gpu in facts.gpus],
        "cards": [view.to_json(facts.cards.get(view.card.number)) for view in context.registry.cards.views()],
        "kernels": [_shown(kernel) for kernel in facts.kernels],
        "damaged": [{"path": str(file.path), "flaw": file.flaw} for file in facts.damaged],
        "disk": [{"path": str(place), "free_bytes": free} for place, free in facts.free_bytes.items()],
        "preload": [preload.to_json() for preload in facts.preloads],
        "facts_age_s": round(age_s, 1),
    }
    return answer | ({"warnings": warnings} if warnings else {})


def _shown(kernel: Kernel) -> dict[str, Any]:
    return {
        "python": kernel.python,
        "engines": list(kernel.engines),
        "ran": kernel.run.ran,
        "text": kernel.run.text,
        "age_s": round(kernel.age_s, 1),
    }


ACTION = Action("health", run, implied_by=lambda fields: fields.get("health") is True)
