"""`plan`: say what `generate` would make of the same fields, how long it takes and what it costs, without rendering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from wanworker.actions.base import Action, Context
from wanworker.actions.generate.render_request import read_request
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import Price
from wanworker.engines.base import Forecast
from wanworker.planning.like_jobs import Expected

_HOUR_S = 3600


class PlanRequest(GenerateRequest):
    """Hold the fields of `plan`: those of `generate`, and the price of an hour."""

    price_per_hour: Price | None = Field(
        default=None, description="What an hour of this worker costs; `cost` is in the same currency."
    )


async def run(fields: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Return what would be rendered. Raises WorkerError where the job would be refused."""
    request, to_render, warnings = read_request(PlanRequest, fields, context, action="generate")
    planned = await context.renderer.plan(to_render)
    forecast = planned.forecast
    return {
        "engine": planned.engine,
        "model": forecast.model,
        "size": str(forecast.size) if forecast.size else None,
        "video": _video(forecast),
        "seed": None if request.seed == -1 else request.seed,
        "num_outputs": request.num_outputs,
        "recipe": forecast.sampling.to_json() if forecast.sampling else None,
        "placement": dict(forecast.placement) if forecast.placement else None,
        "warnings": [*planned.warnings, *(line for line in warnings if line not in planned.warnings)],
        "unknown": list(forecast.unknown),
        **_expected(planned.expected, request.num_outputs, request.price_per_hour),
    }


def _video(forecast: Forecast) -> dict[str, Any]:
    frames, fps = forecast.frames, forecast.fps
    return {
        "width": forecast.size.width if forecast.size else None,
        "height": forecast.size.height if forecast.size else None,
        "fps": fps,
        "frames": frames,
        "duration_s": None if frames is None or fps is None else round(frames / fps, 3),
    }


def _expected(expected: Expected, outputs: int, price_per_hour: float | None) -> dict[str, Any]:
    """Return the seconds of all outputs together: what is loaded for the first is there for the others."""
    each_s = expected.seconds if expected.warm_s is None else expected.warm_s
    seconds = _sum(expected.seconds, each_s, outputs)
    cost = None if seconds is None or price_per_hour is None else round(seconds * price_per_hour / _HOUR_S, 4)
    return {
        "seconds": seconds,
        "seconds_warm": _sum(expected.warm_s, each_s, outputs),
        "seconds_cold": _sum(expected.cold_s, each_s, outputs),
        "like_jobs": expected.like_jobs,
        "cost": cost,
    }


def _sum(first_s: float | None, each_s: float | None, outputs: int) -> float | None:
    return None if first_s is None or each_s is None else round(first_s + each_s * (outputs - 1), 1)


ACTION = Action("plan", run, PlanRequest)
