"""Define the fields of POST /generate, with the documented names, defaults and ranges. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator

from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import (
    Crf,
    Fps,
    Frames,
    Guidance,
    NumOutputs,
    Prompt,
    Seconds,
    Seed,
    Side,
    Steps,
    Strength,
    UploadUrls,
    Upscale,
)
from wanworker.actions.request.lora import LoraRequest, check_lora_name, idle_strength
from wanworker.actions.request.shape import (
    AspectRatio,
    Resolution,
    check_sides_agree,
    check_size_agrees,
    frames_for,
    size_for,
)
from wanworker.ranges import RANGES
from wanworker.recipes.sampling import NEGATIVE_IN_VAIN
from wanworker.recipes.table import STEP_LORAS
from wanworker.settings import EngineName
from wanworker.spec import RANDOM_SEED_LIMIT, TASKS, Profile, Size

#: The task that POST /generate renders.
TASK = "ti2v-5B"

_LORA_FIELDS = frozenset(LoraRequest.model_fields)

#: What `use_lora` means for the task where no LoRA is named. Where one is, it has to be named too.
#: It has a field of its own, so that it does not count among the `loras` of the request.
_FASTWAN_LORA = {"lora_name": STEP_LORAS[TASK].high, "lora_strength": STEP_LORAS[TASK].high_strength}

#: The fields that the `generate` action has under another name, with that name.
_IN_GENERATE = {
    "length": "frame_num",
    "steps": "sample_steps",
    "cfg": "sample_guide_scale",
    "image": "reference_image_base64",
    "image_url": "reference_image_url",
}

RestPrompt = Annotated[str, Field(min_length=1, max_length=int(RANGES["prompt_chars"].high))]


def _as_sent(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Keep a whole number whole, so that the answer shows 24 for 24, also for the text of a form."""
    number = check(value)
    is_whole = isinstance(value, int) or (isinstance(value, str) and value.strip().isdecimal())
    return int(number) if is_whole else number


FpsAsSent = Annotated[Fps, WrapValidator(_as_sent)]


class GenerateBody(LoraRequest):
    """Say what to render. `image` is a file in a form, and base64 or a data URI in JSON."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "prompt": "A boldly colored ladybug moves along a verdant leaf to drink from a water droplet.",
                "negative_prompt": "static, blurry, low quality",
                "seed": 123456,
                "steps": 8,
                "cfg": 1.0,
                "width": 1280,
                "height": 704,
                "length": 121,
                "fps": 24,
            }
        }
    )

    prompt: RestPrompt = Field(description="Text description of the video to generate.")
    negative_prompt: Prompt | None = Field(default=None, description="What to avoid; needs cfg above 1.")
    seed: Seed = Field(default=-1, description="Random seed for reproducible results; -1 picks one.")
    steps: Steps = Field(default=8, description="Denoising steps. Default for other models than FastWAN: their own.")
    cfg: Guidance = Field(default=1.0, description="Classifier-free guidance scale. Default: as for steps.")
    width: Side = Field(default=1280, description="Video width in pixels.")
    height: Side = Field(default=704, description="Video height in pixels.")
    length: Frames = Field(default=121, description="Video length in frames; the nearest 4n+1 is rendered.")
    fps: FpsAsSent = Field(default=24, description="Frames per second.")
    size: str | None = Field(default=None, description="`1280x704` or `1280*704`, instead of width and height.")
    image: str | None = Field(default=None, description="The first frame: base64 or a data URI.")
    image_url: str | None = Field(default=None, description="The first frame, by URL.")
    seconds: Seconds | None = Field(default=None, description="Length in seconds, instead of length.")
    resolution: Resolution | None = Field(default=None, description="The area, instead of width and height.")
    aspect_ratio: AspectRatio | None = Field(
        default=None, description="`16:9`, `9:16`, `1:1` and so on; `auto`: the picture's."
    )
    num_outputs: NumOutputs = Field(default=1, description="Videos to make, with seed, seed + 1 and so on.")
    crf: Crf | None = Field(default=None, description="Quality of the mp4: 0 is lossless, 51 the smallest file.")
    thumbnail: bool = Field(default=False, description="Return where the first frame will be, `thumbnail_url`.")
    output_upload_urls: UploadUrls = Field(
        default=(), repr=False, description="Presigned PUT URLs for the videos, one for each output."
    )
    target_fps: Fps | None = Field(default=None, description="The frame rate of the file; frames are added between.")
    upscale: Upscale | None = Field(default=None, description="2, 4, or the name of an upscale model.")
    soundtrack_url: str | None = Field(default=None, description="A sound to join to the clip, by URL.")
    engine: EngineName | None = Field(default=None, description="What renders. Default: auto.")
    profile: Profile | None = Field(default=None, description="`exact` or `fast`. Default: WAN_PROFILE.")
    diffusion_model: str | None = Field(default=None, description="The model by file or folder name.")
    vae_model: str | None = Field(default=None, description="The VAE by its file name.")
    lora_name: str | None = Field(default=None, description="A LoRA by file name, beside those in loras.")
    lora_strength: Strength = Field(default=1.0, description="The strength of lora_name.")
    webhook_url: str | None = Field(default=None, description="Called by POST when the job has ended.")

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings of the fields: the names of `generate` for them, and its other spellings of them."""
        return _ALIASES

    def resolved(self, remarks: list[str]) -> dict[str, Any]:
        """
        Return the fields as they will be rendered, with a seed. Width and height are None where a picture decides them.

        Everything that will be rendered differently from the request is a line in *remarks*. Raises InvalidRequest for
        two fields that disagree.
        """
        size = self._size(remarks)
        names = {"seconds": self.spelled("seconds"), "frames": self.spelled("length")}
        asked = self.length if "length" in self.model_fields_set else None
        frames = frames_for(self.seconds, asked, fps=self.fps, names=names, warnings=remarks)
        # A cfg that was left out is 1 for FastWAN alone: see with_engine_defaults.
        if self.negative_prompt and self.cfg <= 1 and "cfg" in self.model_fields_set:
            remarks.append(NEGATIVE_IN_VAIN)
        if self.image and self.image_url:
            remarks.append(f"{self.spelled('image_url')} was ignored: {self.spelled('image')} was also given.")
        remarks += idle_strength(self.lora_name, self.lora_strength, self.spelled("lora_strength"))
        if self.lora_name:
            check_lora_name(self.lora_name, self.spelled("lora_name"))
        return {
            "seed": secrets.randbelow(RANDOM_SEED_LIMIT) if self.seed == -1 else self.seed,
            "steps": self.steps,
            "cfg": self.cfg,
            "width": size.width if size else None,
            "height": size.height if size else None,
            "length": self.length if frames is None else frames,
            "fps": self.fps,
        }

    def left_out(self) -> list[str]:
        """Return which of the defaults that are FastWAN's own the caller did not send: see with_engine_defaults."""
        return [name for name in ("steps", "cfg") if name not in self.model_fields_set]

    def _size(self, remarks: list[str]) -> Size | None:
        """Return the size, or None where a picture decides its shape."""
        width, height = (getattr(self, name) if name in self.model_fields_set else None for name in ("width", "height"))
        names = {name: name for name in ("resolution", "aspect_ratio")}
        if self.size and self.size.strip():
            size = Size.parse(self.size)
            check_sides_agree(size, width, height, name="size")
            check_size_agrees(size, self.resolution, self.aspect_ratio, names=names | {"size": "size"})
            return size
        if width or height:
            size = Size(self.width, self.height)
            check_size_agrees(size, self.resolution, self.aspect_ratio, names=names | {"size": "width and height"})
            return size
        by_picture = bool(self.image or self.image_url)
        size, is_asked = size_for(
            self.resolution,
            self.aspect_ratio,
            default=Size(self.width, self.height),
            multiple=TASKS[TASK].size_multiple,
            by_picture=by_picture,
            warnings=remarks,
        )
        return None if by_picture and not is_asked else size

    def all_loras(self) -> dict[str, Any]:
        """Return the fields that list LoRAs as the action takes them: `lora_name` is the last one in `loras`."""
        fields = self.lora_fields()
        if self.lora_name and self.lora_name.strip():
            one = {"high": self.lora_name, "strength": self.lora_strength}
            fields["loras"] = [*fields.get("loras", ()), one]
        return fields


def _other_names() -> dict[str, str]:
    """Return every name that `generate` has for a field of GenerateBody, with the name that it has here."""
    here = {theirs: ours for ours, theirs in _IN_GENERATE.items()}
    others = {**{theirs: theirs for theirs in here}, **GenerateRequest.aliases()}
    names = {name: here.get(theirs, theirs) for name, theirs in others.items()}
    return {name: ours for name, ours in names.items() if ours in GenerateBody.model_fields and name != ours}


_ALIASES = _other_names()


def generate_fields(body: GenerateBody, resolved: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the `generate` action that mean the same. The caller has to add the picture."""
    size = None if resolved["width"] is None else f"{resolved['width']}*{resolved['height']}"
    fields = {
        "task": TASK,
        "prompt": body.prompt,
        "negative_prompt": body.negative_prompt,
        "size": size,
        "frame_num": resolved["length"],
        "fps": resolved["fps"],
        "sample_steps": resolved["steps"],
        "sample_guide_scale": resolved["cfg"],
        "seed": resolved["seed"],
        "target_fps": body.target_fps,
        "upscale": body.upscale,
        "soundtrack_url": body.soundtrack_url,
        "engine": body.engine,
        "profile": body.profile,
        "diffusion_model": body.diffusion_model,
        "vae_model": body.vae_model,
        "resolution": body.resolution if size is None else None,
        "num_outputs": body.num_outputs if body.num_outputs > 1 else None,
        "crf": body.crf,
        "reference_image_url": None if body.image else body.image_url or None,
    }
    return {name: value for name, value in fields.items() if value is not None} | body.all_loras()


def with_engine_defaults(
    fields: dict[str, Any], left_out: list[str], *, is_fastwan: bool
) -> tuple[dict[str, Any], list[str]]:
    """
    Return *fields* for the engine that renders: FastWAN's graph, or another model with its own steps and guidance.

    FastWAN was distilled for 8 steps without guidance; any other model renders badly with them. So they are kept if the
    request has them. If they are only the documented defaults (*left_out* names these), another model uses its own, and
    a warning says so. LoRAs of the request are added to FastWAN's own.
    """
    if is_fastwan:
        own = _FASTWAN_LORA if _LORA_FIELDS & fields.keys() else {}
        remarks = [NEGATIVE_IN_VAIN] if "cfg" in left_out and fields.get("negative_prompt") else []
        return {**fields, **own, "engine": "comfyui", "use_lora": True}, remarks
    names = {"steps": "sample_steps", "cfg": "sample_guide_scale"}
    dropped = {names[name] for name in left_out if name in names}
    kept = {name: value for name, value in fields.items() if name not in dropped}
    if not dropped:
        return kept, []
    words = " and ".join(name for name in names if name in left_out)
    return kept, [f"{words} left out: the defaults are FastWAN's, but another model renders, with its own."]
