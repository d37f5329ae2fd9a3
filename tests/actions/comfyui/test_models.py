"""`comfyui_models`: the server's lists, or the volume's folders while it is offline."""

from __future__ import annotations

import pytest

from door import ask, refused_port
from fakes.wan.home import write_safetensors

MODELS = {"input": {"action": "comfyui_models"}}


@pytest.fixture
def volume(settings):
    """Weights in both layouts, and what lies beside weights."""
    for place, name in {
        "diffusion_models": "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
        "unet": "older.safetensors",
        "loras/styles": "cel.safetensors",
        "ComfyUI/models/vae": "wan_2.1_vae.safetensors",
    }.items():
        folder = settings.ckpt_dir / place
        folder.mkdir(parents=True)
        write_safetensors(folder / name)
        (folder / "notes.txt").write_bytes(b"x")
        (folder / f"{name}.part").write_bytes(b"x")
    return settings.ckpt_dir


async def test_while_the_server_is_offline_the_folders_answer_and_say_so(comfyui_worker, volume):
    answer, _ = await ask(comfyui_worker(comfyui_url=f"http://127.0.0.1:{refused_port()}"), MODELS)

    assert (answer["status"], answer["source"]) == ("success", "folders")
    assert answer["models"]["diffusion_models"] == [
        "older.safetensors", "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
    ]  # fmt: skip
    assert answer["models"]["loras"] == ["styles/cel.safetensors"]
    assert answer["models"]["vae"] == ["wan_2.1_vae.safetensors"]
    assert answer["models"]["text_encoders"] == []


async def test_a_server_that_answers_has_the_last_word(comfyui_worker, comfyui, volume):
    answer, _ = await ask(comfyui_worker(), MODELS)

    assert answer["source"] == "server"
    assert "older.safetensors" not in answer["models"]["diffusion_models"]
    assert answer["models"] == {folder: sorted(names) for folder, names in comfyui.models.items()}


async def test_a_folder_that_an_older_server_does_not_know_is_empty(comfyui_worker, comfyui):
    del comfyui.models["audio_encoders"]
    answer, _ = await ask(comfyui_worker(), MODELS)

    assert (answer["source"], answer["models"]["audio_encoders"]) == ("server", [])


async def test_an_unknown_field_is_a_warning(comfyui_worker):
    answer, _ = await ask(comfyui_worker(), {"input": {**MODELS["input"], "folder": "vae"}})

    assert answer["warnings"] == ["unknown field 'folder' was ignored."]
