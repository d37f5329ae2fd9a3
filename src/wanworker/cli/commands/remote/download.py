"""`wanworker download ID`: save the video of a finished job."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from wanworker.cli._base import Command, read_settings
from wanworker.cli.commands.remote._target import (
    ENDPOINT,
    FORCE,
    JOB_ID,
    JSON,
    OUTPUT,
    SERVER,
    THUMBNAIL,
    brief_client_of,
    check_place,
    check_target,
    check_thumbnail,
    client_of,
    save,
)
from wanworker.cli.commands.remote.submit import show_result
from wanworker.cli.terminal.signals import run_stoppable
from wanworker.cli.terminal.standard_streams import STANDARD


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """Hold the arguments of `download`."""

    job_id: Annotated[str, JOB_ID]
    endpoint: Annotated[str | None, ENDPOINT] = None
    url: Annotated[str | None, SERVER] = None
    output: Annotated[Path | None, OUTPUT] = None
    thumbnail: Annotated[bool, THUMBNAIL] = False
    force: Annotated[bool, FORCE] = False
    json: Annotated[bool, JSON] = False


def run(args: DownloadOptions) -> int:
    """Save the files of the job, and return the exit code. Raises CommandFailed, ClientError."""
    check_target(args.endpoint, args.url)
    if args.thumbnail:
        check_thumbnail(args.output)
    check_place(args.output, force=args.force, as_json=args.json)
    settings = read_settings()

    async def downloaded() -> int:
        async with brief_client_of(args.endpoint, args.url, settings) as client:
            status = await client.status(args.job_id)
        async with client_of(args.endpoint, args.url, settings) as client:
            result = await save(client, status, args.output, force=args.force, thumbnails=args.thumbnail)
        show_result(status, result, as_json=args.json, out=sys.stderr if args.output == STANDARD else sys.stdout)
        return 0

    return run_stoppable(downloaded)


COMMAND = Command("download", "Save the video of a finished job.", DownloadOptions, run)
