"""The fields of `generate`, parsed and checked before any file is read. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from wanworker.actions.request.fields import (
    Denoise,
    Fps,
    Frames,
    Guidance,
    Prompt,
    Seed,
    Shift,
    Side,
    Steps,
    Strength,
    Timeout,
    Upscale,
)
from wanworker.actions.request.lora import LoraField, check_lora_name
from wanworker.actions.request.video import VIDEO_ALIASES, VideoRequest
from wanworker.errors import InvalidRequest
from wanworker.spec import RANDOM_SEED_LIMIT, TASKS, Lora, Profile, Task, check_last_image, task_named

#: How many times as wide and high a clip may be made, if no model is named.
UPSCALE_FACTORS = (2, 4)

_NAME_CHARS = 200

#: Fields that came after the first jobs were recorded.
_NEWER = frozenset(
    ("denoise", "loop", "target_fps", "upscale", "soundtrack_url", "soundtrack_base64", "soundtrack_path")
)

#: Other spellings of the fields, each with its documented name.
_ALIASES: Mapping[str, str] = {
    "num_frames": "frame_num",
    "frames": "frame_num",
    "length": "frame_num",
    "steps": "sample_steps",
    "num_inference_steps": "sample_steps",
    "guidance_scale": "sample_guide_scale",
    "cfg_scale": "sample_guide_scale",
    "cfg": "sample_guide_scale",
    "image_url": "reference_image_url",
    "image_base64": "reference_image_base64",
    "image_path": "reference_image_path",
    "shift": "sample_shift",
    "model": "diffusion_model",
    "lora": "lora_name",
    "lora_scale": "lora_strength",
    "lora_weight": "lora_strength",
    "flow_shift": "sample_shift",
    **VIDEO_ALIASES,
    "strength": "denoise",
    "control_video_url": "driving_video_url",
    "control_video_base64": "driving_video_base64",
    "control_video_path": "driving_video_path",
    "video_url": "driving_video_url",
    "video_base64": "driving_video_base64",
    "video_path": "driving_video_path",
    "upscale_factor": "upscale",
    "upscale_model": "upscale",
}


class GenerateRequest(VideoRequest):
    """Hold the fields of `generate`, with the documented names, defaults and meanings of worker-api.md."""

    frames_field: ClassVar[str] = "frame_num"

    task: str = Field(default="i2v-A14B", description=f"{', '.join(TASKS)}.")
    prompt: Prompt = Field(default="", description="What the video shows.")
    negative_prompt: Prompt | None = Field(default=None, description="What the video must not show.")
    size: str | None = Field(default=None, description="`1280*720` or `1280x720`; the task's own size if omitted.")
    width: Side | None = Field(default=None, description="Width in pixels, together with height, beside size.")
    height: Side | None = Field(default=None, description="Height in pixels, together with width, beside size.")
    frame_num: Frames | None = Field(default=None, description="Frames; the nearest 4n+1 is rendered.")
    fps: Fps | None = Field(default=None, description="Frames per second; the task's own if omitted.")
    sample_steps: Steps | None = Field(default=None, description="Denoising steps.")
    sample_guide_scale: Guidance | None = Field(default=None, description="Classifier-free guidance scale.")
    guidance_scale_2: Guidance | None = Field(default=None, description="The same for the low-noise expert alone.")
    sample_shift: Shift | None = Field(default=None, description="The flow shift of the sampler.")
    sample_solver: Literal["unipc", "dpm++"] | None = Field(default=None, description="The sampler.")
    seed: Seed = Field(default=-1, description="-1 picks a random seed; the answer has the one that was used.")
    offload_model: bool | None = Field(default=None, description="Keep idle weights in main memory.")
    profile: Profile | None = Field(
        default=None, description="`exact` or `fast`; WAN_PROFILE if omitted. See docs/engines.md."
    )
    use_lora: bool = Field(default=False, description="Use the model's 4-step LoRA pair, or lora_name.")
    lora_name: str | None = Field(default=None, description="A LoRA by file name; its sibling is inferred.")
    lora_strength: Strength = Field(default=1.0, description="The strength of lora_name.")
    loras: tuple[LoraField, ...] = Field(default=(), max_length=8, description="LoRAs as high/low pairs.")
    diffusion_model: str | None = Field(
        default=None, description="The model by file or folder name; an expert's sibling is inferred."
    )
    diffusion_model_2: str | None = Field(default=None, description="The other expert's file, if not inferred.")
    single_expert: bool = Field(default=False, description="Render with diffusion_model alone.")
    vae_model: str | None = Field(default=None, description="The VAE's file.")
    reference_image_url: str | None = Field(default=None, description="The picture, by URL or data URI.")
    reference_image_base64: str | None = Field(default=None, description="The picture as base64 or data URI.")
    reference_image_path: str | None = Field(default=None, description="The picture below an input folder.")
    last_image_url: str | None = Field(default=None, description="The last frame's picture, by URL.")
    last_image_base64: str | None = Field(default=None, description="The last frame's picture as base64.")
    last_image_path: str | None = Field(default=None, description="The last frame's picture, by path.")
    audio_url: str | None = Field(default=None, description="The sound of s2v, by URL.")
    audio_base64: str | None = Field(default=None, description="The sound of s2v as base64.")
    audio_path: str | None = Field(default=None, description="The sound of s2v, by path.")
    driving_video_url: str | None = Field(default=None, description="The video to follow or to start from, by URL.")
    driving_video_base64: str | None = Field(default=None, description="The same video as base64.")
    driving_video_path: str | None = Field(default=None, description="The same video, by path.")
    prepared_path: str | None = Field(default=None, description="A folder that animate's preprocessing made.")
    denoise: Denoise | None = Field(
        default=None, description="How much of v2v's video is rendered anew; 0.7 if omitted."
    )
    loop: bool = Field(default=False, description="End with the first frame; i2v-A14B only.")
    target_fps: Fps | None = Field(default=None, description="The frame rate of the file; frames are added between.")
    upscale: Upscale | None = Field(default=None, description="2, 4, or the name of an upscale model.")
    soundtrack_url: str | None = Field(default=None, description="A sound to join to the clip, by URL.")
    soundtrack_base64: str | None = Field(default=None, description="A sound to join to the clip, as base64.")
    soundtrack_path: str | None = Field(default=None, description="A sound to join to the clip, by path.")
    return_video: bool = Field(default=True, description="Return the video as a data URI in result.data.")
    timeout: Timeout | None = Field(default=None, description="The job's deadline in seconds.")
    engine: str | None = Field(default=None, description="auto, diffusers, comfyui, wan_cli, mini or runpod.")
    request_id: str | None = Field(default=None, description="Your own id, an idempotency key.")

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings of the fields, each with its documented name."""
        return _ALIASES

    def checked_task(self) -> Task:
        """Return the task if the inputs that it needs were sent. Raises InvalidRequest with the documented sentence."""
        task = task_named(self.task)
        has_prepared = task.takes_prepared and bool(self.prepared_path)
        if task.needs_image and not has_prepared and self.source("reference_image") is None:
            message = f"Missing reference image (url/base64/path) for {task.short_name} task."
            hint = "Send reference_image_url, reference_image_base64 or reference_image_path"
            hint += "." if "task" in self.model_fields_set else ', or "task": "t2v-A14B" for a video from text alone.'
            raise InvalidRequest(message, hint=hint, field="reference_image_url")
        if task.needs_audio and self.source("audio") is None:
            message = f"Missing audio (url/base64/path) for {task.short_name} task."
            raise InvalidRequest(message, hint="Send audio_url, audio_base64 or audio_path.", field="audio_url")
        if task.needs_driving_video and not has_prepared and self.source("driving_video") is None:
            raise _missing_film(task)
        if self.loop:
            self._check_loop(task)
        return task

    def _check_loop(self, task: Task) -> None:
        if not task.takes_last_image:
            able = ", ".join(other.name for other in TASKS.values() if other.takes_last_image)
            message = f"loop needs a task that can end in a given frame; {task.name} cannot."
            raise InvalidRequest(message, hint=f"Use the task {able} with a reference image.", field="loop")
        if self.source("last_image") is not None:
            message = "loop makes the first frame the last one, so there is no place for a last image."
            raise InvalidRequest(message, hint="Send loop or last_image, not both.", field="loop")

    def checked_upscale(self) -> tuple[int | None, str | None]:
        """Return the factor or the model by which the clip is enlarged. Raises InvalidRequest."""
        text = "" if self.upscale is None else str(self.upscale).strip()
        number = text.lower().strip("x")
        if number in map(str, UPSCALE_FACTORS):
            return int(number), None
        if self.upscale is not None and (not text or len(text) > _NAME_CHARS or _is_number(number)):
            message = f"upscale must be 2, 4 or the name of an upscale model; got {text[:40]!r}."
            raise InvalidRequest(message, field="upscale")
        return None, text or None

    def checked_frames(self, task: Task, warnings: list[str]) -> int | None:
        """
        Return a possible number of frames, a line in *warnings* if it is not the one asked for.

        Raises InvalidRequest where they are too few for a last picture.
        """
        frames = self.snapped_frames(self.fps or float(task.fps), warnings)
        if frames is None:
            return task.frames
        # Only a task that ends in one has to have room for it; the others ignore it, with a warning.
        if task.takes_last_image and (self.loop or self.source("last_image") is not None):
            field = "frame_num" if self.frame_num is not None else "seconds"
            check_last_image(frames, self.spelled(field))
        return frames

    def checked_loras(self) -> tuple[Lora, ...]:
        """Return every LoRA of the request, lora_name included. Raises InvalidRequest."""
        pairs = (*(field.to_lora() for field in self.loras), *self.expert_loras())
        if not self.lora_name:
            return pairs
        check_lora_name(self.lora_name, "lora_name")
        return (*pairs, Lora(self.lora_name, None, self.lora_strength, self.lora_strength))

    def diffusion_models(self) -> tuple[str, ...]:
        """Return the models that are named."""
        return tuple(name for name in (self.diffusion_model, self.diffusion_model_2) if name)

    def drawn_seed(self) -> int:
        """
        Return the seed that was sent, or a random one.

        The random seed comes from the system, not from a state that FlashBoot may have frozen with the process.
        """
        return secrets.randbelow(RANDOM_SEED_LIMIT) if self.seed == -1 else self.seed

    def identity(self) -> dict[str, Any]:
        """
        Return the fields that tell this request from others. Their hash is kept with the request id.

        Newer fields count only if they are set, so that jobs of before an update keep their hash.
        """
        return {name: value for name, value in super().identity().items() if name not in _NEWER or value}


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,]+", text) is not None


def _missing_film(task: Task) -> InvalidRequest:
    sent = "driving_video_url, driving_video_base64"
    if task.takes_prepared:
        message = f"Missing {task.film} (url/base64/path) or prepared_path for {task.short_name} task."
        hint = f"Send {sent}, driving_video_path or prepared_path."
    else:
        message = f"Missing {task.film} (url/base64/path) for {task.short_name} task."
        hint = f"Send {sent} or driving_video_path."
    return InvalidRequest(message, hint=hint, field="driving_video_url")
