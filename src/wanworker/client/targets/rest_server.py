"""Speak to a REST server of ours (FastWAN contract): /generate, /status, /jobs, /download, DELETE /jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wanworker.client._answers import JobPage, JobStatus, OnWarning, OutputFile, State
from wanworker.client.errors import JobCancelled, ResultLost, TargetFailed, UnknownJob
from wanworker.client.request import VideoFields, rest_body
from wanworker.client.targets.base import complaint, failure_of, progress_of
from wanworker.client.targets.http import Remote


class Server:
    """Speak the FastWAN API through *remote*."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def body(self, prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields) -> dict[str, Any]:
        """Return the fields of /generate; see Target."""
        return rest_body(prompt, job, fields)

    async def start(self, body: Mapping[str, Any], on_warning: OnWarning | None = None) -> str:
        """POST the fields; see Target."""
        return await self._remote.post_job("generate", body, id_field="job_id", on_warning=on_warning)

    async def plan(
        self, prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields, price_per_hour: float | None
    ) -> JobStatus:
        """POST the fields of /generate to /plan, as those of that route; see Target."""
        price = {} if price_per_hour is None else {"price_per_hour": price_per_hour}
        body = {**rest_body(prompt, job, fields), **price}
        return JobStatus("", "completed", answer=(await self._remote.post("plan?for=generate", body)).body)

    async def status(self, job_id: str) -> JobStatus:
        """Ask for the status; see Target."""
        reply = await self._remote.ask("GET", f"status/{_quoted(job_id)}", may_miss=True)
        if reply.status == 404 or not isinstance(reply.body, Mapping):
            raise UnknownJob(f"The server does not know the job {job_id}, or no longer.", job_id=job_id)
        return _status(job_id, reply.body)

    async def cancel(self, job_id: str) -> State:
        """Delete the job if it has not ended, which stops it; see Target. A finished job keeps its video."""
        status = await self.status(job_id)
        if status.is_over:
            return status.state
        await self._remote.ask("DELETE", f"jobs/{_quoted(job_id)}", may_miss=True)
        return "cancelled"

    async def page(self, limit: int, cursor: str | None) -> JobPage:
        """Ask for a page of /jobs; see Target."""
        more = f"&cursor={_quoted(cursor)}" if cursor else ""
        body = (await self._remote.ask("GET", f"jobs?limit={limit}{more}")).body
        listed = body.get("jobs") if isinstance(body, Mapping) else None
        if not isinstance(listed, list):
            raise TargetFailed(f"{self._remote.base} answers /jobs without a list of jobs.")
        jobs = tuple(
            _status(str(job["job_id"]), job) for job in listed if isinstance(job, Mapping) and job.get("job_id")
        )
        total, after = body.get("total"), body.get("next_cursor")
        return JobPage(jobs, total if isinstance(total, int) else len(jobs), str(after) if after else None)

    async def save(self, file: OutputFile, part: Path) -> None:
        """Download the video and check its size; see Target."""
        await self._remote.download(file.url, part)
        if file.size_bytes and part.stat().st_size != file.size_bytes:
            text = f"{file.name} has {part.stat().st_size:,} bytes here and {file.size_bytes:,} on the server."
            raise ResultLost(text, code="DOWNLOAD_FAILED")


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _status(job_id: str, answer: Mapping[str, Any]) -> JobStatus:
    """Read the JSON of /status. Pure."""
    word = answer.get("status")
    if word == "queued":
        position = answer.get("queue_position")
        place = position if isinstance(position, int) else None
        stage = f"in queue, number {place}" if place else "in queue"
        return JobStatus(job_id, "queued", stage, queue_position=place, answer=answer)
    if word == "completed":
        return _completed(job_id, answer)
    if word == "error":
        return _failed(job_id, answer)
    told = {name: value for name, value in answer.items() if value is not None}
    return JobStatus(job_id, "running", answer=answer, **progress_of({"stage": word, **told}))


def _completed(job_id: str, answer: Mapping[str, Any]) -> JobStatus:
    """Return the status with its videos, or with an error if the server no longer has any."""
    files = _files(job_id, answer)
    if not files:
        text = f"The video of {job_id} is no longer on the server: it was downloaded or has expired."
        error = ResultLost(text, code="EXPIRED", job_id=job_id)
        return JobStatus(job_id, "completed", "completed", 100.0, answer=answer, error=error)
    pictures = tuple(
        OutputFile(
            str(Path(file.name).with_suffix(".jpg")),
            url=f"thumbnail/{file.url.removeprefix('download/')}",
            of=file.name,
        )
        for file in files
    )
    return JobStatus(job_id, "completed", "completed", 100.0, answer=answer, files=files, thumbnails=pictures)


def _files(job_id: str, answer: Mapping[str, Any]) -> tuple[OutputFile, ...]:
    """Return what can still be downloaded. Of several outputs, some may have failed, and some may be gone."""
    # The documented path is used, not `download_url`: the key must not go to an address from an answer.
    place, results = f"download/{_quoted(job_id)}", answer.get("results")
    if not isinstance(results, list):
        alone = OutputFile(f"{job_id}.mp4", url=place, size_bytes=_size_bytes(answer))
        return (alone,) if answer.get("video_ready") else ()
    made = [each for each in results if isinstance(each, Mapping) and isinstance(each.get("output"), int)]
    return tuple(
        OutputFile(
            f"{job_id}.mp4" if each["output"] == 1 else f"{job_id}.{each['output']}.mp4",
            url=f"{place}?output={each['output']}",
            size_bytes=_size_bytes(each),
        )
        for each in made
        if each.get("video_ready")
    )


def _size_bytes(answer: Mapping[str, Any]) -> int:
    video = answer.get("video")
    size = video.get("size_bytes") if isinstance(video, Mapping) else 0
    return size if isinstance(size, int) else 0


def _failed(job_id: str, answer: Mapping[str, Any]) -> JobStatus:
    text, hint, code = complaint(answer)
    if code == "CANCELLED":
        cancelled = JobCancelled(text or "The job was cancelled.", hint=hint, job_id=job_id)
        return JobStatus(job_id, "cancelled", "cancelled", answer=answer, error=cancelled)
    text = text or "The job failed, and the server does not say why."
    return JobStatus(job_id, "failed", "failed", answer=answer, error=failure_of(text, hint, code, job_id))
