"""
List the weight sets: where each comes from and where it goes. `fetch` and `doctor` read this table.

ComfyUI's sets are single files with names that our graphs know; upstream's and diffusers' sets are whole repositories.
To add a set, add one row to PRESETS and one test. The sizes of single files are the hub's own. The size of a repository
is rounded, or None where it is not known. These sizes are only shown in lists: a fetch asks the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from wanworker.spec import TASKS

#: Files that a model's page on the hub shows, but that no engine opens.
_LEFT_OUT = (".gitattributes", "*.md", "assets/*", "examples/*", "LICENSE*")


@dataclass(frozen=True, slots=True)
class WeightFile:
    """Name one file: its repository and path there, and its folder below a models folder."""

    repository: str
    path: str
    folder: str
    size_bytes: int | None

    @property
    def name(self) -> str:
        """Return the file's own name, which graphs use."""
        return PurePosixPath(self.path).name

    @property
    def target(self) -> str:
        """Return its path below a models folder: `vae/wan_2.1_vae.safetensors`."""
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True, slots=True)
class Tree:
    """Name a repository that is used as a whole, and its folder below a models folder."""

    repository: str
    folder: str
    size_bytes: int | None

    def wants(self, path: str) -> bool:
        """Say whether an engine may open the file at *path* of the repository. Pure."""
        return not any(fnmatchcase(path, pattern) for pattern in _LEFT_OUT)


@dataclass(frozen=True, slots=True)
class Preset:
    """Describe one set of weights that lets one engine render one task. It has either files or a tree."""

    name: str
    engine: str
    task: str
    meaning: str
    files: tuple[WeightFile, ...] = ()
    tree: Tree | None = None

    @property
    def repositories(self) -> tuple[str, ...]:
        """Return the repositories that it comes from, each once."""
        names = [file.repository for file in self.files] + ([self.tree.repository] if self.tree else [])
        return tuple(dict.fromkeys(names))

    @property
    def size_bytes(self) -> int | None:
        """Return the size of the whole set, or None if the size of a part is not known."""
        parts = [file.size_bytes for file in self.files] + ([self.tree.size_bytes] if self.tree else [])
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


_WAN22, _WAN21 = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged", "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
_KIJAI, _KIJAI_FP8 = "Kijai/WanVideo_comfy", "Kijai/WanVideo_comfy_fp8_scaled"


def _repackaged(folder: str, name: str, size_bytes: int | None, repository: str = _WAN22) -> WeightFile:
    return WeightFile(repository, f"split_files/{folder}/{name}", folder, size_bytes)


def _pair(kind: str, size_bytes: int | None) -> tuple[WeightFile, ...]:
    names = (f"wan2.2_{kind}_{half}_noise_14B_fp8_scaled.safetensors" for half in ("high", "low"))
    return tuple(_repackaged("diffusion_models", name, size_bytes) for name in names)


def _step_pair(stem: str) -> tuple[WeightFile, ...]:
    names = (f"wan2.2_{stem}_{half}_noise.safetensors" for half in ("high", "low"))
    return tuple(_repackaged("loras", name, 1_226_977_424) for name in names)


_UMT5 = _repackaged("text_encoders", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", 6_735_906_897, _WAN21)
_VAE = _repackaged("vae", "wan_2.1_vae.safetensors", 253_815_318)
_VAE_5B = _repackaged("vae", "wan2.2_vae.safetensors", 1_409_400_960)
_FIVE_B = _repackaged("diffusion_models", "wan2.2_ti2v_5B_fp16.safetensors", 9_999_658_848)
_FASTWAN = WeightFile(_KIJAI, "FastWan/Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors", "loras", 660_874_456)
_I2V_480P = WeightFile(
    _KIJAI, "Lightx2v/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", "loras", 738_005_744
)
_T2V_STEPS, _I2V_STEPS = _step_pair("t2v_lightx2v_4steps_lora_v1.1"), _step_pair("i2v_lightx2v_4steps_lora_v1")
_S2V = _repackaged("diffusion_models", "wan2.2_s2v_14B_fp8_scaled.safetensors", 16_394_832_474)
_SPEECH = _repackaged("audio_encoders", "wav2vec2_large_english_fp16.safetensors", 630_997_322)
_ANIMATE = WeightFile(
    _KIJAI_FP8, "Wan22Animate/Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors", "diffusion_models", None
)
#: ComfyUI's template for Animate-2 names this repository, whose folders are those of a models folder.
_ANIMATE_2 = WeightFile(
    "Comfy-Org/Wan-Animate-2", "diffusion_models/wan_animate_2_int8_convrot.safetensors", "diffusion_models", None
)
_CLIP_VISION = _repackaged("clip_vision", "clip_vision_h.safetensors", 1_264_219_396, _WAN21)


def _upstream(task: str, size_bytes: int) -> Preset:
    folder = TASKS[task].folder
    tree = Tree(f"Wan-AI/{folder}", folder, size_bytes)
    return Preset(f"cli-{task.lower()}", "wan_cli", task, "Upstream's own checkpoint, for generate.py.", tree=tree)


def _diffusers(task: str) -> Preset:
    folder = f"{TASKS[task].folder}-Diffusers"
    tree = Tree(f"Wan-AI/{folder}", folder, None)
    return Preset(f"diffusers-{task.lower()}", "diffusers", task, "For the process that stays warm.", tree=tree)


#: If an engine has several sets for one task, `doctor` recommends the first.
_ROWS = (
    Preset(
        "fastwan-5b", "comfyui", "ti2v-5B", "Text or a picture to 720p in 8 steps; 24 GB cards and up.",
        (_FIVE_B, _UMT5, _VAE_5B, _FASTWAN),
    ),
    Preset(
        "i2v-4step-fp8", "comfyui", "i2v-A14B", "A picture to video, with the LoRAs for 4 steps; 32 GB cards and up.",
        (*_pair("i2v", 14_294_742_832), _UMT5, _VAE, *_I2V_STEPS),
    ),
    Preset(
        "t2v-4step-fp8", "comfyui", "t2v-A14B", "Text to video, with the LoRAs for 4 steps; 32 GB cards and up.",
        (*_pair("t2v", 14_293_923_632), _UMT5, _VAE, *_T2V_STEPS),
    ),
    Preset(
        "s2v", "comfyui", "s2v-14B", "A picture that speaks or sings, with a LoRA for 4 steps.",
        (_S2V, _UMT5, _VAE, _SPEECH, _T2V_STEPS[0]),
    ),
    Preset(
        "animate", "comfyui", "animate-14B", "A picture that moves as in a video, with a LoRA for 4 steps.",
        (_ANIMATE, _UMT5, _VAE, _CLIP_VISION, _I2V_480P),
    ),
    Preset(
        "vace", "comfyui", "vace-A14B", "A video that follows a control video, with the LoRAs for 4 steps.",
        (*_pair("fun_vace", None), _UMT5, _VAE, *_T2V_STEPS),
    ),
    Preset(
        "v2v", "comfyui", "v2v-A14B", "A video made from a video, with the LoRAs for 4 steps.",
        (*_pair("t2v", 14_293_923_632), _UMT5, _VAE, *_T2V_STEPS),
    ),
    Preset(
        "animate2", "comfyui", "animate2-14B", "A picture that moves as in a video, straight from the video.",
        (_ANIMATE_2, _UMT5, _VAE, _CLIP_VISION, _I2V_480P),
    ),
    _upstream("ti2v-5B", 34_200_000_000),
    _upstream("t2v-A14B", 126_300_000_000),
    _upstream("i2v-A14B", 126_300_000_000),
    _upstream("s2v-14B", 49_000_000_000),
    _upstream("animate-14B", 90_000_000_000),
    Preset(
        "diffusers-fastwan-5b", "diffusers", "ti2v-5B", "FastWAN in 3 steps, for the process that stays warm.",
        tree=Tree("FastVideo/FastWan2.2-TI2V-5B-FullAttn-Diffusers", "FastWan2.2-TI2V-5B-FullAttn-Diffusers", None),
    ),
    _diffusers("ti2v-5B"),
    _diffusers("t2v-A14B"),
    _diffusers("i2v-A14B"),
)  # fmt: skip

PRESETS: Mapping[str, Preset] = {row.name: row for row in _ROWS}


def preset_for(engine: str, task: str) -> Preset | None:
    """Return the set that lets *engine* render *task*, or None if there is none to fetch (for the miniature)."""
    return next((row for row in _ROWS if (row.engine, row.task) == (engine, task)), None)
