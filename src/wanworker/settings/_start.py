"""The settings of the worker's start; part of Settings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

#: The tasks of spec.TASKS, which settings cannot see, and the server that serves them all.
Preloaded = Literal["t2v-A14B", "i2v-A14B", "ti2v-5B", "s2v-14B", "animate-14B", "comfyui"]


def comma_separated(value: Any) -> list[str]:
    """Return the parts of a text, or of a list, without blanks and empty ones."""
    parts = value.split(",") if isinstance(value, str) else [str(part) for part in value]
    return [part.strip() for part in parts if part.strip()]


class StartSettings(BaseModel):
    """What is loaded in the background while the worker takes its first job."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    preload: tuple[Preloaded, ...] = Field(
        default=(),
        validation_alias="WAN_PRELOAD",
        description="What is loaded in the background at the start: the engines of the named tasks, and `comfyui`, the "
        "server (comma-separated).",
    )

    @field_validator("preload", mode="before")
    @classmethod
    def _split_preload(cls, value: Any) -> Any:
        return tuple(dict.fromkeys(comma_separated(value)))
