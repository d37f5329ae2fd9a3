"""Show a job as clients of this wire read it: the video object. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from wanworker.jobs.model import Job, JobStatus

Word = Literal["queued", "in_progress", "completed", "failed"]

_WORDS: Mapping[JobStatus, Word] = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "in_progress",
    JobStatus.COMPLETED: "completed",
}

#: Where nothing is known of a length or a size before the video is there.
_UNKNOWN = "auto"


class VideoError(BaseModel):
    """Say why a video failed."""

    code: str = Field(description="A stable name of the failure.")
    message: str = Field(description="Why it failed, and what to do about it.")


class VideoObject(BaseModel):
    """Say where a video is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"id": "0b0f9c9e5a1d4d1e8f5b2a7c3d4e5f60", "object": "video", "status": "queued", "progress": 0}
        }
    )

    id: str = Field(description="The job's id, which all other routes take too.")
    object: Literal["video"] = "video"
    status: Word
    progress: int = Field(ge=0, le=100, description="Percent; never falls.")
    created_at: int = Field(description="Unix seconds.")
    completed_at: int | None = None
    expires_at: int | None = Field(default=None, description="When the file will be removed, if it will.")
    model: str = Field(description="What renders: as it was asked for, then by its own name.")
    seconds: str = Field(description="The length as text: of the request, then of the file.")
    size: str = Field(description="`1280x720`: of the request, then of the file.")
    prompt: str | None = None
    seed: int | None = None
    error: VideoError | None = None
    warnings: list[str] = Field(description="What was changed or ignored.")


class VideoList(BaseModel):
    """Hold a page of videos."""

    object: Literal["list"] = "list"
    data: list[VideoObject]
    first_id: str | None
    last_id: str | None = Field(description="The next page begins `after` it.")
    has_more: bool


class VideoDeleted(BaseModel):
    """Describe a video that was deleted."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


def video_of(job: Job, *, live_percent: float = 0.0, is_rendering: bool = False, ttl_s: float = 0.0) -> VideoObject:
    """
    Return *job* as a video. *live_percent* and *is_rendering* are newer than its record, if this process renders it.

    A file that is swept is kept for *ttl_s* seconds; 0 means for ever.
    """
    is_done = job.status is JobStatus.COMPLETED
    asked = job.asked or {}
    error = job.error
    return VideoObject(
        id=job.request_id,
        status="in_progress" if is_rendering else _WORDS.get(job.status, "failed"),
        progress=job.percent(live_percent),
        created_at=int(job.created_at),
        completed_at=None if job.completed_at is None else int(job.completed_at),
        expires_at=int(job.completed_at + ttl_s) if is_done and ttl_s and job.completed_at is not None else None,
        model=job.model or asked.get("model") or job.action,
        seconds=_seconds(job) or asked.get("seconds") or _UNKNOWN,
        size=_size(job) or asked.get("size") or _UNKNOWN,
        prompt=job.prompt or None,
        seed=job.seed,
        error=None if error is None else VideoError(code=error.code, message=f"{error.text} {error.hint}".strip()),
        warnings=list(job.warnings),
    )


def _seconds(job: Job) -> str | None:
    found = next((output.duration_s for output in job.outputs if output.duration_s), None)
    return None if found is None else f"{found:.2f}".rstrip("0").rstrip(".")


def _size(job: Job) -> str | None:
    return next((f"{output.width}x{output.height}" for output in job.outputs if output.width and output.height), None)


def page_of(videos: list[VideoObject], *, has_more: bool) -> VideoList:
    """Return a page of *videos*."""
    ends = (videos[0].id, videos[-1].id) if videos else (None, None)
    return VideoList(data=videos, first_id=ends[0], last_id=ends[1], has_more=has_more)
