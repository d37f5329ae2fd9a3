"""`health`: report what this worker can do, from facts that are already known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

import wanworker
from wanworker.actions.base import Action, Context
from wanworker.actions.request.fields import Request, parse
from wanworker.engines.machine.facts import Facts, Kernel
from wanworker.models.hub.catalogue import preset_for


class HealthRequest(Request):
    """The fields of `health`."""

    health: bool = Field(default=True, description='The documented short form: `{"health": true}`.')
    refresh: bool = Field(default=False, description="Check the machine again instead of answering from stored facts.")


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
        "fetch": _commands(facts),
        "gpus": [_card(facts, number) for number in range(len(facts.gpus))],
        "cards": [view.to_json(facts.cards.get(view.card.number)) for view in context.registry.cards.views()],
        "kernels": [_shown(kernel) for kernel in facts.kernels],
        "damaged": [{"path": str(file.path), "flaw": file.flaw} for file in facts.damaged],
        "disk": [{"path": str(place), "free_bytes": free} for place, free in facts.free_bytes.items()],
        "preload": [preload.to_json() for preload in facts.preloads],
        "facts_age_s": round(age_s, 1),
    }
    return answer | ({"warnings": warnings} if warnings else {})


def _card(facts: Facts, number: int) -> dict[str, Any]:
    """Return a card, with what it did when it was looked at, if the driver told."""
    card = dataclasses.asdict(facts.gpus[number])
    return card | (dataclasses.asdict(facts.uses[number]) if number < len(facts.uses) else {})


def _commands(facts: Facts) -> dict[str, dict[str, str]]:
    """Return for each engine the command that fetches what it lacks for a task, where there is something to fetch."""
    presets = {
        engine: {task: preset_for(engine, task) for task, words in tasks.items() if words != "ready"}
        for engine, tasks in facts.engines.items()
    }
    return {
        engine: {task: f"wanworker fetch {preset.name}" for task, preset in found.items() if preset is not None}
        for engine, found in presets.items()
    }


def _shown(kernel: Kernel) -> dict[str, Any]:
    return {
        "python": kernel.python,
        "engines": list(kernel.engines),
        "ran": kernel.run.ran,
        "text": kernel.run.text,
        "age_s": round(kernel.age_s, 1),
    }


_AS_BOOLEAN = TypeAdapter(bool)


def _is_implied_by(fields: Mapping[str, Any]) -> bool:
    """Say whether `health` is true, as the field itself is read: `"true"` and 1 are, too."""
    try:
        return _AS_BOOLEAN.validate_python(fields.get("health"))
    except ValidationError:
        return False


ACTION = Action("health", run, HealthRequest, implied_by=_is_implied_by)
