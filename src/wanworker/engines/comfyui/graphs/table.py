"""
List our graphs: for each file of workflows/ its slots by node title, its weights and its parts.

To add a graph, add one file, one row here and one test: see docs/adding-a-workflow.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from wanworker.engines.comfyui.graphs._wiring import Segment
from wanworker.engines.comfyui.graphs._workflow import SAVER, Slot, Upload, Workflow
from wanworker.engines.comfyui.graphs.choice.models import Weights
from wanworker.models.files.loras import Expert
from wanworker.recipes.table import STEP_LORAS


def _slot(name: str, *titles: str) -> Slot:
    return Slot(name, titles)


_HIGH, _LOW = "High-noise sampler", "Low-noise sampler"
_FIRST, _NEXT = "First clip", "Next clip"

_TEXT = {
    "prompt": _slot("text", "Prompt"),
    "negative_prompt": _slot("text", "Negative prompt"),
    "text_encoder": _slot("clip_name", "Text encoder"),
    "vae": _slot("vae_name", "VAE"),
    "filename_prefix": _slot("filename_prefix", SAVER),
}
_SIZE = {
    "width": _slot("width", "Size and length"),
    "height": _slot("height", "Size and length"),
    "frames": _slot("length", "Size and length"),
    "fps": _slot("fps", "Make the video"),
}
_PAIR = {
    "high_noise_model": _slot("unet_name", "High-noise model"),
    "low_noise_model": _slot("unet_name", "Low-noise model"),
    "shift": _slot("shift", "High-noise shift", "Low-noise shift"),
    "seed": _slot("noise_seed", _HIGH, _LOW),
    "steps": _slot("steps", _HIGH, _LOW),
    "high_noise_end": _slot("end_at_step", _HIGH),
    "low_noise_start": _slot("start_at_step", _LOW),
    "guidance": _slot("cfg", _HIGH),
    "guidance_low": _slot("cfg", _LOW),
    "sampler": _slot("sampler_name", _HIGH, _LOW),
}
_MODEL = {"model": _slot("unet_name", "Model"), "shift": _slot("shift", "Shift")}


def _sampler(*titles: str) -> Mapping[str, Slot]:
    names = {"seed": "seed", "steps": "steps", "guidance": "cfg", "sampler": "sampler_name"}
    return {slot: _slot(name, *titles) for slot, name in names.items()}


_CLIPS = {
    **_TEXT,
    **_MODEL,
    **_sampler("First clip's sampler", "Next clip's sampler"),
    "image": _slot("image", "Reference picture"),
    "audio": _slot("audio", "Sound"),
}

_CLIP_SIZE = {"width": _slot("width", _FIRST, _NEXT), "height": _slot("height", _FIRST, _NEXT)}
_ALL_FRAMES = {"frames": _slot("length", "All frames"), "picture_encoder": _slot("clip_name", "Picture encoder")}

_UMT5 = Weights("text_encoders", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", ("umt5", "xxl"))
_VAE = Weights("vae", "wan_2.1_vae.safetensors", ("wan2.1", "vae"))
_CLIP_VISION = Weights("clip_vision", "clip_vision_h.safetensors", ("clip", "vision", "h"))
_VAE_5B = Weights("vae", "wan2.2_vae.safetensors", ("wan2.2", "vae"))


def _pair_weights(kind: str) -> Mapping[str, Weights]:
    high, low = (
        Weights(
            "diffusion_models",
            f"wan2.2_{kind}_{half}_noise_14B_fp8_scaled.safetensors",
            ("wan2.2", *kind.split("_"), half),
            half,
        )
        for half in _HALVES
    )
    return {"high_noise_model": high, "low_noise_model": low, "text_encoder": _UMT5, "vae": _VAE}


def _model_weights(default: str, *words: str, vae: Weights = _VAE) -> Mapping[str, Weights]:
    model = Weights("diffusion_models", default, ("wan2.2", *words))
    return {"model": model, "text_encoder": _UMT5, "vae": vae}


_HALVES: tuple[Expert, Expert] = ("high", "low")
_PAIR_MODELS: Mapping[Expert, str] = {"high": "High-noise model", "low": "Low-noise model"}
_ONE_MODEL: Mapping[Expert, str] = {"high": "Model"}

_FIVE_B = {**_TEXT, **_SIZE, **_MODEL, **_sampler("Sampler"), "image": _slot("image", "First frame")}
_FIVE_B_WEIGHTS = _model_weights("wan2.2_ti2v_5B_fp16.safetensors", "ti2v", "5b", vae=_VAE_5B)
_FIVE_B_PARTS: Mapping[Upload, tuple[str, ...]] = {"image": ("First frame",)}

#: One more clip of a character that follows a driving video.
_MOTION = Segment(
    titles=(
        _NEXT,
        "Next clip's sampler",
        "Next clip without the reference",
        "Decode the next clip",
        "Next clip's new frames",
        "Clips so far",
    ),
    carries={_FIRST: _NEXT, "Decode the first clip": "Clips so far"},
    length=_NEXT,
    sampler="Next clip's sampler",
    first_length=_FIRST,
    first_sampler="First clip's sampler",
)

_ROWS = (
    Workflow(
        "t2v-A14B", "t2v-A14B",
        slots={**_TEXT, **_SIZE, **_PAIR},
        weights=_pair_weights("t2v"),
        models=_PAIR_MODELS,
    ),
    Workflow(
        "i2v-A14B", "i2v-A14B",
        slots={**_TEXT, **_SIZE, **_PAIR, "image": _slot("image", "First frame")},
        weights=_pair_weights("i2v"),
        models=_PAIR_MODELS,
    ),
    Workflow(
        "i2v-A14B-first-last", "i2v-A14B",
        slots={
            **_TEXT, **_SIZE, **_PAIR,
            "image": _slot("image", "First frame"), "last_image": _slot("image", "Last frame"),
        },
        weights=_pair_weights("i2v"),
        models=_PAIR_MODELS,
        made_for=frozenset({"last_image"}),
    ),
    Workflow(
        "ti2v-5B", "ti2v-5B",
        slots=_FIVE_B,
        weights=_FIVE_B_WEIGHTS,
        models=_ONE_MODEL,
        parts=_FIVE_B_PARTS,
    ),
    Workflow(
        "ti2v-5B-fastwan", "ti2v-5B",
        slots={**_FIVE_B, "lora": _slot("lora_name", "FastWAN LoRA")},
        weights={
            **_FIVE_B_WEIGHTS,
            "lora": Weights("loras", STEP_LORAS["ti2v-5B"].high or "", ("fastwan",)),
        },
        models={"high": "FastWAN LoRA"},
        parts=_FIVE_B_PARTS,
        made_for=frozenset({"step_lora"}),
    ),
    Workflow(
        "s2v-14B", "s2v-14B",
        slots={
            **_CLIPS,
            "width": _slot("width", _FIRST), "height": _slot("height", _FIRST),
            "frames_after_hold": _slot("length", "Frames after the run-up"),
            "speech_encoder": _slot("audio_encoder_name", "Speech encoder"),
        },
        weights={
            **_model_weights("wan2.2_s2v_14B_fp8_scaled.safetensors", "s2v"),
            "speech_encoder": Weights(
                "audio_encoders", "wav2vec2_large_english_fp16.safetensors", ("wav2vec2", "large")
            ),
        },
        models=_ONE_MODEL,
        segment=Segment(
            titles=(_NEXT, "Next clip's sampler", "Clips so far"),
            carries={"First clip's sampler": "Clips so far"},
            length=_NEXT, sampler="Next clip's sampler",
            first_length=_FIRST, first_sampler="First clip's sampler",
        ),
        decides_fps=True,
    ),
    Workflow(
        "animate-14B", "animate-14B",
        slots={
            **_CLIPS,
            **_CLIP_SIZE,
            **_ALL_FRAMES,
            "pose_video": _slot("file", "Pose video"),
            "face_video": _slot("file", "Face video"),
            "background_video": _slot("file", "Background video"),
            "mask_video": _slot("file", "Mask video"),
        },
        weights={
            **_model_weights("Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors", "animate"),
            "picture_encoder": _CLIP_VISION,
        },
        models=_ONE_MODEL,
        parts={
            "audio": ("Sound",), "background_video": ("Background frames",), "mask_video": ("Mask",),
        },
        segment=_MOTION,
        decides_fps=True,
    ),
    Workflow(
        "vace-A14B", "vace-A14B",
        slots={
            **_TEXT, **_SIZE, **_PAIR,
            "image": _slot("image", "Reference picture"), "driving_video": _slot("file", "Control video"),
        },
        weights=_pair_weights("fun_vace"),
        models=_PAIR_MODELS,
        parts={"image": ("Reference picture",)},
    ),
    Workflow(
        "v2v-A14B", "v2v-A14B",
        slots={
            **_TEXT, **_PAIR,
            "driving_video": _slot("file", "Video"),
            "width": _slot("width", "Size"), "height": _slot("height", "Size"),
            "frames": _slot("length", "Length"), "fps": _slot("fps", "Make the video"),
            "first_step": _slot("start_at_step", _HIGH),
        },
        weights=_pair_weights("t2v"),
        models=_PAIR_MODELS,
    ),
    Workflow(
        "animate2-14B", "animate2-14B",
        slots={
            **{slot: place for slot, place in _CLIPS.items() if slot != "audio"},
            **_CLIP_SIZE,
            **_ALL_FRAMES,
            "fps": _slot("fps", "Make the video"),
            "driving_video": _slot("file", "Driving video"),
        },
        weights={
            "model": Weights("diffusion_models", "wan_animate_2_int8_convrot.safetensors", ("animate2",)),
            "text_encoder": _UMT5, "vae": _VAE, "picture_encoder": _CLIP_VISION,
        },
        models=_ONE_MODEL,
        segment=_MOTION,
    ),
)  # fmt: skip

WORKFLOWS: Mapping[str, Workflow] = {row.name: row for row in _ROWS}
