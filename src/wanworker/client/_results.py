"""Bring the files of a finished job here: to a file, into a folder, or into memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from wanworker.client._answers import JobStatus, OutputFile, Result
from wanworker.client.errors import ClientError, Refused, ResultLost, SaveFailed
from wanworker.client.saving import fit_name, put_in_place, unfinished_beside
from wanworker.client.targets.base import Target
from wanworker.clocks.awake import Silence

#: How long the pictures may take. They are extras: a video never waits for them as it is waited for itself.
_PICTURES_S = 10.0


async def result_of(
    target: Target,
    status: JobStatus,
    output: Path | None,
    *,
    force: bool,
    thumbnails: bool = False,
    pictures_s: float = _PICTURES_S,
) -> Result:
    """
    Fetch every file of *status* that can be had, with *thumbnails* the first frames too: `output.jpg` beside *output*.

    *output* is a file, or a folder that exists; without it, the files stay in memory. The first file is called
    *output*, the others `output-2` and so on; in a folder each has the target's name. No file is overwritten, except
    *output* with *force*. A first frame that cannot be had within *pictures_s* seconds is a line in the result's
    `notes`.

    Raises Refused if the job has not ended, its own error if it has no result, SaveFailed, and ResultLost if *output*
    is given and there is no file to write; but not if each file was put at a URL of the caller's.
    """
    if not status.is_over:
        text = f"The job {status.job_id} has not ended: it is {status.state}."
        raise Refused(text, code="NOT_READY", hint="Wait for its end first.", job_id=status.job_id)
    if status.error is not None:
        raise status.error
    # These come first: a server may drop a video that was downloaded, and its picture with it.
    pictures, notes = await _pictures(target, status.thumbnails, pictures_s) if thumbnails else ([], ())
    here = [file for file in status.files if file.is_here]
    result = Result(
        status.job_id,
        left_there=tuple(file.path for file in status.files if file.path and not file.is_here and not file.is_uploaded),
        uploaded=tuple(file.name for file in status.files if file.is_uploaded),
        thumbnails=_beside_each(here, pictures),
        notes=notes,
        answer=status.answer,
    )
    if output is None:
        return replace(result, contents=tuple([await _content(target, file) for file in here]))
    if not here and not output.is_dir() and (result.left_there or not result.uploaded):
        left = result.left_there
        hint = f"The file is on the worker: {left[0]}" if left else "The answer contains no file."
        text = f"{output} was not written, because the answer contains no file."
        raise ResultLost(text, code="NO_FILE", hint=hint, job_id=status.job_id)
    paths = await _saved(target, here, output, status.job_id, force=force)
    places = {file.name: path for file, path in reversed([*zip(here, paths, strict=True)])}  # of two names, the first
    beside, more = await _saved_beside(pictures, places, output, status.job_id)
    return replace(result, paths=paths, thumbnail_paths=beside, notes=(*notes, *more))


async def _saved(target: Target, here: list[OutputFile], output: Path, job_id: str, *, force: bool) -> tuple[Path, ...]:
    """Save each file, and return where it is."""
    paths = []
    for number, file in enumerate(here, start=1):
        path = _place(output, file, number, job_id)
        async with _writing(path, job_id) as part:
            await target.save(file, part)
            paths.append(await asyncio.to_thread(put_in_place, part, path, force=force and path == output))
    return tuple(paths)


async def _pictures(
    target: Target, pictures: tuple[OutputFile, ...], patience_s: float
) -> tuple[list[tuple[OutputFile, bytes]], tuple[str, ...]]:
    """Return the first frames that came, and a line about each that did not: no picture is worth a video."""

    async def fetched(picture: OutputFile) -> bytes | str:
        try:
            async with Silence(patience_s):
                return await _content(target, picture)
        except TimeoutError:
            return f"{picture.name} was left out: it did not come within {patience_s:g} s."
        except (ClientError, OSError) as error:
            return f"{picture.name} was left out: {error}"

    came = await asyncio.gather(*map(fetched, pictures))
    found = [(picture, each) for picture, each in zip(pictures, came, strict=True) if isinstance(each, bytes)]
    return found, tuple(each for each in came if isinstance(each, str))


def _beside_each(here: list[OutputFile], pictures: list[tuple[OutputFile, bytes]]) -> tuple[bytes, ...]:
    """Return the picture of each file, empty for one without, and then those of files that are not here. Pure."""
    if not pictures:
        return ()
    names = [file.name for file in here]
    by_name = {picture.of: content for picture, content in pictures}
    return (*(by_name.get(name, b"") for name in names), *(each for file, each in pictures if file.of not in names))


async def _saved_beside(
    pictures: list[tuple[OutputFile, bytes]], places: dict[str, Path], output: Path, job_id: str
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Save each picture beside its video, never over another file. Return where they are, and what went wrong."""
    saved: list[Path] = []
    troubles: list[str] = []
    alone = len(places)  # a picture whose video is not here gets a number after those that are
    for picture, content in pictures:
        place = places.get(picture.of)
        if place is None:
            alone += 1
            place = _place(output, picture, alone, job_id)
        path = place.with_suffix(".jpg")
        try:
            async with _writing(path, job_id) as part:
                await asyncio.to_thread(part.write_bytes, content)
                saved.append(await asyncio.to_thread(put_in_place, part, path, force=False))
        except ClientError as error:
            troubles.append(f"{picture.name} was left out: {error}")
    return tuple(saved), tuple(troubles)


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
