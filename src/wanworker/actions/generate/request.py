"""The fields of `generate`, parsed and checked before any file is read. Pure."""

from __future__ import annotations

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
)
from wanworker.actions.request.lora import LoraField, check_lora_name
from wanworker.actions.request.video import VIDEO_ALIASES, VideoRequest
from wanworker.errors import InvalidRequest
from wanworker.spec import RANDOM_SEED_LIMIT, TASKS, Lora, Profile, Size, Task, check_last_image, task_named

_FIRST_FIELDS = """
    audio_base64 audio_path audio_url driving_video_base64 driving_video_path driving_video_url engine fps frame_num
    guidance_scale_2 height last_image_base64 last_image_path last_image_url lora_name lora_strength loras
    negative_prompt offload_model prepared_path prompt reference_image_base64 reference_image_path reference_image_url
    sample_guide_scale sample_shift sample_solver sample_steps seed size task use_lora width
"""

#: Leaves the choice of the engine to the worker, as a request without one does.
_ANY_ENGINE = "auto"

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
    "image": "reference_image_base64",
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
}


class GenerateRequest(VideoRequest):
    """Hold the fields of `generate`, with the documented names, defaults and meanings of worker-api.md."""

    frames_field: ClassVar[str] = "frame_num"
    first_fields: ClassVar[frozenset[str]] = frozenset(_FIRST_FIELDS.split())

    task: str = Field(default="i2v-A14B", description=f"{', '.join(TASKS)}.")
    prompt: Prompt = Field(default="", description="What the video shows.")
    negative_prompt: Prompt | None = Field(default=None, description="What the video must not show.")
    size: str | None = Field(default=None, description="`1280*720` or `1280x720`; the task's own size if omitted.")
    width: Side | None = Field(default=None, description="Width in pixels, together with height, instead of size.")
    height: Side | None = Field(default=None, description="Height in pixels, together with width, instead of size.")
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
        self.check_loop(task, "last_image")
        return task

    def wanted_size(self, warnings: list[str]) -> tuple[Size, bool]:
        """Return what `shape` returns for the task of the request. Raises InvalidRequest."""
        task = task_named(self.task)
        has_picture = task.takes_image and self.source("reference_image") is not None
        has_film = self.reads_film(task) and self.source("driving_video") is not None
        return self.shape(
            default=task.size,
            multiple=task.size_multiple,
            by_picture=has_picture or has_film,
            warnings=warnings,
        )

    def reads_film(self, task: Task) -> bool:
        """Say whether the driving video of the request is used: a prepared folder takes its place."""
        return task.needs_driving_video and not (task.takes_prepared and self.prepared_path)

    def wanted_frames(self, warnings: list[str]) -> int | None:
        """Return what `snapped_frames` returns at the frame rate of the request. Raises InvalidRequest."""
        return self.snapped_frames(self.fps or float(task_named(self.task).fps), warnings)

    def checked_frames(self, task: Task, warnings: list[str]) -> int | None:
        """
        Return a possible number of frames, a line in *warnings* if it is not the one asked for.

        Raises InvalidRequest where they are too few for a last picture.
        """
        frames = self.wanted_frames(warnings)
        if frames is None:
            return task.frames
        # Only a task that ends in one has to have room for it; the others ignore it, with a warning.
        if task.takes_last_image and (self.loop or self.source("last_image") is not None):
            field = "frame_num" if self.frame_num is not None else "seconds"
            check_last_image(frames, self.spelled(field))
        return frames

    def checked_loras(self) -> tuple[Lora, ...]:
        """Return every LoRA of the request, lora_name included; none if use_lora is false. Raises InvalidRequest."""
        if self.refuses_loras():
            return ()
        pairs = self.listed_loras()
        if not self.lora_name:
            return pairs
        check_lora_name(self.lora_name, self.spelled("lora_name"))
        return (*pairs, Lora(self.lora_name, None, self.lora_strength, self.lora_strength))

    def meaning(self) -> dict[str, Any]:
        """Return the fields that have several spellings, each in the plainest. Raises InvalidRequest."""
        return {
            **super().meaning(),
            "engine": None if self.engine == _ANY_ENGINE else self.engine,
            "negative_prompt": self.negative_prompt or None,
            "prepared_path": self.prepared_path or None,
        }

    def meant_loras(self) -> dict[str, Any]:
        """Return every LoRA in a list: `lora_name` is the last one in `loras`, and `use_lora` adds nothing to them."""
        named = [LoraField(high=self.lora_name, strength=self.lora_strength)] if self.lora_name else []
        lists = self.plain_loras(*named)
        return {**lists, "lora_name": None, "lora_strength": 1.0, "use_lora": self.use_lora and not any(lists.values())}

    def diffusion_models(self) -> tuple[str, ...]:
        """Return the models that are named."""
        return tuple(name for name in (self.diffusion_model, self.diffusion_model_2) if name)

    def drawn_seed(self) -> int:
        """
        Return the seed that was sent, or a random one.

        The random seed comes from the system, not from a state that FlashBoot may have frozen with the process.
        """
        return secrets.randbelow(RANDOM_SEED_LIMIT) if self.seed == -1 else self.seed


def _missing_film(task: Task) -> InvalidRequest:
    sent = "driving_video_url, driving_video_base64"
    if task.takes_prepared:
        message = f"Missing {task.film} (url/base64/path) or prepared_path for {task.short_name} task."
        hint = f"Send {sent}, driving_video_path or prepared_path."
    else:
        message = f"Missing {task.film} (url/base64/path) for {task.short_name} task."
        hint = f"Send {sent} or driving_video_path."
    return InvalidRequest(message, hint=hint, field="driving_video_url")
