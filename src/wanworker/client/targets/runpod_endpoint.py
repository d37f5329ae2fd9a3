"""Speak to a RunPod endpoint: /run, /status and /cancel, with the answer wrapped in `output`."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from yarl import URL

from wanworker.client._answers import JobStatus, OnWarning, OutputFile, State
from wanworker.client.errors import (
    ClientError,
    JobCancelled,
    PlatformFailed,
    Refused,
    ResultLost,
    TargetFailed,
    UnknownJob,
)
from wanworker.client.request import VideoFields, plan_input, runpod_body
from wanworker.client.targets._links import save_link
from wanworker.client.targets.base import complaint, failure_of, number, progress_of
from wanworker.client.targets.http import Remote, base_url

#: Where RunPod serves its endpoints.
RUNPOD = URL("https://api.runpod.ai/v2")

#: RunPod's limit on the body of /run (reference: "Operations").
MAX_BODY_BYTES = 10 * 1000**2

#: How long /runsync waits for a plan. A worker that runs needs less; for one that has to start, the job's id is wanted
#: soon, so that the job can be cancelled.
_PLAN_WAIT_MS = 2000

_ASK_AGAIN = (
    "If the worker has a volume, the result is recorded there. This job returns it (wanworker submit --input FILE): "
    '{{"action": "status", "request_id": "{job_id}"}}'
)

#: RunPod's own words for a job whose worker died, or did not begin.
_WORKER_LOST = re.compile(r"job timed out after \d+ retries|worker (?:exited|was lost|not found)", re.IGNORECASE)
_BASE64 = re.compile(r"\s+")


def endpoint_url(name: str) -> URL:
    """Return the address of the endpoint with the id *name*, or of the one at this address. Raises Refused."""
    if "://" in name:
        return base_url(name)
    if name.isascii() and name.isalnum():
        return RUNPOD / name
    hint = "RunPod's console shows the id, such as abc123def456."
    raise Refused(f"{name!r} is not the id of an endpoint.", hint=hint)


class Endpoint:
    """Speak RunPod's API through *remote*. Links in answers may lead to *allow_hosts* even if these are private."""

    def __init__(self, remote: Remote, *, allow_hosts: Sequence[str] = ()) -> None:
        self._remote = remote
        self._allow_hosts = (*allow_hosts, remote.base.host or "")

    def body(self, prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields) -> dict[str, Any]:
        """Return `{"input": ...}`; see Target."""
        return runpod_body(prompt, job, fields)

    async def start(self, body: Mapping[str, Any], on_warning: OnWarning | None = None) -> str:
        """Send `{"input": ...}`; see Target."""
        await asyncio.to_thread(_check_size, body)
        return await self._remote.post_job("run", body, id_field="id", on_warning=on_warning)

    async def plan(
        self, prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields, price_per_hour: float | None
    ) -> JobStatus:
        """Send the action `plan` to /runsync; see Target. A worker that has to start first is not waited for here."""
        body = {"input": plan_input(prompt, job, fields, price_per_hour=price_per_hour)}
        await asyncio.to_thread(_check_size, body)
        answer = (await self._remote.post(f"runsync?wait={_PLAN_WAIT_MS}", body)).body
        if not isinstance(answer, Mapping) or not isinstance(answer.get("id"), str):
            raise TargetFailed(f"The answer of {self._remote.base} has no id: {str(answer)[:200]}")
        return _status(answer["id"], answer)

    async def status(self, job_id: str) -> JobStatus:
        """Ask /status; see Target."""
        path = f"status/{quote(job_id, safe='')}"
        reply = await self._remote.ask("GET", path, may_miss=True, is_answer=_names_a_state)
        if reply.status == 404:
            text = f"RunPod no longer knows the job {job_id}: results are kept for 30 minutes, jobs for their ttl."
            raise UnknownJob(text, code="EXPIRED", job_id=job_id, hint=_ASK_AGAIN.format(job_id=job_id))
        return _status(job_id, reply.body)

    async def cancel(self, job_id: str) -> State:
        """Call /cancel; see Target."""
        reply = await self._remote.ask("POST", f"cancel/{quote(job_id, safe='')}", may_miss=True)
        if reply.status == 404:
            raise UnknownJob(f"RunPod does not know the job {job_id}, or no longer.", code="EXPIRED", job_id=job_id)
        ended = reply.body.get("status") if isinstance(reply.body, Mapping) else None
        return _STATES.get(str(ended), "cancelled")

    async def page(self, limit: int, cursor: str | None) -> NoReturn:  # noqa: ARG002 - Target's signature
        """Refuse; see Target."""
        raise Refused("RunPod lists no jobs.", hint="Ask for a job by its id, or look at the endpoint in the console.")

    async def save(self, file: OutputFile, part: Path) -> None:
        """Decode or download; see Target. A link never gets the key."""
        if file.data:
            await asyncio.to_thread(_decode, file, part)
            return
        await save_link(file.url, part, allow_hosts=self._allow_hosts)


def _check_size(body: Mapping[str, Any]) -> None:
    size = len(json.dumps(body).encode())
    if size > MAX_BODY_BYTES:
        text = f"The job has {size / 1e6:.1f} MB; RunPod takes at most {MAX_BODY_BYTES / 1e6:.0f} MB."
        raise Refused(text, hint="Upload the files to a server, and give their URLs.")


#: How a job may end.
_STATES: Mapping[str, State] = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "TIMED_OUT": "failed",
}
_ENDING_HINTS = {
    "FAILED": "The endpoint's log has more, under the job's id.",
    "TIMED_OUT": "A longer timeout raises both limits of this job, RunPod's and the worker's.",
}


def _names_a_state(body: object) -> bool:
    """Say whether *body* tells where a job is. Without a state it tells nothing, whatever error it names. Pure."""
    return isinstance(body, Mapping) and isinstance(body.get("status"), str) and bool(body["status"])


def _status(job_id: str, body: Mapping[str, Any]) -> JobStatus:
    """Read the JSON of /status. Pure."""
    status, output = str(body.get("status", "")), body.get("output")
    times: dict[str, Any] = {
        "delay_s": _seconds(body.get("delayTime")),
        "execution_s": _seconds(body.get("executionTime")),
    }
    if status == "IN_QUEUE":
        return JobStatus(job_id, "queued", "in queue", answer=output, **times)
    if status == "COMPLETED":
        files, pictures = _files(output), _thumbnails(output)
        if not files and isinstance(output, Mapping) and output.get("error"):
            # Not every SDK makes a failure of an answer that is an error.
            return _status(job_id, {**body, "status": "FAILED", "error": output["error"]})
        error = _lost(job_id) if output is None else None
        return JobStatus(
            job_id,
            "completed",
            "completed",
            100.0,
            answer=output,
            files=files,
            thumbnails=pictures,
            error=error,
            **times,
        )
    if status in _STATES or body.get("error"):
        state = _STATES.get(status, "failed")
        return JobStatus(job_id, state, state, answer=output, error=_failure(job_id, status, body), **times)
    return JobStatus(job_id, "running", answer=output, **times, **progress_of(output))


def _seconds(value: object) -> float | None:
    milliseconds = number(value)
    return None if milliseconds is None else milliseconds / 1000


def _lost(job_id: str) -> ResultLost:
    text = f"RunPod lost the answer of {job_id}: it shows the job as COMPLETED, without any output."
    return ResultLost(text, job_id=job_id, hint=_ASK_AGAIN.format(job_id=job_id))


def _files(output: object) -> tuple[OutputFile, ...]:
    if not isinstance(output, Mapping):
        return ()
    result, outputs = output.get("result"), output.get("outputs")
    # How the first file was delivered is in the answer itself.
    found: list[Mapping[str, Any]] = []
    found += [{**result, "delivery": output.get("delivery")}] if isinstance(result, Mapping) else []
    found += _others(output)
    found += [entry for entry in outputs if isinstance(entry, Mapping)] if isinstance(outputs, list) else []
    return tuple(filter(None, map(_file, found)))


def _thumbnails(output: object) -> tuple[OutputFile, ...]:
    """Return the first frames: that of `result` is in the answer itself, those of others in their entries."""
    if not isinstance(output, Mapping):
        return ()
    result = output.get("result")
    first = {**(result if isinstance(result, Mapping) else {}), "thumbnail": output.get("thumbnail")}
    return tuple(
        OutputFile(
            str(Path(str(entry.get("filename") or "thumbnail")).with_suffix(".jpg")),
            data=picture,
            of=str(entry.get("filename") or ""),
        )
        for entry in (first, *_others(output))
        if isinstance(picture := entry.get("thumbnail"), str) and picture
    )


def _others(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the videos of a job with several, without the one that is in `result`."""
    results, first = output.get("results"), output.get("result")
    entries = [entry for entry in results if isinstance(entry, Mapping)] if isinstance(results, list) else []
    name = first.get("filename") if isinstance(first, Mapping) else None
    return [entry for entry in entries if entry.get("filename") != name]


def _file(entry: Mapping[str, Any]) -> OutputFile | None:
    values = {name: entry.get(name) for name in ("data", "url", "path")}
    texts: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, str) and value}
    delivery = entry.get("delivery")
    is_uploaded = isinstance(delivery, Mapping) and delivery.get("how") == "upload_url"
    return OutputFile(str(entry.get("filename") or ""), **texts, is_uploaded=is_uploaded) if texts else None


def _decode(file: OutputFile, part: Path) -> None:
    """Write the bytes of base64 text, or of a data URI. Raises ResultLost."""
    text = file.data.partition("base64,")[2] if file.data[:5].lower() == "data:" else file.data
    try:
        content = base64.b64decode(_BASE64.sub("", text), validate=True)
    except ValueError as error:
        raise ResultLost(f"The answer's base64 text of {file.name or 'a file'} is broken.") from error
    part.write_bytes(content)


def _failure(job_id: str, status: str, answer: Mapping[str, Any]) -> ClientError:
    """Return the failure in the worker's words. RunPod may drop everything but `error`, and an exception's is JSON."""
    text, hint, code = complaint(_unpacked(answer.get("error")))
    more_text, more_hint, more_code = complaint(answer.get("output"))
    text, code = text or more_text, code or more_code
    hint = hint or more_hint or _ENDING_HINTS.get(status, "")
    if status == "CANCELLED":
        return JobCancelled(text or "The job was cancelled.", hint=hint, job_id=job_id)
    if status == "TIMED_OUT":
        text = text or "RunPod stopped the job at its execution timeout."
        return PlatformFailed(text, hint=hint, code="TIMED_OUT", job_id=job_id)
    if not text:
        text = f"The job ended as {status}, and RunPod does not say why."
        return PlatformFailed(text, hint=hint, code=code or status, job_id=job_id)
    if _WORKER_LOST.search(text):
        return PlatformFailed(text, hint=hint, code="WORKER_LOST", job_id=job_id)
    return failure_of(text, hint, code or status, job_id)


def _unpacked(error: object) -> object:
    """Return the content of an error that is JSON text, as the SDK writes an exception."""
    if not isinstance(error, str) or not error.startswith("{"):
        return error
    try:
        inside = json.loads(error)
    except (ValueError, RecursionError):
        return error
    return {"error": inside.get("error_message") or inside.get("error") or error, **inside}
