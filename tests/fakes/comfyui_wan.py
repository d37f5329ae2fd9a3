"""The fake ComfyUI with everything that the documents and our own graphs load, and files that are real media."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from fakes.clips import clip, converted, with_sound
from fakes.comfyui import FakeComfyUI
from fakes.comfyui_nodes import SAVERS
from fakes.recordings import sound

#: Folder -> (the class that lists it, its input, its files): the documents' own lists, and what their graphs need.
MODELS: dict[str, tuple[str, str, list[str]]] = {
    "diffusion_models": ("UNETLoader", "unet_name", [
        "Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors",
        "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors", "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors",
        "wan2.2_s2v_14B_fp8_scaled.safetensors",
        "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
        "wan2.2_ti2v_5B_fp16.safetensors",
    ]),
    "vae": ("VAELoader", "vae_name", ["wan2.2_vae.safetensors", "wan_2.1_vae.safetensors"]),
    "loras": ("LoraLoaderModelOnly", "lora_name", [
        "WanAnimate_relight_lora_fp16.safetensors",
        "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
        "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
        "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors",
        "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
    ]),
    "text_encoders": ("CLIPLoader", "clip_name", ["umt5_xxl_fp8_e4m3fn_scaled.safetensors"]),
    "clip_vision": ("CLIPVisionLoader", "clip_name", ["clip_vision_h.safetensors"]),
    "audio_encoders": ("AudioEncoderLoader", "audio_encoder_name", ["wav2vec2_large_english_fp16.safetensors"]),
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name", []),
    "upscale_models": ("UpscaleModelLoader", "model_name", []),
    "frame_interpolation": ("FrameInterpolationModelLoader", "model_name", []),
}  # fmt: skip


def media(folder: Path) -> dict[str, bytes]:
    """Make one real file of each kind that the fake's savers write, and return their bytes by ending."""
    folder.mkdir(parents=True, exist_ok=True)
    silent = clip(folder / "silent.mp4", frames=9)
    made = {
        ".mp4": with_sound(silent, folder / "clip.mp4"),
        ".webm": converted(silent, folder / "clip.webm", "-c:v", "libvpx-vp9", "-threads", "1"),
        ".webp": converted(silent, folder / "clip.webp", "-c:v", "libwebp", "-loop", "0"),
        ".png": converted(silent, folder / "frame.png", "-frames:v", "1", "-update", "1"),
        ".flac": sound(folder / "tone.flac"),
        ".mp3": sound(folder / "tone.mp3"),
    }
    return {suffix: path.read_bytes() for suffix, path in made.items()}


@dataclass
class WanServer(FakeComfyUI):
    """A server with the documents' models; `models` may be changed before it starts. `graphs` were run."""

    models: dict[str, list[str]] = field(default_factory=lambda: {name: list(row[2]) for name, row in MODELS.items()})
    growing: tuple[str, str] | None = None

    async def start(self) -> None:
        """List the models, then listen."""
        for folder, (name, key, _) in MODELS.items():
            if name in self.info:  # it is an older server, which has no frame interpolation
                self.info[name]["input"]["required"][key] = [self.models[folder]]
        self.info.setdefault("VHS_LoadVideo", vhs_load_video())
        await super().start()

    @property
    def graphs(self) -> list[dict[str, object]]:
        """The graphs of the history, in the order in which they were queued."""
        return [entry["prompt"][2] for entry in sorted(self.history.values(), key=lambda entry: entry["prompt"][0])]

    def saved(self) -> list[str]:
        """What lies in the output folder."""
        root = self.folder / "output"
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def grows_by_uploads(self, class_type: str, name: str) -> None:
        """Let the list of this input show every file of the input folder too, as a loader without a flag does."""
        self.growing = (class_type, name)

    async def _upload(self, request: web.Request) -> web.Response:
        answer = await super()._upload(request)
        if self.growing:
            class_type, name = self.growing
            files = [path.name for path in (self.folder / "input").iterdir()]
            self.info[class_type]["input"]["required"][name] = [sorted(files)]
        return answer

    async def _models(self, request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        return web.json_response(self.models[folder]) if folder in self.models else web.Response(status=404)


def vhs_load_video() -> dict[str, object]:
    """Return the class as VideoHelperSuite declares it: its list has no upload flag, though the node takes uploads."""
    return {
        "input": {"required": {"video": [["old.mp4"]]}, "optional": {}},
        "input_order": {"required": ["video"], "optional": []},
        "output": ["IMAGE"],
        "output_node": False,
        "name": "VHS_LoadVideo",
    }


def savers() -> tuple[str, ...]:
    """Return the classes that save, previews left out."""
    return tuple(name for name, (_, _, kind, _) in SAVERS.items() if kind == "output")
