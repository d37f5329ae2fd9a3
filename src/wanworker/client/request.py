"""Build the body of a job: RunPod's `{"input": ...}`, or the fields of /generate."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from wanworker.client.errors import Refused
from wanworker.client.policy import policy_of

#: A picture, a sound or a video: a path on this machine, its bytes, or text that is a path, a URL or a data URI.
File = str | os.PathLike[str] | bytes

#: LoRAs: file names, or objects such as `{"path": ..., "scale": 0.8}` or `{"high": ..., "low": ...}`.
Loras = Sequence[str | Mapping[str, Any]]


class VideoFields(TypedDict, total=False):
    """
    Name what describes a video besides the prompt. docs/api.md has the meaning and the range of each.

    `lora` is a name, or True for the model's own pair for 4 steps. `extra` holds fields under the target's own names.
    """

    task: str
    negative_prompt: str
    size: str
    frames: int
    seconds: float
    resolution: str
    aspect_ratio: str
    num_outputs: int
    crf: int
    denoise: float
    loop: bool
    target_fps: float
    upscale: int | str
    fps: float
    steps: int
    guidance: float
    shift: float
    solver: str
    seed: int
    lora: str | bool
    loras: Loras
    high_noise_loras: Loras
    low_noise_loras: Loras
    thumbnail: bool
    output_upload_urls: Sequence[str]
    engine: str
    profile: str
    diffusion_model: str
    vae_model: str
    timeout_s: float
    image: File
    last_image: File
    audio: File
    video: File
    soundtrack: File
    extra: Mapping[str, Any]


#: What sets one field of `generate` each, and that field. The command line has an option for most.
FIELDS = {
    "task": "task",
    "negative_prompt": "negative_prompt",
    "size": "size",
    "frames": "frame_num",
    "seconds": "seconds",
    "resolution": "resolution",
    "aspect_ratio": "aspect_ratio",
    "num_outputs": "num_outputs",
    "crf": "crf",
    "denoise": "denoise",
    "loop": "loop",
    "target_fps": "target_fps",
    "upscale": "upscale",
    "fps": "fps",
    "steps": "sample_steps",
    "guidance": "sample_guide_scale",
    "shift": "sample_shift",
    "solver": "sample_solver",
    "seed": "seed",
    "loras": "loras",
    "high_noise_loras": "high_noise_loras",
    "low_noise_loras": "low_noise_loras",
    "thumbnail": "thumbnail",
    "output_upload_urls": "output_upload_urls",
    "engine": "engine",
    "profile": "profile",
    "diffusion_model": "diffusion_model",
    "vae_model": "vae_model",
    "timeout_s": "timeout",
}

#: What names a file, and the field that it sets with `_url`, `_path` or `_base64` added.
FILES = {
    "image": "reference_image",
    "last_image": "last_image",
    "audio": "audio",
    "video": "driving_video",
    "soundtrack": "soundtrack",
}

#: Other words of `generate` for the same files.
_FILES_TOO = {"image": ("image",), "video": ("video", "control_video")}

#: What sets one field of the FastWAN contract each. Size and image are handled separately.
REST_FIELDS = {
    "negative_prompt": "negative_prompt",
    "seed": "seed",
    "steps": "steps",
    "guidance": "cfg",
    "frames": "length",
    "fps": "fps",
    "engine": "engine",
    "profile": "profile",
    "diffusion_model": "diffusion_model",
    "vae_model": "vae_model",
    "seconds": "seconds",
    "resolution": "resolution",
    "aspect_ratio": "aspect_ratio",
    "num_outputs": "num_outputs",
    "crf": "crf",
    "target_fps": "target_fps",
    "upscale": "upscale",
    "loras": "loras",
    "high_noise_loras": "high_noise_loras",
    "low_noise_loras": "low_noise_loras",
    "thumbnail": "thumbnail",
    "output_upload_urls": "output_upload_urls",
}

#: How a whole job names its one LoRA. `loras` of the caller replace it.
_ONE_LORA = frozenset({"lora_name", "lora", "lora_strength", "lora_scale", "lora_weight"})

#: The names of `generate`, and of the plan of one.
_PLANNABLE = frozenset({"generate", "request", "create", "plan"})

_SIZE = re.compile(r"\s*(\d{1,5})\s*[*x\u00d7]\s*(\d{1,5})\s*", re.IGNORECASE)


def generate_fields(prompt: str | None, fields: VideoFields) -> dict[str, Any]:
    """Return the fields of `generate` that *prompt* and *fields* set, without files. Pure."""
    given: Mapping[str, Any] = fields
    named = {field: given[name] for name, field in FIELDS.items() if given.get(name) is not None}
    named |= {} if prompt is None else {"prompt": prompt}
    if lora := given.get("lora"):
        named["use_lora"] = True
    if lora and isinstance(lora, str):
        named["lora_name"] = lora
    return {**named, **(given.get("extra") or {})}


def task_of(fields: VideoFields) -> str:
    """Return the task that was named, or else the one that the given files imply. Pure."""
    given: Mapping[str, Any] = fields
    if task := given.get("task"):
        return str(task)
    if given.get("video"):
        return "animate-14B"
    if given.get("audio"):
        return "s2v-14B"
    return "i2v-A14B" if given.get("image") else "t2v-A14B"


def runpod_body(prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields) -> dict[str, Any]:
    """
    Return the body of /run: the whole *job* if given, or its input alone, with its fields replaced by the others.

    A `timeout_s` also raises RunPod's own limit, which is otherwise 10 minutes. Raises Refused.
    """
    body = dict(job or {})
    if "input" not in body:
        body = {"input": body}
    if not isinstance(body["input"], Mapping):
        raise Refused("`input` must be an object.", hint='A job is {"input": {...}}, or what is inside `input`.')
    task = {} if job is not None and not fields.get("task") else {"task": task_of(fields)}
    kept = {name: body["input"][name] for name in body["input"].keys() - _replaced(fields)}
    named = {**kept, **task, **generate_fields(prompt, fields)}
    for name, field in FILES.items():
        if (file := fields.get(name)) is not None:
            url, data = _url_or_base64(name, file)
            named[f"{field}_{'url' if url else 'base64'}"] = url or data
    body["input"] = named
    if (timeout_s := fields.get("timeout_s")) is not None and "policy" not in body:
        body["policy"] = policy_of(timeout_s)
    return body


def _replaced(fields: VideoFields) -> set[str]:
    """Return the fields of a whole job that mean the same as one of *fields*, under other names. Pure."""
    given: Mapping[str, Any] = fields
    names = set(_ONE_LORA) if given.get("loras") else set()
    for name in FILES:
        if given.get(name) is not None:
            stems = (FILES[name], *_FILES_TOO.get(name, ()))
            names |= {f"{stem}_{kind}" for stem in stems for kind in ("url", "base64", "path")}
    return names


def rest_body(prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields) -> dict[str, Any]:
    """Return the fields of /generate, those of *job* replaced by the others. Raises Refused."""
    if strange := unsupported_by_rest(fields):
        hint = "It renders with its own model. A RunPod endpoint takes every field."
        raise Refused(f"A REST server does not take {', '.join(strange)}.", hint=hint)
    given: Mapping[str, Any] = fields
    body = {name: value for name, value in (job or {}).items() if name not in _replaced_in_rest(fields)}
    body |= {field: given[name] for name, field in REST_FIELDS.items() if given.get(name) is not None}
    body |= {} if prompt is None else {"prompt": prompt}
    if (lora := given.get("lora")) and isinstance(lora, str):
        body["loras"] = [lora, *(given.get("loras") or ())]
    if size := fields.get("size"):
        if (sides := _SIZE.fullmatch(size)) is None:
            raise Refused(f"{size[:40]!r} is not a size.", hint="A size looks like 832x480.")
        body |= {"width": int(sides[1]), "height": int(sides[2])}
    if (image := fields.get("image")) is not None:
        url, data = _url_or_base64("image", image)
        body |= {"image_url": url} if url[:4].lower() == "http" else {"image": url or data}
    if (sound := fields.get("soundtrack")) is not None:
        url, data = _url_or_base64("soundtrack", sound)
        body["soundtrack_url"] = url or f"data:application/octet-stream;base64,{data}"
    return {**body, **(given.get("extra") or {})}


def _replaced_in_rest(fields: VideoFields) -> set[str]:
    """Return the same for the fields of /generate, which takes those of `generate` too. Pure."""
    given = {name for name, value in fields.items() if value is not None}
    names = {FIELDS[name] for name in given & {"size", *REST_FIELDS}} | _replaced(fields) | (given & {"image"})
    return names | _ONE_LORA if fields.get("lora") else names


def plan_input(
    prompt: str | None, job: Mapping[str, Any] | None, fields: VideoFields, *, price_per_hour: float | None
) -> dict[str, Any]:
    """Return the fields of `plan` for what `runpod_body` would send. Raises Refused if that is no `generate`."""
    named = dict(runpod_body(prompt, job, fields)["input"])
    wrapped = [inner for name in ("inputs", "params") if isinstance(inner := named.get(name), Mapping)]
    for place in (named, *wrapped):
        if (other := _other_than_generate(place)) is not None:
            text = f"Only a job of the action `generate` can be planned; this is {other}."
            raise Refused(text, hint="Send it with submit, without a plan.")
    price = {} if price_per_hour is None else {"price_per_hour": price_per_hour}
    return {**named, **price, "action": "plan"}


def _other_than_generate(place: Mapping[str, Any]) -> str | None:
    """Return what the fields in *place* ask for besides a video of `generate`, None if they ask for that. Pure."""
    action = place.get("action")
    if action is not None and (not isinstance(action, str) or action.strip().lower() not in _PLANNABLE):
        return f"{str(action)[:40]!r}"
    if action is None and place.get("workflow"):
        return "a workflow"
    return "a question about the worker's health" if action is None and place.get("health") is True else None


def wants_thumbnail(job: Mapping[str, Any] | None, fields: VideoFields) -> bool:
    """Say whether *fields*, or else the whole *job*, ask for the first frame. Pure."""
    return bool(_effective("thumbnail", job, fields))


def upload_urls(job: Mapping[str, Any] | None, fields: VideoFields) -> object:
    """Return the URLs that get the videos, by *fields*, or else by the whole *job*. Pure."""
    return _effective("output_upload_urls", job, fields)


def _effective(name: str, job: Mapping[str, Any] | None, fields: VideoFields) -> object:
    given: Mapping[str, Any] = fields
    inner = (job or {}).get("input", job)
    own = inner.get(name) if isinstance(inner, Mapping) else None
    return own if given.get(name) is None else given[name]


def unsupported_by_rest(fields: VideoFields) -> list[str]:
    """Return the names in *fields* that the FastWAN contract has no field for. Pure."""
    known = {*REST_FIELDS, "size", "image", "soundtrack", "extra"}
    strange = {name for name, value in fields.items() if value is not None and name not in known}
    # The model's own pair is not for FastWAN. A LoRA with a name goes into `loras`.
    return sorted(strange if fields.get("lora") is True else strange - {"lora"})


def _url_or_base64(name: str, file: object) -> tuple[str, str]:
    """Return the URL that *file* is and an empty text, or an empty text and its content as base64. Raises Refused."""
    if isinstance(file, bytes):
        return "", base64.b64encode(file).decode()
    if isinstance(file, str) and file[:8].lower().startswith(("http://", "https://", "data:")):
        return file, ""
    if not isinstance(file, str | os.PathLike):
        raise Refused(f"{name} must be a path, bytes or a URL.")
    try:
        return "", base64.b64encode(Path(file).expanduser().read_bytes()).decode()
    except OSError as error:
        text = f"{name}: {file} cannot be read ({error.strerror})."
        raise Refused(text, hint="Give a path of this machine.") from error
