"""Define the settings of the engine that renders on RunPod's fleet, a part of Settings."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

_WEIGHTED = re.compile(r"(?P<name>.+?)(?::(?P<weight>\d{1,4}(?:\.\d+)?))?")
_ADDRESS = re.compile(r"https?://[^/\s]+/\S+")

#: Where RunPod's serverless workers have their network volume.
_THERE = PurePosixPath("/runpod-volume")


class WeightedEndpoint(NamedTuple):
    """Name an endpoint by its id or address, and say which share of the jobs it gets."""

    name: str
    weight: float = 1.0


class SharedVolume(NamedTuple):
    """Say where one network volume is: in this machine's file system, and in that of the endpoints' workers."""

    here: Path
    there: PurePosixPath = _THERE


class RunPodSettings(BaseModel):
    """Define the endpoints that jobs are sent to, how many at once, and how files get there and back."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    runpod_endpoints: tuple[WeightedEndpoint, ...] = Field(
        default=(),
        validation_alias="WAN_RUNPOD_ENDPOINTS",
        description="The endpoints of the `runpod` engine: `id` or `id:weight`, comma-separated. An endpoint of weight "
        "2 gets twice the jobs of one of weight 1.",
    )
    runpod_concurrency: int = Field(
        default=20,
        ge=1,
        le=1000,
        validation_alias="WAN_RUNPOD_CONCURRENCY",
        description="How many jobs this server may have at all endpoints together, waiting there or rendering. "
        "RunPod starts workers by that number.",
    )
    runpod_queue_s: float = Field(
        default=600,
        ge=1,
        le=86_400,
        validation_alias="WAN_RUNPOD_QUEUE_S",
        description="How many seconds a job may wait in an endpoint's queue, cold start included, before it is sent to "
        "another one.",
    )
    runpod_volume: SharedVolume | None = Field(
        default=None,
        validation_alias="WAN_RUNPOD_VOLUME",
        description="Where this machine has the endpoints' network volume, such as `/workspace`. If their workers "
        "have it elsewhere than at /runpod-volume, add that folder after a colon.",
    )

    @field_validator("runpod_endpoints", mode="before")
    @classmethod
    def _split_endpoints(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        endpoints = tuple(_endpoint(part.strip()) for part in value.split(",") if part.strip())
        names = [endpoint.name for endpoint in endpoints]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"names {twice} twice; a weight gives an endpoint more jobs, such as {twice}:2")
        return endpoints

    @field_validator("runpod_volume", mode="before")
    @classmethod
    def _split_volume(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        here, _, there = value.partition(":")
        volume = SharedVolume(Path(here), PurePosixPath(there or _THERE))
        if not volume.here.is_absolute() or not volume.there.is_absolute():
            raise ValueError("must be an absolute path, or two with a colon between them")
        return volume


def _endpoint(text: str) -> WeightedEndpoint:
    """Read `id`, `id:weight`, or the same with an address in place of the id. Raises ValueError."""
    match = _WEIGHTED.fullmatch(text)
    name, weight = (match["name"], float(match["weight"] or 1)) if match else ("", 0.0)
    is_id = name.isascii() and name.isalnum()
    if not (is_id or _ADDRESS.fullmatch(name)) or not weight:
        raise ValueError("must be ids of endpoints, each alone or with `:weight`, such as abc123def456:2")
    return WeightedEndpoint(name, weight)
