"""Submit jobs to a REST server of ours (FastWAN contract): /generate, /status, /download, DELETE /jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from wanworker.cli._base import CommandFailed
from wanworker.cli.remote.http import Remote
from wanworker.cli.remote.target import JobSnapshot, Piece, complaint, progress_of

#: How often a download is tried. A transfer that breaks off leaves the video on the server.
_DOWNLOADS = 3


class Server:
    """Speak the FastWAN API through *remote*."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    async def start(self, body: Mapping[str, Any]) -> str:
        """POST the fields; see Target."""
        return await self._remote.post_job("generate", body, id_field="job_id")

    async def look(self, job_id: str) -> JobSnapshot:
        """Ask for the status; see Target."""
        reply = await self._remote.ask("GET", f"status/{job_id}", may_miss=True)
        if reply.status == 404 or not isinstance(reply.body, Mapping):
            raise CommandFailed(f"The server no longer knows the job {job_id}.", code="UNKNOWN_JOB", request_id=job_id)
        answer = reply.body
        status = answer.get("status")
        if status == "queued":
            return JobSnapshot({"stage": _queued(answer.get("queue_position"))})
        if status == "completed":
            return _completed(job_id, answer)
        if status == "error":
            text, hint, code = complaint(answer)
            text = text or "The job failed, and the server does not say why."
            raise CommandFailed(text, hint=hint, code=code, request_id=job_id)
        return JobSnapshot(progress_of({"stage": status, **_told(answer)}))

    async def cancel(self, job_id: str) -> None:
        """Delete the job, which stops it; see Target."""
        await self._remote.ask("DELETE", f"jobs/{job_id}", may_miss=True)

    async def save(self, piece: Piece, part: Path) -> None:
        """Download the video; see Target."""
        for attempt in range(1, _DOWNLOADS + 1):
            try:
                await self._remote.download(piece.url, part)
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == _DOWNLOADS:
                    text = f"The video could not be downloaded in {_DOWNLOADS} attempts ({type(error).__name__})."
                    raise CommandFailed(text, code="DOWNLOAD_FAILED") from error
            else:
                return


def _completed(job_id: str, answer: Mapping[str, Any]) -> JobSnapshot:
    """Return the answer with its video. Raises CommandFailed if the server no longer has it."""
    if not answer.get("video_ready"):
        text = f"The video of {job_id} is no longer on the server: it was downloaded or has expired."
        raise CommandFailed(text, code="EXPIRED", request_id=job_id)
    # The documented path is used, not `download_url`: the key must not go to an address from an answer.
    pieces = [Piece(f"{job_id}.mp4", url=f"download/{job_id}")]
    results = answer.get("results")
    made = [each for each in results if isinstance(each, Mapping) and each.get("video_ready")] if results else []
    for each in made[1:]:
        number = int(each["output"])
        pieces.append(Piece(f"{job_id}.{number}.mp4", url=f"download/{job_id}?output={number}"))
    return JobSnapshot(is_over=True, answer=answer, pieces=tuple(pieces))


def _told(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if value is not None}


def _queued(position: object) -> str:
    return f"in queue, number {position}" if isinstance(position, int) else "in queue"
