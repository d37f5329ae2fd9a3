"""Read a request for a video on this wire, and translate it into the fields of the `generate` action."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from wanworker.actions.request.fields import (
    Fps,
    Frames,
    Guidance,
    Prompt,
    Request,
    Seconds,
    Seed,
    Shift,
    Side,
    Steps,
    naming_unknown,
    parse,
)
from wanworker.actions.request.lora import MOST_LORAS
from wanworker.errors import InvalidRequest
from wanworker.media.inputs.reader import Source
from wanworker.media.threads import in_thread
from wanworker.ranges import RANGES
from wanworker.spec import TASKS, Task
from wanworker.videos._lora import VideoLora, loras_of
from wanworker.videos._reference import REFERENCES, sources_in
from wanworker.videos.models import VideoModels

_ANY: JsonDict = {"anyOf": [{"type": "string"}, {"type": "object"}]}
_LORAS: JsonDict = {"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array", "items": {"type": "object"}}]}

#: The fields that may be files in a form, each with what it is.
FILES: Mapping[str, str] = {
    "input_reference": "The first frame or the driving video, a file.",
    "image_reference": "A picture, a file.",
    "video_reference": "A video, a file.",
    "audio": "The sound of s2v-14B, a file.",
}

#: The fields that `generate` has under other names, or in another form.
_OTHERWISE = {"model", "lora", *REFERENCES}

#: A key of a form for one entry of an object: `lora[scale]`.
_ENTRY = re.compile(r"(\w+)\[(\w+)\]")


class VideoBody(Request):
    """Say what to render: the fields that open video servers share. A field that is not listed is ignored and said."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "wan2.2", "prompt": "A cat plays the piano.", "seconds": "4"}}
    )

    prompt: Annotated[str, Field(min_length=1, max_length=int(RANGES["prompt_chars"].high))] = Field(
        description="What the video shows."
    )
    model: str | None = Field(default=None, description="A name that [model](#model) lists. Default: `wan2.2`.")
    seconds: Seconds | None = Field(default=None, description="Length in seconds, as a number or as text.")
    size: str | None = Field(default=None, description="`1280x720`. Default: the task's own, or the picture's shape.")
    input_reference: Any = Field(
        default=None,
        description="The first frame or the driving video: a file in a form, base64 text, or `{image_url}`.",
        json_schema_extra=_ANY,
    )
    image_reference: Any = Field(
        default=None, description="The same for a picture alone, beside a video.", json_schema_extra=_ANY
    )
    video_reference: Any = Field(
        default=None, description="The same for a video alone: `{video_url}`.", json_schema_extra=_ANY
    )
    audio: Any = Field(
        default=None,
        description="The sound of `s2v-14B`: a file in a form, base64 text, a URL, or `{audio_url}`.",
        json_schema_extra=_ANY,
    )
    audio_url: str | None = Field(default=None, description="The same by URL.")
    audio_base64: str | None = Field(default=None, description="The same as base64 text.")
    negative_prompt: Prompt | None = Field(default=None, description="What the video must not show.")
    seed: Seed = Field(default=-1, description="-1 picks a random seed; the answer has the one that is used.")
    fps: Fps | None = Field(default=None, description="Frames per second; the task's own if left out.")
    num_frames: Frames | None = Field(default=None, description="Length in frames, instead of seconds.")
    num_inference_steps: Steps | None = Field(default=None, description="Denoising steps.")
    guidance_scale: Guidance | None = Field(default=None, description="Classifier-free guidance scale.")
    guidance_scale_2: Guidance | None = Field(default=None, description="The same for the low-noise expert alone.")
    flow_shift: Shift | None = Field(default=None, description="The flow shift of the sampler.")
    lora: Annotated[tuple[VideoLora, ...], WithJsonSchema(_LORAS)] = Field(
        default=(),
        max_length=MOST_LORAS,
        description="A LoRA by its file's name, or `{name, scale}`, or a list of them; JSON text in a form.",
    )
    width: Side | None = Field(default=None, description="Width in pixels, together with height, instead of size.")
    height: Side | None = Field(default=None, description="Height in pixels, together with width.")

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings of the fields."""
        return {"duration": "seconds"}


@dataclass(frozen=True, slots=True)
class VideoJob:
    """Hold a job as `generate` takes it: its fields, its files, and what is to be said about it."""

    fields: dict[str, Any]
    inputs: dict[str, Source] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def as_payload(self) -> dict[str, Any]:
        """Return the fields with the files among them."""
        files = {f"{name}_{source.kind}": source.value for name, source in self.inputs.items()}
        return {**self.fields, **files}


async def read_job(fields: Mapping[str, Any], models: VideoModels) -> VideoJob:
    """Return what *fields* ask for. Raises InvalidRequest, and ModelNotFound for an unknown model."""
    with naming_unknown(VideoBody, fields):
        return await _read_job(fields, models)


async def _read_job(fields: Mapping[str, Any], models: VideoModels) -> VideoJob:
    body, warnings = parse(VideoBody, fields)
    inputs, remarks = sources_in(fields)
    chosen = await in_thread(lambda: models.chosen(body.model, inputs))
    _check_files(TASKS[chosen.task], inputs)
    given = {name: getattr(body, name) for name in VideoBody.model_fields if name not in _OTHERWISE}
    more = {"task": chosen.task, "diffusion_model": chosen.diffusion_model, "loras": loras_of(body.lora)}
    kept = {name: value for name, value in (given | more).items() if value is not None}
    return VideoJob(kept, inputs, [*warnings, *remarks])


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a form's fields with the objects that its keys spell out: `lora[name]`, `lora[scale]`. Pure.

    A key of an object that is given as a whole, too, stays as it is, an unknown field.
    """
    read: dict[str, Any] = {}
    for name, value in fields.items():
        if (match := _ENTRY.fullmatch(name)) and match[1] not in fields:
            read.setdefault(match[1], {})[match[2]] = value
        else:
            read[name] = value
    return read


def _check_files(task: Task, inputs: Mapping[str, Source]) -> None:
    if task.needs_audio and "audio" not in inputs:
        hint = "Send a file in a form, or audio_url or audio_base64."
        raise InvalidRequest(f"Model {task.name} needs a sound in audio.", hint=hint, field="audio")
    if task.needs_image and "reference_image" not in inputs:
        place = "image_reference" if "driving_video" in inputs else "input_reference"
        raise InvalidRequest(f"Model {task.name} needs a picture in {place}.", hint="Send one.", field=place)
    if task.needs_driving_video and "driving_video" not in inputs:
        raise InvalidRequest(
            f"Model {task.name} needs a video in video_reference.", hint="Send one.", field="video_reference"
        )
    if "audio" in inputs and not task.needs_audio:
        field = inputs["audio"].field
        hint = "Leave it out, or send the model s2v-14B, which follows a sound."
        raise InvalidRequest(f"{field} is a sound, and {task.name} takes none.", hint=hint, field=field)
    if "driving_video" in inputs and not task.needs_driving_video:
        field = inputs["driving_video"].field
        hint = "Send a picture, or the model animate-14B, which follows a video."
        raise InvalidRequest(f"{field} is a video, and {task.name} takes none.", hint=hint, field=field)
