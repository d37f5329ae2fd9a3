"""The fields of `comfyui_i2v`, with the documented defaults. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from wanworker.actions.comfyui._answer import DEFAULT_TIMEOUT_S
from wanworker.actions.request.fields import Fps, Frames, Guidance, Prompt, Seed, Shift, Side, Steps, Strength, Timeout
from wanworker.actions.request.lora import check_lora_name, idle_strength
from wanworker.actions.request.video import VIDEO_ALIASES, VideoRequest
from wanworker.errors import InvalidRequest
from wanworker.media.inputs.reader import Source
from wanworker.recipes.table import recipe_for
from wanworker.spec import RANDOM_SEED_LIMIT, TASKS, Lora, Profile, RenderSpec, Size, check_last_image

#: Where the request has no size, the video has this area and the shape of the picture, as documented.
DEFAULT_SIZE = Size(832, 480)

#: What renders unless the request says otherwise, as documented.
_ENGINE = "comfyui"

_TASK = TASKS["i2v-A14B"]

_FIRST_FIELDS = """
    cfg_scale diffusion_model diffusion_model_2 end_image_base64 end_image_path end_image_url fps height length
    lora_name lora_strength loras negative_prompt prompt reference_image_base64 reference_image_path
    reference_image_url sample_shift seed single_expert size steps use_lora vae_model width
"""

_ALIASES: Mapping[str, str] = {
    "image": "reference_image_base64",
    "image_url": "reference_image_url",
    "image_base64": "reference_image_base64",
    "image_path": "reference_image_path",
    "last_image_url": "end_image_url",
    "last_image_base64": "end_image_base64",
    "last_image_path": "end_image_path",
    "frame_num": "length",
    "num_frames": "length",
    "frames": "length",
    "sample_steps": "steps",
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "sample_guide_scale": "cfg_scale",
    "cfg": "cfg_scale",
    "shift": "sample_shift",
    "lora": "lora_name",
    "lora_scale": "lora_strength",
    "lora_weight": "lora_strength",
    **VIDEO_ALIASES,
}


class I2vRequest(VideoRequest):
    """Hold the fields of `comfyui_i2v`: the documented names and defaults of worker-api.md, and our additions."""

    frames_field: ClassVar[str] = "length"
    first_fields: ClassVar[frozenset[str]] = frozenset(_FIRST_FIELDS.split())

    reference_image_url: str | None = Field(default=None, description="The picture, by URL or data URI.")
    reference_image_base64: str | None = Field(default=None, description="The picture as base64 or data URI.")
    reference_image_path: str | None = Field(default=None, description="The picture below an input folder.")
    end_image_url: str | None = Field(default=None, description="The last frame's picture, by URL.")
    end_image_base64: str | None = Field(default=None, description="The last frame's picture as base64.")
    end_image_path: str | None = Field(default=None, description="The last frame's picture, by path.")
    prompt: Prompt = Field(default="", description="What the video shows.")
    negative_prompt: Prompt | None = Field(default=None, description="What the video must not show.")
    diffusion_model: str = Field(
        default="wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
        description="One expert's file; its sibling is inferred.",
    )
    diffusion_model_2: str | None = Field(default=None, description="The other expert's file, if not inferred.")
    single_expert: bool = Field(default=False, description="Render with diffusion_model alone.")
    vae_model: str = Field(default="wan_2.1_vae.safetensors", description="The VAE's file.")
    steps: Steps = Field(default=20, description="Denoising steps of both experts together.")
    cfg_scale: Guidance = Field(default=7.0, description="Classifier-free guidance scale.")
    sample_shift: Shift | None = Field(default=None, description="The flow shift of the sampler.")
    seed: Seed = Field(default=-1, description="-1 picks a random seed; the answer has the one that was used.")
    use_lora: bool = Field(default=False, description="Use lora_name, or the model's own 4-step pair.")
    lora_name: str | None = Field(default=None, description="A LoRA by file name; its sibling is inferred.")
    lora_strength: Strength = Field(default=1.0, description="The strength of lora_name.")
    size: str | None = Field(default=None, description="`832*480`; the picture's shape at that area if omitted.")
    width: Side | None = Field(default=None, description="Width in pixels, together with height, instead of size.")
    height: Side | None = Field(default=None, description="Height in pixels, together with width, instead of size.")
    length: Frames = Field(default=81, description="Frames; the nearest 4n+1 is rendered.")
    fps: Fps = Field(default=16, description="Frames per second.")
    engine: str = Field(default=_ENGINE, description="What renders; `diffusers` reads the same files.")
    profile: Profile | None = Field(default=None, description="`exact` or `fast`, for the diffusers engine.")
    timeout: Timeout = Field(default=DEFAULT_TIMEOUT_S, description="The job's deadline in seconds.")
    return_video: bool = Field(default=True, description="Return the video as a data URI in result.data.")
    request_id: str | None = Field(default=None, description="Your own id, an idempotency key.")

    @classmethod
    def aliases(cls) -> Mapping[str, str]:
        """Return other spellings of the fields, each with its documented name."""
        return _ALIASES

    def checked_image(self) -> Source:
        """Return where the picture comes from. Raises InvalidRequest with the documented sentence."""
        image = self.source("reference_image")
        if image is None:
            hint = "Send reference_image_url, reference_image_base64 or reference_image_path."
            message = "Missing reference image (url/base64/path) for i2v task."
            raise InvalidRequest(message, hint=hint, field="reference_image_url")
        return image

    def to_spec(self, warnings: list[str]) -> RenderSpec:
        """
        Return the spec without its files. Each change to the request becomes a line in *warnings*. Raises
        InvalidRequest.
        """
        size, is_given = self.wanted_size(warnings)
        warnings += self.overruled()
        warnings += idle_strength(self.lora_name, self.lora_strength, self.spelled("lora_strength"))
        frames = self.wanted_frames(warnings) or self.length
        self.check_loop(_TASK, "end_image")
        factor, upscaler = self.checked_upscale()
        if self.loop or self.source("end_image") is not None:
            check_last_image(frames, self.spelled("length" if self.seconds is None else "seconds"))
        loras = self._wanted_loras(warnings)
        steps, guidance = self._sampling(loras)
        return RenderSpec(
            task=_TASK.name,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt or None,
            size=size,
            size_given=is_given,
            fps=float(self.fps),
            fps_given="fps" in self.model_fields_set,
            frames=frames,
            seed=secrets.randbelow(RANDOM_SEED_LIMIT) if self.seed == -1 else self.seed,
            steps=steps,
            guidance=guidance,
            shift=self.sample_shift,
            use_lora=self.use_lora or bool(loras),
            loras=loras,
            diffusion_models=self._models(),
            vae_model=self.vae_model if self._uses("vae_model") else None,
            profile=self.profile,
            single_expert=self.single_expert,
            crf=self.crf,
            loop=self.loop,
            target_fps=self.target_fps,
            upscale_factor=factor,
            upscale_model=upscaler,
        )

    def wanted_size(self, warnings: list[str]) -> tuple[Size, bool]:
        """Return what `shape` returns for the task of the request. Raises InvalidRequest."""
        return self.shape(default=DEFAULT_SIZE, multiple=_TASK.size_multiple, by_picture=True, warnings=warnings)

    def wanted_frames(self, warnings: list[str]) -> int | None:
        """Return what `snapped_frames` returns at the frame rate of the request. Raises InvalidRequest."""
        return self.snapped_frames(self.fps, warnings)

    def meaning(self) -> dict[str, Any]:
        """
        Return the fields that have several spellings, each in the plainest, and the defaults that hold only if sent.

        Raises InvalidRequest.
        """
        steps, guidance = self._sampling(self._wanted_loras([]))
        files = {name: getattr(self, name) if self._uses(name) else None for name in ("diffusion_model", "vae_model")}
        sampling = {"steps": steps, "cfg_scale": guidance, "negative_prompt": self.negative_prompt or None}
        return {**super().meaning(), **files, **sampling}

    def meant_loras(self) -> dict[str, Any]:
        """Return the LoRAs that are used, with `use_lora`: the last one of `loras` as `lora_name`, as documented."""
        if not self._takes_loras():
            return {"lora_name": None, "lora_strength": 1.0}
        name, strength, lists = self.lora_name, self.lora_strength, self.plain_loras()
        if not name and lists["loras"] and lists["loras"][-1].is_single():
            *rest, last = lists["loras"]
            name, strength, lists["loras"] = last.high, last.strength, tuple(rest)
        return {**lists, "lora_name": name or None, "lora_strength": strength if name else 1.0, "use_lora": True}

    def _sampling(self, loras: Sequence[Lora]) -> tuple[int | None, float | None]:
        """Return steps and guidance. A few-step LoRA brings its own, unless the request sets them."""
        given = self.model_fields_set
        named = [name for lora in loras for name in (lora.high, lora.low) if name]
        is_distilled = (self.use_lora or bool(loras)) and (
            not named or recipe_for(models=self._models(), loras=named) is not None
        )
        steps = None if is_distilled and "steps" not in given else self.steps
        return steps, None if is_distilled and "cfg_scale" not in given else self.cfg_scale

    def _takes_loras(self) -> bool:
        return bool(self.use_lora or self.loras or self.high_noise_loras or self.low_noise_loras)

    def _wanted_loras(self, warnings: list[str]) -> tuple[Lora, ...]:
        """Return the LoRAs of the request. A name without use_lora becomes a line in *warnings*."""
        if self.refuses_loras():
            warnings += self.refused_loras()
            return ()
        if self._takes_loras():
            return self._loras()
        if self.lora_name:
            warnings.append(f"{self.spelled('lora_name')} was ignored: set use_lora to true.")
        return ()

    def _models(self) -> tuple[str, ...]:
        names = (self.diffusion_model if self._uses("diffusion_model") else None, self.diffusion_model_2)
        return tuple(name for name in names if name)

    def _uses(self, field: str) -> bool:
        """Say whether the file of *field* is wanted: a default is a file of ComfyUI's, which others need not have."""
        return self.engine == _ENGINE or field in self.model_fields_set

    def _loras(self) -> tuple[Lora, ...]:
        pairs = self.listed_loras()
        if not self.lora_name:
            return pairs
        check_lora_name(self.lora_name, self.spelled("lora_name"))
        return (*pairs, Lora(self.lora_name, None, self.lora_strength, self.lora_strength))
