"""`comfyui_models`: the server's lists, or the volume's folders while it is offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from door import ask, refused_port
from fakes.graphs import saving
from fakes.saved_files import saved_with
from fakes.wan.home import write_safetensors

DATA = Path(__file__).parents[2] / "data" / "comfyui"
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


CLASSES = {"input": {**MODELS["input"], "classes": ["KSampler", "VAELoader", "EmptyImage", "NoSuchNode"]}}


async def test_the_server_tells_the_choices_of_node_classes_and_knows_what_was_added(comfyui_worker, comfyui):
    worker = comfyui_worker()
    first, _ = await ask(worker, CLASSES)
    comfyui.info["VAELoader"]["input"]["required"]["vae_name"][0].append("new.safetensors")
    second, _ = await ask(worker, CLASSES, job_id="sync-2")

    assert (first["status"], first["source"], set(first["choices"])) == ("success", "server", {"KSampler", "VAELoader"})
    sampler = comfyui.info["KSampler"]["input"]["required"]["sampler_name"][0]
    assert {"input": "sampler_name", "choices": sampler} in first["choices"]["KSampler"]
    assert "new.safetensors" not in first["choices"]["VAELoader"][0]["choices"]
    assert "new.safetensors" in second["choices"]["VAELoader"][0]["choices"]
    assert not {"models", "workflows"} & set(first)


async def test_while_the_server_is_offline_the_folders_tell_the_choices_of_loaders(comfyui_worker, volume):
    classes = ["VAELoader", "LoraLoader", "KSampler", "CLIPLoader"]
    worker = comfyui_worker(comfyui_url=f"http://127.0.0.1:{refused_port()}")
    answer, _ = await ask(worker, {"input": {**MODELS["input"], "classes": classes}})

    assert (answer["source"], answer["choices"]) == (
        "folders",
        {
            "VAELoader": [{"input": "vae_name", "choices": ["wan_2.1_vae.safetensors"]}],
            "LoraLoader": [{"input": "lora_name", "choices": ["styles/cel.safetensors"]}],
        },
    )


@pytest.mark.parametrize("classes", ["KSampler", [1], ["a"] * 1001])
async def test_classes_are_a_list_of_names(comfyui_worker, classes):
    answer, _ = await ask(comfyui_worker(), {"input": {**MODELS["input"], "classes": classes}})

    assert answer["code"] == "INVALID_REQUEST"
    assert answer["error"].startswith("classes")


def named(answer, name):
    (entry,) = [each for each in answer["workflows"] if each["name"] == name]
    return entry


@pytest.fixture
def flows(settings):
    """The volume's folder of workflows: one in API format, one of the browser, and one that is none."""
    folder = settings.ckpt_dir.parent / "workflows"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "still.json").write_text(json.dumps(saving("SaveImage")))
    (folder / "browser.json").write_text((DATA / "ui_i2v.json").read_text())
    (folder / "broken.json").write_text("{")
    (folder / ".hidden.json").write_text("{}")
    return folder


OFFLINE = {"slot": "EmptyImage.width", "title": "EmptyImage", "id": "1", "input": "width", "type": "INT", "default": 64}


@pytest.mark.parametrize("is_online", [True, False])
async def test_the_workflows_are_listed_with_their_slots(comfyui_worker, flows, is_online):
    worker = comfyui_worker() if is_online else comfyui_worker(comfyui_url=f"http://127.0.0.1:{refused_port()}")
    answer, _ = await ask(worker, MODELS)

    still, browser, broken = (named(answer, name) for name in ("deep/still", "browser", "broken"))
    assert still["source"] == "volume"
    assert OFFLINE in still["slots"]
    assert not any(slot["input"] == "images" for slot in still["slots"])
    assert [slot["default"] for slot in browser["slots"] if slot["input"] == "length"] == ([49] if is_online else [])
    assert ("note" in browser) != is_online
    assert broken["slots"] == []
    assert "cannot be read as JSON" in broken["error"]
    assert ".hidden" not in {each["name"] for each in answer["workflows"]}
    own = named(answer, "ti2v-5B")
    assert own["source"] == "worker"
    assert "Prompt.text" in {slot["slot"] for slot in own["slots"]}


@pytest.mark.parametrize("is_online", [True, False])
async def test_what_comfyui_saved_is_listed_with_its_slots_or_with_what_it_lacks(comfyui_worker, flows, is_online):
    graph = json.dumps(saving("SaveImage"))
    for file in ("a.png", "b.webp", "c.mp4", "deep/still.png"):
        (flows / file).write_bytes(saved_with(f".{file.partition('.')[2]}", prompt=graph))
    for file in ("empty.png", "empty.mp4"):
        (flows / file).write_bytes(saved_with(f".{file.partition('.')[2]}"))
    worker = comfyui_worker() if is_online else comfyui_worker(comfyui_url=f"http://127.0.0.1:{refused_port()}")
    answer, _ = await ask(worker, MODELS)

    for name in ("a", "b", "c", "deep/still", "deep/still.png"):
        assert OFFLINE in named(answer, name)["slots"]
    for name in ("empty", "empty.mp4"):
        entry = named(answer, name)
        assert (entry["slots"], entry["error"]) == ([], "The file has no workflow in it.")


async def test_a_workflow_whose_nodes_the_server_lacks_is_listed_with_that_error(comfyui_worker, comfyui, flows):
    del comfyui.info["WanImageToVideo"]
    answer, _ = await ask(comfyui_worker(), MODELS)

    assert "WanImageToVideo" in named(answer, "browser")["error"]


async def test_without_any_folder_only_our_own_are_listed(comfyui_worker):
    answer, _ = await ask(comfyui_worker(), MODELS)

    assert {each["source"] for each in answer["workflows"]} == {"worker"}
