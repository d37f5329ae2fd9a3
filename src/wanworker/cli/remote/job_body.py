"""Build the body of a job from the command line: RunPod's `{"input": ...}`, or the fields of /generate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wanworker.cli import _render_options
from wanworker.cli._base import misused
from wanworker.cli._render_options import Source, VideoOptions
from wanworker.spec import Size
from wanworker.text.json_words import kind_of

#: Seconds that RunPod's limit exceeds the worker's own deadline by, for the start of the engine and for delivery.
_GRACE_S = 120.0

#: Arguments that set one field of the FastWAN contract each. Size, image and prompt are handled separately.
_REST_FIELDS = {
    "negative": "negative_prompt",
    "seed": "seed",
    "steps": "steps",
    "guidance": "cfg",
    "frames": "length",
    "fps": "fps",
    "engine": "engine",
    "seconds": "seconds",
    "resolution": "resolution",
    "aspect_ratio": "aspect_ratio",
    "num_outputs": "num_outputs",
    "crf": "crf",
}
_REST_ARGUMENTS = {"--size", "--image", *(f"--{name.replace('_', '-')}" for name in _REST_FIELDS)}


def job_body(args: VideoOptions, prompt: str | None, whole: Path | None) -> dict[str, Any]:
    """
    Return the body of /run: the job in the file *whole*, if given, with its fields replaced by the arguments.

    A --timeout also raises RunPod's own limit, which is otherwise 10 minutes. Raises CommandFailed.
    """
    job = _file(whole)
    if "input" not in job:
        job = {"input": job}
    if not isinstance(job["input"], Mapping):
        raise misused(f"{whole}: `input` must be an object.")
    task = {} if whole and not args.task else {"task": _render_options.task_of(args)}
    fields = {**job["input"], **task, **_render_options.fields_of(args, prompt)}
    for file in _render_options.files_of(args):
        fields[f"{file.field}_{'url' if file.url else 'base64'}"] = file.url or _base64(file)
    body = {**job, "input": fields}
    if args.timeout is not None and "policy" not in job:
        body["policy"] = {"executionTimeout": round((args.timeout + _GRACE_S) * 1000)}
    return body


def rest_body(args: VideoOptions, prompt: str | None, whole: Path | None) -> dict[str, Any]:
    """Return the fields of /generate. Raises CommandFailed for arguments that the FastWAN contract does not have."""
    if strange := sorted(_render_options.given(args) - _REST_ARGUMENTS):
        raise misused(
            f"A REST server does not take {', '.join(strange)}.",
            hint="It renders with its own model. A RunPod endpoint takes every option.",
        )
    fields = dict(_file(whole))
    fields |= {field: value for name, field in _REST_FIELDS.items() if (value := getattr(args, name)) is not None}
    if prompt is not None:
        fields["prompt"] = prompt
    if args.size:
        size = Size.parse(args.size)
        fields |= {"width": size.width, "height": size.height}
    for file in _render_options.files_of(args):
        fields |= {"image_url": file.url} if file.url.startswith("http") else {"image": file.url or _base64(file)}
    return fields


def _file(whole: Path | None) -> dict[str, Any]:
    """Return the object in the file of --input, or an empty one."""
    if whole is None:
        return {}
    try:
        value = json.loads(whole.read_text(encoding="utf-8"))
    except OSError as error:
        raise misused(f"{whole} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise misused(f"{whole} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise misused(f"{whole} must hold a JSON object; it holds {kind_of(value)}.")
    return value


def _base64(file: Source) -> str:
    from wanworker.media.outputs.base64_text import base64_text

    try:
        return base64_text(file.path)
    except OSError as error:
        raise misused(f"{file.argument} {file.path} cannot be read ({error.strerror}).") from error
