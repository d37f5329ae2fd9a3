"""Define the interface of a remote target, which `submit` uses, and the snapshot of a job that it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Piece:
    """
    Hold one file of an answer, under the name that the server gave it.

    It is in the answer (`data`, base64 or a data URI), behind a link (`url`), or on the server's own disk (`path`).
    """

    name: str
    data: str = ""
    url: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """
    Say where a job is: its progress in the form that the bar draws, and, once it is over, its answer and its files.
    """

    shown: Mapping[str, Any] = field(default_factory=dict)
    is_over: bool = False
    answer: Any = None
    pieces: tuple[Piece, ...] = ()


class Target(Protocol):
    """Define a place that takes jobs. Every method raises CommandFailed."""

    async def start(self, body: Mapping[str, Any]) -> str:
        """Send a job and return its id."""

    async def look(self, job_id: str) -> JobSnapshot:
        """Say where the job is. Also raises CommandFailed if the job failed or is lost."""

    async def cancel(self, job_id: str) -> None:
        """Stop the job, wherever it is."""

    async def save(self, piece: Piece, part: Path) -> None:
        """Write *piece* to *part*. It has `data` or a `url`."""


def progress_of(output: object) -> dict[str, Any]:
    """Return a running job's *output* as progress: ours as it is, another worker's as far as it is readable. Pure."""
    if not isinstance(output, Mapping):
        return {"stage": str(output)[:60]} if output else {"stage": "running"}
    shown: dict[str, Any] = {"stage": str(output.get("stage") or output.get("status") or "running")[:60].lower()}
    for name in ("progress", "step", "steps", "eta_s"):
        value = output.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown[name] = value
    return shown


def complaint(body: object) -> tuple[str, str, str]:
    """Return the text, hint and code of a failure, or as many of them as have arrived. Pure."""
    if not isinstance(body, Mapping):
        return (str(body) if body else ""), "", ""
    text = body.get("error") or body.get("message") or body.get("detail") or ""
    if isinstance(text, Mapping):
        return complaint(text)
    if isinstance(text, list):
        text = "; ".join(_part(item) for item in text)
    return str(text), str(body.get("hint") or ""), str(body.get("code") or "")


def _part(item: object) -> str:
    """Return one of a list of complaints as text. FastAPI's name the field by `loc`."""
    if not isinstance(item, Mapping):
        return str(item)
    field_name = ".".join(str(part) for part in item.get("loc", ()) if part != "body")
    return f"{field_name}: {item.get('msg', '')}" if field_name else str(item.get("msg", item))
