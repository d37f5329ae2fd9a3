"""Translate a spec into fields of `generate`, so that a worker elsewhere makes the same spec of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wanworker.spec import TASKS, Lora, RenderSpec, Size, size_at_aspect

#: The spec's files, each with the stem of its field: `_base64`, `_url` or `_path` follows.
FILES: Mapping[str, str] = {
    "image": "reference_image",
    "last_image": "last_image",
    "audio": "audio",
    "driving_video": "driving_video",
    "soundtrack": "soundtrack",
}

#: What a spec and `generate` hold alike, each with its field. None is left out: the worker's own default holds.
_ALIKE: Mapping[str, str] = {
    "negative_prompt": "negative_prompt",
    "frames": "frame_num",
    "steps": "sample_steps",
    "guidance": "sample_guide_scale",
    "guidance_low": "guidance_scale_2",
    "shift": "sample_shift",
    "solver": "sample_solver",
    "offload_model": "offload_model",
    "profile": "profile",
    "vae_model": "vae_model",
    "crf": "crf",
    "denoise": "denoise",
    "target_fps": "target_fps",
    "upscale_factor": "upscale",
    "upscale_model": "upscale",
}


def fields_of(spec: RenderSpec, picture: Size | None = None) -> dict[str, Any]:
    """Return the fields of *spec*, except those of its files. *picture* is the size of its image in pixels."""
    fields: dict[str, Any] = {"task": spec.task, "prompt": spec.prompt, "seed": spec.seed}
    fields |= {field: value for name, field in _ALIKE.items() if (value := getattr(spec, name)) is not None}
    if spec.size_given or spec.size != _own_size(spec, picture):
        fields["size"] = str(spec.size)
    if spec.fps_given:
        fields["fps"] = spec.fps
    if spec.diffusion_models:
        names = ("diffusion_model", "diffusion_model_2")
        fields |= dict(zip(names, spec.diffusion_models, strict=False))
    if spec.single_expert:
        fields["single_expert"] = True
    fields |= {name: True for name in ("use_lora", "loop") if getattr(spec, name)}
    return fields | _loras(spec.loras)


def _own_size(spec: RenderSpec, picture: Size | None) -> Size:
    """Return the size that the worker chooses where none is asked for: the task's own, in the shape of the picture."""
    task = TASKS[spec.task]
    if picture is None or not task.takes_image:
        return task.size
    return size_at_aspect(picture.aspect, task.size.area, task.size_multiple)


def _loras(loras: Sequence[Lora]) -> dict[str, Any]:
    """Return pairs, then files for one expert, then the one of lora_name: in this order `generate` joins them."""
    exact = [number for number, lora in enumerate(loras) if lora.is_exact]
    named = [lora for lora in loras[exact[-1] :] if not lora.is_exact] if exact else []
    pairs = [lora for lora in loras if not lora.is_exact][: len(loras) - len(exact) - len(named)]
    fields: dict[str, Any] = {
        "loras": [
            {"high": lora.high, "low": lora.low, "high_strength": lora.high_strength, "low_strength": lora.low_strength}
            for lora in pairs
        ],
        "high_noise_loras": [
            {"path": lora.high, "scale": lora.high_strength} for lora in loras if lora.is_exact and lora.high
        ],
        "low_noise_loras": [
            {"path": lora.low, "scale": lora.low_strength} for lora in loras if lora.is_exact and lora.low
        ],
    }
    if named:
        fields |= {"lora_name": named[0].high, "lora_strength": named[0].high_strength}
    return {name: value for name, value in fields.items() if value}


def files_of(spec: RenderSpec) -> dict[str, Path]:
    """
    Return the files of *spec* by the stems of their fields. A prepared folder is not among them, and no last picture of
    a loop, which is the first one.
    """
    files = {stem: path for name, stem in FILES.items() if (path := getattr(spec, name)) is not None}
    if spec.loop:
        files.pop("last_image", None)
    return files
