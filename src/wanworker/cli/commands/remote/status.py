"""`wanworker status ID`: say where a job is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from wanworker.cli._base import EXIT_FAILED, Command, read_settings
from wanworker.cli.commands.remote._target import (
    ENDPOINT,
    JOB_ID,
    JSON,
    SERVER,
    brief_client_of,
    check_target,
    shown,
)
from wanworker.cli.terminal.console import complain, say, say_json, without_data
from wanworker.cli.terminal.signals import run_stoppable

if TYPE_CHECKING:
    from wanworker.client import JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions:
    """Hold the arguments of `status`."""

    job_id: Annotated[str, JOB_ID]
    endpoint: Annotated[str | None, ENDPOINT] = None
    url: Annotated[str | None, SERVER] = None
    json: Annotated[bool, JSON] = False


def run(args: StatusOptions) -> int:
    """Print the status. Return 0, also while the job runs, and 1 if there is no video. Raises CommandFailed."""
    check_target(args.endpoint, args.url)
    settings = read_settings()

    async def asked() -> int:
        async with brief_client_of(args.endpoint, args.url, settings) as client:
            status = await client.status(args.job_id)
        if args.json:
            say_json(_as_json(status))
        else:
            _show(status)
        return 0 if status.error is None else EXIT_FAILED

    return run_stoppable(asked)


def _as_json(status: JobStatus) -> dict[str, Any]:
    error = status.error
    failure = {"error": str(error), "code": error.code, "hint": error.hint} if error else {}
    answer = {"answer": without_data(status.answer)} if status.answer is not None else {}
    return {"job_id": status.job_id, "state": status.state, **shown(status), **failure, **answer}


def _show(status: JobStatus) -> None:
    from wanworker.cli.terminal.live_progress import progress_text

    say("job", status.job_id)
    say("state", status.state)
    if status.state == "running":
        say("progress", progress_text(shown(status), None).strip())
    if status.state == "queued" and status.queue_position:
        say("place", f"number {status.queue_position} in the queue")
    for line in status.warnings:
        say("note", line)
    if status.error is not None:
        complain("gone" if status.state == "completed" else "failed", str(status.error))
        if status.error.hint:
            complain("hint", status.error.hint)


COMMAND = Command("status", "Say where a job is.", StatusOptions, run)
