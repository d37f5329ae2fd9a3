"""`wanworker jobs`: list the jobs of a REST server, newest first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wanworker.cli._base import Command, read_settings
from wanworker.cli.commands.remote._target import JSON, brief_client_of
from wanworker.cli.terminal.console import say_json, show, without_data
from wanworker.cli.terminal.signals import run_stoppable
from wanworker.text.printable import on_its_lines

if TYPE_CHECKING:
    from rich.table import Table

    from wanworker.client import JobPage, JobStatus

_STYLES = {"completed": "green", "running": "bold", "failed": "red", "queued": "", "cancelled": ""}
_PROMPT_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsOptions:
    """Hold the arguments of `jobs`."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="The REST server, such as http://127.0.0.1:8189. Its key comes from WAN_API_KEY. By default it is the "
            "server on this machine. (RunPod lists no jobs.)",
        ),
    ] = None
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=1000, help="How many jobs to list at most.")
    ] = 20
    json: Annotated[bool, JSON] = False


def run(args: JobsOptions) -> int:
    """List the jobs, and return the exit code. Raises CommandFailed, ClientError."""
    settings = read_settings()

    async def listed() -> int:
        async with brief_client_of(None, args.url, settings) as client:
            page = await client.jobs(limit=args.limit)
        if args.json:
            jobs = [{"job_id": job.job_id, "state": job.state, "answer": without_data(job.answer)} for job in page.jobs]
            say_json({"jobs": jobs, "total": page.total})
        else:
            _show(page)
        return 0

    return run_stoppable(listed)


def _show(page: JobPage) -> None:
    if not page.jobs:
        print("There are no jobs.")
        return
    show(_table(page))
    if page.total > len(page.jobs):
        print(f"{len(page.jobs)} of {page.total} jobs are shown. --limit shows more.")


def _table(page: JobPage) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for job in page.jobs:
        state = Text(_state_in_words(job), _STYLES[job.state])
        table.add_row(Text(job.job_id, no_wrap=True), state, _begun(job.answer), Text(_prompt(job.answer)))
    return table


def _state_in_words(job: JobStatus) -> str:
    """Return `running 40 %`, or the state alone. Pure."""
    return f"running {job.progress:.0f} %" if job.state == "running" else job.state


def _begun(answer: Any) -> str:
    created_at = answer.get("created_at")
    is_time = isinstance(created_at, int | float)
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(created_at)) if is_time else ""


def _prompt(answer: Any) -> str:
    prompt = " ".join(on_its_lines(str(answer.get("prompt") or "")).split())
    return prompt if len(prompt) <= _PROMPT_CHARS else f"{prompt[: _PROMPT_CHARS - 3]}..."


COMMAND = Command("jobs", "List the jobs of a REST server, newest first.", JobsOptions, run)
