"""`wanworker cancel ID`: stop a job, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from wanworker.cli._base import EXIT_FAILED, Command, read_settings
from wanworker.cli.commands.remote._target import ENDPOINT, JOB_ID, JSON, SERVER, brief_client_of, check_target
from wanworker.cli.terminal.console import complain, say_json
from wanworker.cli.terminal.signals import run_stoppable


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOptions:
    """Hold the arguments of `cancel`."""

    job_id: Annotated[str, JOB_ID]
    endpoint: Annotated[str | None, ENDPOINT] = None
    url: Annotated[str | None, SERVER] = None
    json: Annotated[bool, JSON] = False


def run(args: CancelOptions) -> int:
    """Stop the job. Return 0 if it was stopped, and 1 if it had ended before. Raises CommandFailed, ClientError."""
    check_target(args.endpoint, args.url)
    settings = read_settings()

    async def cancelled() -> int:
        async with brief_client_of(args.endpoint, args.url, settings) as client:
            state = await client.cancel(args.job_id)
        is_cancelled = state == "cancelled"
        if args.json:
            say_json({"job_id": args.job_id, "state": state})
        elif is_cancelled:
            print(f"The job {args.job_id} is cancelled.")
        else:
            complain("failed", f"The job {args.job_id} had ended before: it is {state}.")
        return 0 if is_cancelled else EXIT_FAILED

    return run_stoppable(cancelled)


COMMAND = Command("cancel", "Stop a job, whether it waits or runs.", CancelOptions, run)
