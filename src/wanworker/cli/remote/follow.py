"""Follow a remote job from its submission to its files, and cancel it when the command is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wanworker.cli._base import CommandFailed
from wanworker.cli.remote.target import JobSnapshot, Piece, Target
from wanworker.cli.terminal.console import complain
from wanworker.cli.terminal.files import fit_name, put_in_place, unfinished_beside
from wanworker.cli.terminal.live_progress import LiveProgress

#: Seconds between two questions for the status: well within RunPod's limit (2000 in 10 s), and quick enough for people.
LOOK_S = 1.0

#: How long a stopped command may take to cancel the job on the server.
_CANCEL_S = 15.0


async def follow(
    target: Target,
    body: Mapping[str, Any],
    live: LiveProgress,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> tuple[str, JobSnapshot]:
    """
    Send *body*, wait until the job is over, and return its id and its last snapshot.

    On cancellation the job is cancelled too, even if its id has not arrived yet. Raises CommandFailed.
    """
    starting = asyncio.ensure_future(target.start(body))
    try:
        job_id = await asyncio.shield(starting)
        while not (look := await target.look(job_id)).is_over:
            live.show(look.shown)
            await sleep(LOOK_S)
    except asyncio.CancelledError:
        live.end()
        await _cancel(target, starting)
        raise
    return job_id, look


async def _cancel(target: Target, starting: asyncio.Future[str]) -> None:
    """Cancel the job and report the result, because a job that runs on costs money."""
    try:
        async with asyncio.timeout(_CANCEL_S):
            job_id = await starting
            await target.cancel(job_id)
    except (CommandFailed, TimeoutError) as error:
        name = starting.result() if starting.done() and not starting.cancelled() and not starting.exception() else "it"
        complain(
            "warning",
            f"The job may still be running: {name} could not be cancelled. {error or 'No answer came in time.'}",
        )
    else:
        complain("note", f"The job {job_id} was cancelled.")


async def save_all(
    target: Target, job_id: str, pieces: Sequence[Piece], output: Path | None, *, force: bool
) -> list[Path]:
    """
    Save every piece that can be had, and return the files.

    The first file is called *output* if that is given, the others `output-2` and so on. Without *output* each has the
    server's name, in the current folder. No file is overwritten, except *output* with *force*. Raises CommandFailed,
    WorkerError.
    """
    files: list[Path] = []
    for number, piece in enumerate((piece for piece in pieces if piece.data or piece.url), start=1):
        name = Path(fit_name(piece.name, f"{fit_name(job_id, 'job')}.mp4"))
        path = name if output is None else output
        if output is not None and number > 1:
            path = output.with_name(f"{output.stem}-{number}{name.suffix or output.suffix}")
        with unfinished_beside(path) as part:
            try:
                await target.save(piece, part)
                files.append(put_in_place(part, path, force=force and path == output))
            except OSError as error:
                text = f"{path} could not be written ({error.strerror}); the job {job_id} is done."
                raise CommandFailed(text, code="NOT_SAVED", request_id=job_id) from error
    return files
