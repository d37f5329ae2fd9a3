"""Bring the files of a finished job here: to a file, into a folder, or into memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from wanworker.client._answers import JobStatus, OutputFile, Result
from wanworker.client.errors import Refused, ResultLost, SaveFailed
from wanworker.client.saving import fit_name, put_in_place, unfinished_beside
from wanworker.client.targets.base import Target


async def result_of(
    target: Target, status: JobStatus, output: Path | None, *, force: bool, thumbnails: bool = False
) -> Result:
    """
    Fetch every file of *status* that can be had, with *thumbnails* the first frames too: `output.jpg` beside *output*.

    *output* is a file, or a folder that exists; without it, the files stay in memory. The first file is called
    *output*, the others `output-2` and so on; in a folder each has the target's name. No file is overwritten, except
    *output* with *force*.

    Raises Refused if the job has not ended, its own error if it has no result, SaveFailed, and ResultLost if *output*
    is given and there is no file to write.
    """
    if not status.is_over:
        text = f"The job {status.job_id} has not ended: it is {status.state}."
        raise Refused(text, code="NOT_READY", hint="Wait for its end first.", job_id=status.job_id)
    if status.error is not None:
        raise status.error
    here = [file for file in status.files if file.is_here]
    left = tuple(file.path for file in status.files if file.path and not file.is_here)
    # These come first: a server may drop a video that was downloaded, and its picture with it.
    pictures = tuple([await _content(target, file) for file in status.thumbnails]) if thumbnails else ()
    result = Result(status.job_id, left_there=left, thumbnails=pictures, answer=status.answer)
    if output is None:
        return replace(result, contents=tuple([await _content(target, file) for file in here]))
    if not here and not output.is_dir():
        hint = f"The file is on the worker: {left[0]}" if left else "The answer contains no file."
        text = f"{output} was not written, because the answer contains no file."
        raise ResultLost(text, code="NO_FILE", hint=hint, job_id=status.job_id)
    paths = []
    for number, file in enumerate(here, start=1):
        path = _place(output, file, number, status.job_id)
        async with _writing(path, status.job_id) as part:
            await target.save(file, part)
            paths.append(await asyncio.to_thread(put_in_place, part, path, force=force and path == output))
    beside = []
    for number, (file, picture) in enumerate(zip(status.thumbnails, pictures, strict=False), start=1):
        path = paths[number - 1] if number <= len(paths) else _place(output, file, number, status.job_id)
        async with _writing(path.with_suffix(".jpg"), status.job_id) as part:
            await asyncio.to_thread(part.write_bytes, picture)
            beside.append(
                await asyncio.to_thread(put_in_place, part, path.with_suffix(".jpg"), force=force and path == output)
            )
    return replace(result, paths=tuple(paths), thumbnail_paths=tuple(beside))


def _place(output: Path, file: OutputFile, number: int, job_id: str) -> Path:
    name = Path(fit_name(file.name, f"{fit_name(job_id, 'job')}.mp4"))
    if output.is_dir():
        return output / name
    return output if number == 1 else output.with_name(f"{output.stem}-{number}{name.suffix or output.suffix}")


@asynccontextmanager
async def _writing(path: Path, job_id: str) -> AsyncIterator[Path]:
    """Yield the file's unfinished place. It is made and removed in threads: a disk may be slow."""
    unfinished = unfinished_beside(path)
    making = asyncio.ensure_future(asyncio.to_thread(unfinished.__enter__))
    try:
        part = await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(lambda made: made.exception() or unfinished.__exit__(None, None, None))
        raise
    try:
        yield part
    except OSError as error:
        text = f"{path} could not be written ({error.strerror}); the job {job_id} is done."
        raise SaveFailed(text, job_id=job_id) from error
    finally:
        await asyncio.shield(asyncio.to_thread(unfinished.__exit__, None, None, None))


async def _content(target: Target, file: OutputFile) -> bytes:
    with tempfile.TemporaryDirectory(prefix="wanworker-") as folder:
        part = Path(folder, "part")
        await target.save(file, part)
        return await asyncio.to_thread(part.read_bytes)
