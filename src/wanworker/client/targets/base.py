"""Define the interface of a target, and read what any target may say about a job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from wanworker.client._answers import JobPage, JobStatus, OnWarning, OutputFile, State
from wanworker.client.errors import ClientError, JobFailed, PlatformFailed
from wanworker.client.request import VideoFields


class Target(Protocol):
    """Define a place that takes jobs. Every method raises ClientError."""

    def body(self, prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields) -> dict[str, Any]:
        """Return what `start` sends: the fields, or a whole *job* with its fields replaced."""

    async def start(self, body: Mapping[str, Any], on_warning: OnWarning | None = None) -> str:
        """
        Send a job and return its id. It is sent again only if it was certainly not taken.

        *on_warning* hears what the target says of it at once; all that is in the job's last status, too.
        """

    async def plan(
        self, prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields, price_per_hour: float | None
    ) -> JobStatus:
        """Ask what the job would become. The answer is in the status, unless that is not over yet."""

    async def status(self, job_id: str) -> JobStatus:
        """Say where the job is. Raises UnknownJob; a job that failed is a status with an `error`."""

    async def cancel(self, job_id: str) -> State:
        """Stop the job, wherever it is. Return "cancelled", or how it had ended before."""

    async def page(self, limit: int, cursor: str | None) -> JobPage:
        """List jobs, newest first. Raises Refused if this kind of target lists none."""

    async def save(self, file: OutputFile, part: Path) -> None:
        """Write *file* to *part*. It has `data` or a `url`."""


def progress_of(output: object) -> dict[str, Any]:
    """
    Return a running job's *output* as fields of JobStatus: ours as they are, another worker's as far as it is readable.
    Pure.
    """
    if not isinstance(output, Mapping):
        return {"stage": str(output)[:60] if output else "running"}
    shown: dict[str, Any] = {"stage": str(output.get("stage") or output.get("status") or "running")[:60].lower()}
    for name in ("progress", "eta_s"):
        if (value := number(output.get(name))) is not None:
            shown[name] = value
    for name in ("step", "steps"):
        if (value := number(output.get(name))) is not None:
            shown[name] = int(value)
    if isinstance(detail := output.get("detail"), str):
        shown["detail"] = detail[:60]
    return shown


def number(value: object) -> float | None:
    """Return *value* if it is a number, and finite, else None. Pure."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < math.inf else None


def failure_of(text: str, hint: str, code: str, job_id: str) -> ClientError:
    """Return the error of a job that failed: the worker's death is none of the job's doing. Pure."""
    kind = PlatformFailed if code == "INTERRUPTED" else JobFailed
    return kind(text, hint=hint, code=code, job_id=job_id)


def complaint(body: object) -> tuple[str, str, str]:
    """Return the text, hint and code of a failure, or as many of them as have arrived. Pure."""
    if is_web_page(body):
        return "a web page, not JSON.", "Check the address: another program may answer there.", ""
    if not isinstance(body, Mapping):
        return (str(body) if body else ""), "", ""
    text = body.get("error") or body.get("message") or body.get("detail") or ""
    if isinstance(text, Mapping):
        return complaint(text)
    if isinstance(text, list):
        text = "; ".join(_part(item) for item in text)
    return str(text), str(body.get("hint") or ""), str(body.get("code") or "")


def is_web_page(body: object) -> bool:
    """Say whether *body* is HTML, which no server of jobs sends. Pure."""
    return isinstance(body, str) and body.lstrip()[:5].lower() in {"<!doc", "<html"}


def _part(item: object) -> str:
    """Return one of a list of complaints as text. FastAPI's name the field by `loc`."""
    if not isinstance(item, Mapping):
        return str(item)
    field_name = ".".join(str(part) for part in item.get("loc", ()) if part != "body")
    return f"{field_name}: {item.get('msg', '')}" if field_name else str(item.get("msg", item))
