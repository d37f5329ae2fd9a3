"""Turn the record of a job into the documented answer of `generate` or `status`, with its video or videos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanworker.actions._delivered import deliver_into
from wanworker.actions.base import Context
from wanworker.errors import WorkerError
from wanworker.jobs.model import Job, JobStatus, Output
from wanworker.jobs.several_outputs import number_of
from wanworker.media.outputs.base64_text import encoded_chars, text_of
from wanworker.media.outputs.delivery import ENVELOPE_BYTES
from wanworker.media.outputs.upload_url import UploadUrl
from wanworker.media.video import thumbnail

_THUMBNAIL_PREFIX = f"data:{thumbnail.MIME};base64,"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Say what a call wants of a finished job: its video in the answer, a thumbnail, and where to put each output."""

    video: bool
    thumbnail: bool = False
    upload_urls: tuple[UploadUrl, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Hold one output, its number among several, and its places in the answer: for the file, and for what is said."""

    number: int
    output: Output
    file: dict[str, Any]
    about: dict[str, Any]


def status_block(job: Job) -> dict[str, Any]:
    """Return the nested, upper-case `status` object; a failed job's error sits inside it."""
    block: dict[str, Any] = {"status": job.status.value, "started": job.started_at}
    if job.status is JobStatus.COMPLETED:
        block |= {"completed_at": job.completed_at, "outputs": [output.path for output in job.outputs]}
    elif job.status.is_terminal:
        block["completed_at"] = job.completed_at
        if job.outputs:  # of several outputs, those that were done before the end
            block["outputs"] = [output.path for output in job.outputs]
    else:
        block |= dict(job.progress or {})
    if job.error is not None:
        block |= {"error": job.error.text, "code": job.error.code, "hint": job.error.hint}
    return block


async def finished_answer(job: Job, context: Context, *, wanted: Wanted, extra: list[str]) -> dict[str, Any]:
    """
    Return the answer for a COMPLETED job.

    *extra* are the warnings of this call, beside those of the job itself. Where several outputs were asked for,
    `results` lists them all, and `result` is about the first that was made.
    """
    # A graph may save pictures before its video; the video is what `result` is about.
    output = next((each for each in job.outputs if each.kind == "video"), job.outputs[0])
    answer: dict[str, Any] = {
        "request_id": job.request_id,
        "status": status_block(job),
        "result": {"filename": Path(output.path).name, "path": output.path},
        "warnings": [*job.warnings, *(line for line in extra if line not in job.warnings)],
        "seed": job.seed if output.seed is None else output.seed,
        "engine": job.engine,
        "model": job.model,
        "video": _video_block(output),
        "timings": dict(job.timings),
        "delivery": {},
    }
    if job.placement is not None:
        answer["placement"] = dict(job.placement)
    entries = _results(job)
    if entries:
        answer["results"] = list(entries.values())
    await _deliver_all(answer, _places(job, output, answer, entries), context, wanted)
    if entries:
        entries[_number(job, output)]["delivery"] = answer["delivery"]
    return answer


def _places(job: Job, first: Output, answer: dict[str, Any], entries: dict[int, dict[str, Any]]) -> list[_Place]:
    """Return where each output goes: *first* into `result` and the answer itself, others into their entries."""
    places = [_Place(1 if not entries else _number(job, first), first, answer["result"], answer)]
    for output in job.outputs if entries else ():
        if output is not first and output.seed is not None:
            entry = entries[_number(job, output)]
            places.append(_Place(_number(job, output), output, entry, entry))
    return places


def _number(job: Job, output: Output) -> int:
    return number_of(output.seed or 0, job.seed or 0)


def _results(job: Job) -> dict[int, dict[str, Any]]:
    """Return an entry for each of several outputs, by its number, and none where only one was asked for."""
    if not any(output.seed is not None for output in job.outputs):
        return {}
    made = {
        _number(job, output): {
            "seed": output.seed,
            "status": JobStatus.COMPLETED.value,
            "filename": Path(output.path).name,
            "path": output.path,
            "video": _video_block(output),
            "delivery": {},
        }
        for output in job.outputs
        if output.seed is not None
    }
    failed = {
        number_of(lost.seed, job.seed or 0): {
            "seed": lost.seed,
            "status": lost.status.value,
            "error": lost.error.text,
            "code": lost.error.code,
            "hint": lost.error.hint,
        }
        for lost in job.failed_outputs
    }
    return dict(sorted((made | failed).items()))


async def _deliver_all(answer: dict[str, Any], places: list[_Place], context: Context, wanted: Wanted) -> None:
    """
    Deliver the outputs in their order while the answer has room.

    Thumbnails come first: they are small, and of no use if the videos have filled the answer.
    """
    used_bytes = len(json.dumps(answer))
    for place in places if wanted.thumbnail else ():
        used_bytes += await _add_thumbnail(place, answer, used_bytes, context)
    for place in places:
        grown, trouble = await deliver_into(
            place.file,
            place.output,
            context,
            request_id=answer["request_id"],
            answer_bytes=used_bytes,
            want_data=wanted.video,
            upload_to=wanted.upload_urls[place.number - 1] if wanted.upload_urls else None,
        )
        place.about["delivery"] = place.file.pop("delivery")
        used_bytes += grown
        if trouble:
            used_bytes += _warn(answer, f"{trouble} It was delivered otherwise: {place.about['delivery']['how']}.")


async def _add_thumbnail(place: _Place, answer: dict[str, Any], used_bytes: int, context: Context) -> int:
    """Add the picture of an output if it fits. Return by how many bytes the answer grew."""
    try:
        jpeg = await thumbnail.thumbnail(Path(place.output.path))
    except (WorkerError, OSError) as error:
        return _warn(answer, f"A thumbnail was left out: {error}")
    chars = encoded_chars(len(jpeg), prefix=_THUMBNAIL_PREFIX)
    if used_bytes + chars + ENVELOPE_BYTES > context.call.answer_limit_bytes:
        return _warn(answer, f"A thumbnail was left out: the answer has no room for its {chars} characters.")
    place.about["thumbnail"] = text_of(jpeg, prefix=_THUMBNAIL_PREFIX)
    return chars + 32


def _warn(answer: dict[str, Any], line: str) -> int:
    """Add a warning, and return by how many bytes the answer grew."""
    answer["warnings"].append(line)
    return len(json.dumps(line)) + 2


def _video_block(output: Output) -> dict[str, Any]:
    return {
        "width": output.width,
        "height": output.height,
        "fps": output.fps,
        "frames": output.frames,
        "duration_s": output.duration_s,
        "size_bytes": output.size_bytes,
        "codec": output.codec,
    }
