"""Define a job as /status shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wanworker.jobs.model import Job, JobStatus
from wanworker.jobs.runner import ActiveJob

#: The documented status of each of ours.
Word = Literal["queued", "processing", "completed", "error"]

WORDS: Mapping[JobStatus, Word] = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "processing",
    JobStatus.COMPLETED: "completed",
    JobStatus.ERROR: "error",
    JobStatus.TIMEOUT: "error",
    JobStatus.NO_OUTPUT: "error",
    JobStatus.CANCELLED: "error",
}


class Video(BaseModel):
    """Hold the facts of a finished video."""

    width: int | None
    height: int | None
    fps: float | None
    frames: int | None
    duration_s: float | None
    size_bytes: int
    codec: str | None


class Status(BaseModel):
    """Say where a job is. The four documented fields come first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "completed",
                "progress": 100,
                "video_ready": True,
                "download_url": "/download/0b0f9c9e5a1d4d1e8f5b2a7c3d4e5f60",
            }
        }
    )

    status: Word
    progress: int = Field(ge=0, le=100, description="Percent; never falls.")
    video_ready: bool = Field(description="Whether /download has the video.")
    download_url: str | None = Field(default=None, description="Only while the video is there.")
    error: str | None = Field(default=None, description="Why the job failed.")
    code: str | None = Field(default=None, description="A stable name of the failure.")
    hint: str | None = Field(default=None, description="What to do about it.")
    job_id: str
    stage: str | None = Field(default=None, description="What the engine does now.")
    step: int | None = None
    steps: int | None = None
    detail: str | None = Field(default=None, description="How far a stage without steps is: `12.3 of 35.6 GB`.")
    eta_s: float | None = Field(default=None, description="Seconds left, once there is something to go by.")
    queue_position: int | None = Field(default=None, description="1: next; only while the job waits.")
    prompt: str
    created_at: float = Field(description="Unix seconds.")
    started_at: float | None = None
    completed_at: float | None = None
    warnings: list[str]
    seed: int | None = None
    engine: str | None = None
    model: str | None = None
    video: Video | None = None
    timings: dict[str, float] = Field(description="Seconds by stage.")
    placement: dict[str, Any] | None = Field(default=None, description="Where the weights were; see generate's answer.")
    preview_url: str | None = Field(default=None, description="A picture of the render so far, where there is one.")


def status_of(
    job: Job, *, live: ActiveJob | None = None, position: int | None = None, has_video: bool
) -> dict[str, Any]:
    """
    Return the JSON of *job*. *live* is its newer state if it waits or renders in this process.

    Fields that do not apply are left out, so that a client may ask `"error" in status`.
    """
    rendering = live is not None and live.is_rendering
    word: Word = "processing" if rendering else WORDS[job.status]
    shown: dict[str, Any] = {"status": word, "progress": _percent(job, live), "video_ready": has_video}
    if has_video:
        shown["download_url"] = f"/download/{job.request_id}"
    if job.error is not None:
        shown |= {"error": job.error.text, "code": job.error.code, "hint": job.error.hint}
    if word == "processing":
        shown |= _activity(job, live)
    return {
        name: value
        for name, value in {
            **shown,
            "job_id": job.request_id,
            "queue_position": position if word == "queued" else None,
            "prompt": job.prompt,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "completed_at": job.completed_at,
            "warnings": list(job.warnings),
            "seed": job.seed,
            "engine": job.engine,
            "model": job.model,
            "video": _video(job),
            "timings": dict(job.timings),
            "placement": job.placement,
            "preview_url": f"/preview/{job.request_id}" if rendering and live and live.preview else None,
        }.items()
        if value is not None
    }


def _percent(job: Job, live: ActiveJob | None) -> int:
    """Return whole percents, as documented, rounded down."""
    if job.status is JobStatus.COMPLETED:
        return 100
    recorded = job.progress.get("progress")
    return int(max(float(recorded) if isinstance(recorded, int | float) else 0.0, live.percent if live else 0.0))


def _activity(job: Job, live: ActiveJob | None) -> dict[str, Any]:
    now = live.progress.to_json() if live is not None and live.progress is not None else job.progress
    return {name: now.get(name) for name in ("stage", "step", "steps", "detail", "eta_s")}


def _video(job: Job) -> dict[str, Any] | None:
    if not job.outputs:
        return None
    output = job.outputs[0]
    return {name: getattr(output, name) for name in Video.model_fields}
