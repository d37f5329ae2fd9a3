"""Define a job as /status shows it. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wanworker.jobs.model import Job, JobStatus, Output
from wanworker.jobs.runner import ActiveJob
from wanworker.jobs.several_outputs import number_of

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


class Result(BaseModel):
    """Describe one of several outputs: its video, or why there is none."""

    output: int = Field(description="Which one it is, from 1; `/download` takes it as `?output=`.")
    seed: int
    video_ready: bool = False
    download_url: str | None = None
    thumbnail_url: str | None = None
    video: Video | None = None
    error: str | None = None
    code: str | None = None
    hint: str | None = None


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
    queue_position: int | None = Field(default=None, description="The place in the queue while it waits; 1 is next.")
    prompt: str
    created_at: float = Field(description="Unix seconds.")
    started_at: float | None = None
    completed_at: float | None = None
    warnings: list[str]
    seed: int | None = None
    engine: str | None = None
    model: str | None = None
    video: Video | None = None
    results: list[Result] | None = Field(default=None, description="All outputs, if several were asked for.")
    delivery: dict[str, Any] | None = Field(default=None, description="How `output_upload_urls` got the video.")
    thumbnail_url: str | None = Field(default=None, description="The first frame, only while the video is there.")
    timings: dict[str, float] = Field(description="Seconds by stage.")
    placement: dict[str, Any] | None = Field(default=None, description="Where the weights were; see generate's answer.")
    preview_url: str | None = Field(default=None, description="A picture of the render so far, where there is one.")


def status_of(
    job: Job, *, live: ActiveJob | None = None, position: int | None = None, ready: Container[str]
) -> dict[str, Any]:
    """
    Return the JSON of *job*. *live* is its newer state if it waits or renders in this process. *ready* has the paths of
    the outputs that can be downloaded.

    Fields that do not apply are left out, so that a client may ask `"error" in status`.
    """
    rendering = live is not None and live.is_rendering
    word: Word = "processing" if rendering else WORDS[job.status]
    has_video = job.status is JobStatus.COMPLETED and bool(job.outputs) and job.outputs[0].path in ready
    percent = job.percent(live.percent if live else 0.0)
    shown: dict[str, Any] = {"status": word, "progress": percent, "video_ready": has_video}
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
            "results": _results(job, ready),
            "delivery": job.delivery,
            "thumbnail_url": f"/thumbnail/{job.request_id}" if has_video else None,
            "timings": dict(job.timings),
            "placement": job.placement,
            "preview_url": f"/preview/{job.request_id}" if rendering and live and live.preview else None,
        }.items()
        if value is not None
    }


def _activity(job: Job, live: ActiveJob | None) -> dict[str, Any]:
    now = live.progress.to_json() if live is not None and live.progress is not None else job.progress
    return {name: now.get(name) for name in ("stage", "step", "steps", "detail", "eta_s")}


def _video(job: Job) -> dict[str, Any] | None:
    return _facts(job.outputs[0]) if job.outputs and job.status is JobStatus.COMPLETED else None


def _facts(output: Output) -> dict[str, Any]:
    return {name: getattr(output, name) for name in Video.model_fields}


def _results(job: Job, ready: Container[str]) -> list[dict[str, Any]] | None:
    """Return the outputs in the order of their seeds, None where one was asked for or they are not made yet."""
    made = [output for output in job.outputs if output.seed is not None]
    if job.status is not JobStatus.COMPLETED or not made:
        return None
    first = job.seed or 0
    shown = [_made(job, output, number_of(output.seed or 0, first), output.path in ready) for output in made]
    shown += [
        {
            "output": number_of(lost.seed, first),
            "seed": lost.seed,
            "video_ready": False,
            "error": lost.error.text,
            "code": lost.error.code,
            "hint": lost.error.hint,
        }
        for lost in job.failed_outputs
    ]
    return sorted(shown, key=lambda result: result["output"])


def _made(job: Job, output: Output, number: int, is_ready: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"output": number, "seed": output.seed, "video_ready": is_ready, "video": _facts(output)}
    if is_ready:
        place = f"{job.request_id}?output={number}"
        shown |= {"download_url": f"/download/{place}", "thumbnail_url": f"/thumbnail/{place}"}
    return shown
