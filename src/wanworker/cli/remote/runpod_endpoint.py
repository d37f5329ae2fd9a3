"""Submit jobs to a RunPod endpoint: /run, /status and /cancel, with the answer wrapped in `output`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yarl import URL

from wanworker.cli._base import CommandFailed, misused
from wanworker.cli.remote.http import Remote
from wanworker.cli.remote.target import JobSnapshot, Piece, complaint, progress_of

#: Where RunPod serves its endpoints.
RUNPOD = URL("https://api.runpod.ai/v2")

#: RunPod's limit on the body of /run (reference: "Operations").
MAX_BODY_BYTES = 10 * 1000**2

#: The largest file of an answer, more than RunPod's limits allow.
_MAX_PIECE_BYTES = 64 * 1000**2
_MAX_LINKED_BYTES = 16 * 1000**3
_LINK_TIMEOUT_S = 3600.0

_ASK_AGAIN = (
    "If the worker has a volume, the result is recorded there. To get it, put "
    '{{"action": "status", "request_id": "{job_id}"}} into a file and send the file with --input.'
)


class Endpoint:
    """Speak RunPod's API through *remote*. Links in answers may lead to *allow_hosts* even if these are private."""

    def __init__(self, remote: Remote, *, allow_hosts: Sequence[str] = ()) -> None:
        self._remote = remote
        self._allow_hosts = allow_hosts

    async def start(self, body: Mapping[str, Any]) -> str:
        """Send `{"input": ...}`; see Target."""
        size = len(json.dumps(body).encode())
        if size > MAX_BODY_BYTES:
            text = f"The job has {size / 1e6:.1f} MB; RunPod takes at most {MAX_BODY_BYTES / 1e6:.0f} MB."
            raise misused(text, hint="Upload the files to a server, and give their URLs.")
        return await self._remote.post_job("run", body, id_field="id")

    async def look(self, job_id: str) -> JobSnapshot:
        """Ask /status; see Target."""
        reply = await self._remote.ask("GET", f"status/{job_id}", may_miss=True)
        if reply.status == 404 or not isinstance(reply.body, Mapping):
            text = f"RunPod no longer knows the job {job_id}: results are kept for 30 minutes, jobs for their ttl."
            raise CommandFailed(text, code="EXPIRED", request_id=job_id, hint=_ASK_AGAIN.format(job_id=job_id))
        status, output = str(reply.body.get("status", "")), reply.body.get("output")
        if status == "IN_QUEUE":
            return JobSnapshot({"stage": "in queue"})
        if status == "COMPLETED":
            return _completed(job_id, output)
        if status in _ENDINGS or reply.body.get("error"):
            raise _failed(job_id, status, reply.body)
        return JobSnapshot(progress_of(output))

    async def cancel(self, job_id: str) -> None:
        """Call /cancel; see Target."""
        await self._remote.ask("POST", f"cancel/{job_id}", may_miss=True)

    async def save(self, piece: Piece, part: Path) -> None:
        """Decode or download; see Target. A link is checked like any input URL, and never gets the key."""
        from wanworker.media.disk import in_thread
        from wanworker.media.inputs import data_uri
        from wanworker.media.inputs.fetch import FetchLimits, fetch

        if piece.data:
            content = await in_thread(data_uri.decode, piece.data, max_bytes=_MAX_PIECE_BYTES)
            await in_thread(part.write_bytes, content)
            return
        await fetch(
            piece.url, part, limits=FetchLimits(_MAX_LINKED_BYTES, _LINK_TIMEOUT_S), allow_hosts=self._allow_hosts
        )


#: How a job may end besides COMPLETED, and what to say if RunPod gives no reason.
_ENDINGS = {
    "FAILED": "The job failed, and RunPod does not say why.",
    "CANCELLED": "The job was cancelled.",
    "TIMED_OUT": "RunPod stopped the job at its execution timeout.",
}
_ENDING_HINTS = {
    "FAILED": "The endpoint's log has more, under the job's id.",
    "TIMED_OUT": "--timeout raises both limits of this job, RunPod's and the worker's.",
}


def _completed(job_id: str, output: object) -> JobSnapshot:
    """Return the answer with its files. Raises CommandFailed for a COMPLETED without output: the answer was lost."""
    if output is None:
        text = f"RunPod lost the answer of {job_id}: it shows the job as COMPLETED, without any output."
        raise CommandFailed(text, code="LOST", request_id=job_id, hint=_ASK_AGAIN.format(job_id=job_id))
    if not isinstance(output, Mapping):
        return JobSnapshot(is_over=True, answer=output)
    result, outputs = output.get("result"), output.get("outputs")
    found = [result] if isinstance(result, Mapping) else []
    found += _others(output)
    found += [entry for entry in outputs if isinstance(entry, Mapping)] if isinstance(outputs, list) else []
    return JobSnapshot(is_over=True, answer=output, pieces=tuple(filter(None, map(_piece, found))))


def _others(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the videos of a job with several, without the one that is in `result`."""
    results, first = output.get("results"), output.get("result")
    entries = [entry for entry in results if isinstance(entry, Mapping)] if isinstance(results, list) else []
    name = first.get("filename") if isinstance(first, Mapping) else None
    return [entry for entry in entries if entry.get("filename") != name]


def _piece(entry: Mapping[str, Any]) -> Piece | None:
    values = {name: entry.get(name) for name in ("data", "url", "path")}
    texts = {name: value for name, value in values.items() if isinstance(value, str) and value}
    return Piece(str(entry.get("filename") or ""), **texts) if texts else None


def _failed(job_id: str, status: str, answer: Mapping[str, Any]) -> CommandFailed:
    """Return the failure in the worker's words. RunPod may drop everything but `error`, and an exception's is JSON."""
    error = answer.get("error")
    text, hint, code = complaint(_unpacked(error))
    more_text, more_hint, more_code = complaint(answer.get("output"))
    text = text or more_text or _ENDINGS.get(status, f"The job ended as {status}.")
    hint = hint or more_hint or _ENDING_HINTS.get(status, "")
    return CommandFailed(text, hint=hint, code=code or more_code or status, request_id=job_id)


def _unpacked(error: object) -> object:
    """Return the content of an error that is JSON text, as the SDK writes an exception."""
    if not isinstance(error, str) or not error.startswith("{"):
        return error
    try:
        inside = json.loads(error)
    except (ValueError, RecursionError):
        return error
    return {"error": inside.get("error_message") or inside.get("error") or error, **inside}
