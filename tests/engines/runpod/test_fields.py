"""A spec becomes fields of `generate`, and the worker that reads them makes the same spec of them."""

from __future__ import annotations

import dataclasses
import wave
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wanworker.actions.generate.render_request import job_request, render_request
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.engines.runpod._fields import FILES, fields_of, files_of
from wanworker.media.inputs.picture import picture_size
from wanworker.media.inputs.reader import InputReader
from wanworker.media.video.writer import VideoWriter
from wanworker.spec import RenderSpec, Size

HIGH, LOW = {"path": "high.safetensors", "scale": 0.5}, {"path": "low.safetensors", "scale": 0.7}
PAIR = {"high": "a-high.safetensors", "low": "a-low.safetensors", "high_strength": 0.4, "low_strength": 1.5}

REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {"task": "t2v-A14B", "prompt": "a red star"},
    "numbers": {
        "task": "t2v-A14B", "prompt": "a", "negative_prompt": "b", "size": "832*480", "frame_num": 33, "fps": 12,
        "sample_steps": 7, "sample_guide_scale": 0, "guidance_scale_2": 2.5, "sample_shift": 3.5,
        "sample_solver": "dpm++", "seed": 2**64 - 1, "offload_model": False, "profile": "fast", "crf": 0,
    },
    "same fps": {"task": "t2v-A14B", "prompt": "a", "fps": 16, "seed": 0},
    "shape": {"task": "t2v-A14B", "prompt": "a", "aspect_ratio": "1:1"},
    "resolution": {"task": "t2v-A14B", "prompt": "a", "resolution": "480p"},
    "models": {
        "task": "t2v-A14B", "prompt": "a", "diffusion_model": "x.safetensors", "diffusion_model_2": "y.safetensors",
        "vae_model": "vae.safetensors",
    },
    "one expert": {"task": "t2v-A14B", "prompt": "a", "diffusion_model": "x.safetensors", "single_expert": True},
    "own pair": {"task": "t2v-A14B", "prompt": "a", "use_lora": True},
    "loras": {
        "task": "t2v-A14B", "prompt": "a", "loras": [PAIR, "b.safetensors"], "high_noise_loras": [HIGH],
        "low_noise_loras": [LOW, LOW], "lora_name": "c.safetensors", "lora_strength": -2,
    },
    "lora alone": {"task": "t2v-A14B", "prompt": "a", "lora_name": "c.safetensors"},
    "picture": {"task": "i2v-A14B", "prompt": "a", "reference_image_path": "wide.png"},
    "picture of a size": {
        "task": "i2v-A14B", "prompt": "a", "reference_image_path": "wide.png", "size": "640*640", "seconds": 2,
    },
    "two pictures": {
        "task": "i2v-A14B", "prompt": "a", "reference_image_path": "wide.png", "last_image_path": "tall.png",
    },
    "picture of ti2v": {"task": "ti2v-5B", "prompt": "a", "image_path": "tall.png"},
    "loop": {"task": "i2v-A14B", "prompt": "a", "reference_image_path": "wide.png", "loop": True},
    "finished": {
        "task": "t2v-A14B", "prompt": "a", "target_fps": 60, "upscale": 2, "soundtrack_path": "sound.wav",
    },
    "upscaled by a model": {"task": "t2v-A14B", "prompt": "a", "upscale": "4x-UltraSharp"},
    "from a video": {
        "task": "v2v-A14B", "prompt": "a", "driving_video_path": "film.mp4", "denoise": 0.4, "size": "64*64",
    },
    "sound": {"task": "s2v-14B", "prompt": "a", "reference_image_path": "tall.png", "audio_path": "sound.wav"},
    "video": {
        "task": "animate-14B", "prompt": "a", "reference_image_path": "tall.png", "driving_video_path": "film.mp4",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    Image.new("RGB", (300, 100), "red").save(folder / "wide.png")
    Image.new("RGB", (97, 233), "blue").save(folder / "tall.png")
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    with VideoWriter(folder / "film.mp4", 64, 48, 8) as film:
        for _ in range(8):
            film.write(bytes(64 * 48 * 3))
    return folder


async def spec_of(fields: dict[str, Any], inputs: Path, folder: Path) -> RenderSpec:
    request, warnings = parse(GenerateRequest, fields)
    assert warnings == []
    reader = InputReader(allow_hosts=(), roots=(inputs, folder.parent))
    named = job_request(request, request_id="a", action="generate")
    to_render = render_request(request, named, inputs=reader, warnings=[], engine="auto", timeout_s=60)
    folder.mkdir()
    spec = (await to_render.prepare(folder)).spec
    reader.close()
    assert isinstance(spec, RenderSpec)
    return spec


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_spec_comes_back_from_its_fields(name: str, inputs: Path, tmp_path: Path) -> None:
    spec = await spec_of(REQUESTS[name], inputs, tmp_path / "here")
    picture = Size(*picture_size(spec.image)) if spec.image else None
    fields = fields_of(spec, picture) | {f"{stem}_path": str(path) for stem, path in files_of(spec).items()}
    again = await spec_of(fields, inputs, tmp_path / "there")
    # A size of no picture that is not the task's own can only be asked for.
    given = again.size_given if name == "resolution" else spec.size_given
    files: dict[str, Any] = {file: getattr(again, file) for file in FILES}
    assert again == dataclasses.replace(spec, size_given=given, **files)
    for file in FILES:
        before, after = getattr(spec, file), getattr(again, file)
        assert (before and before.read_bytes()) == (after and after.read_bytes())


def test_every_field_of_a_spec_is_told() -> None:
    """A field that is added to the spec must be added here, to the fields or to the files."""
    told = {
        "task", "prompt", "seed", "negative_prompt", "frames", "steps", "guidance", "guidance_low", "shift", "solver",
        "offload_model", "profile", "vae_model", "crf", "size", "size_given", "fps", "fps_given", "diffusion_models",
        "single_expert", "use_lora", "loras", *FILES, "prepared_dir", "denoise", "loop", "target_fps",
        "upscale_factor", "upscale_model",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(RenderSpec)} == told
