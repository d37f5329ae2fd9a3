"""
Every ComfyUI example of the worker document, end to end: the real door, core and engine, and a server on loopback.

The document's hosts and its `...` in place of pictures are the only things that are changed.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from pathlib import Path

import pytest
from PIL import Image

from door import ask, contains, refused_port
from fakes.files import file_server
from fakes.graphs import saving
from wanworker.media.video.writer import decode_check

EXAMPLES = json.loads((Path(__file__).parent / "documents" / "comfyui_api.json").read_text())


def png(width=160, height=90):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 20)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def files():
    async with file_server() as running:
        running.files |= {"image.png": png(), "scene.jpg": png(90, 160)}
        yield running


def example(name, files=None, **changes):
    """Return the documented request with example.com replaced by the loopback server, and `...` by a picture."""
    text = json.dumps(EXAMPLES[name]["request"])
    if files is not None:
        text = text.replace("https://example.com/", files.url("/files/"))
    picture = base64.b64encode(png()).decode()
    for cut in ("base64,...", "base64,iVBORw0KGgo..."):
        text = text.replace(cut, f"base64,{picture}")
    job = json.loads(text)
    return {**job, "input": {**job["input"], **changes}}


async def video_in(answer, tmp_path):
    prefix, _, text = answer["result"]["data"].partition(",")
    assert prefix == "data:video/mp4;base64"
    path = tmp_path / "received.mp4"
    path.write_bytes(base64.b64decode(text, validate=True))
    return await decode_check(path)


def percentages(progress):
    return [shown["progress"] for shown in progress]


@pytest.mark.parametrize("name", ["execute_workflow", "example_3_custom_workflow"])
async def test_the_workflows_as_documented_have_no_output_node_and_are_told_so_before_queueing(
    comfyui_worker, comfyui, name
):
    answer, _ = await ask(comfyui_worker(), example(name))

    contains(answer, EXAMPLES["error"]["answer"])
    assert (answer["status"], answer["code"]) == ("ERROR", "GRAPH_REFUSED")
    assert "no output node" in answer["error"]
    assert all(saver in answer["error"] for saver in ("SaveVideo", "SaveWEBM", "SaveImage"))
    assert comfyui.seen["POST /prompt"] == comfyui.seen["POST /upload/image"] == 0


@pytest.mark.parametrize("name", ["execute_workflow", "example_3_custom_workflow"])
async def test_with_an_output_node_the_documented_workflows_run(comfyui_worker, comfyui, films, name):
    job = example(name)
    saver = {"images": ["3", 0], "filename_prefix": "output"}
    job["input"]["workflow"] |= {
        "3": {"class_type": "LoadImage", "inputs": {"image": "input.png"}},
        "4": {"class_type": "SaveImage", "inputs": saver},
    }
    answer, progress = await ask(comfyui_worker(), job)

    contains(answer, EXAMPLES["execute_workflow"]["answer"])
    (output,) = answer["outputs"]
    assert (answer["request_id"], answer["status"]) == ("sync-1234", "completed")
    assert base64.b64decode(output["data"], validate=True) == films[".png"]
    assert output["size"] == len(films[".png"])
    assert output["filename"].startswith("sync-1234_output")
    assert output["filename"].endswith(".png")
    assert any("node 1 (UNETLoader) is used by no output node" in line for line in answer["warnings"])
    assert percentages(progress) == sorted(percentages(progress))


async def test_the_image_to_video_example_renders_its_picture(comfyui_worker, comfyui, files, tmp_path):
    answer, progress = await ask(comfyui_worker(), example("image_to_video", files))

    facts = await video_in(answer, tmp_path)
    contains(answer, EXAMPLES["image_to_video"]["answer"])
    assert (answer["request_id"], answer["status"], answer["seed"]) == ("sync-1234", "completed", 42)
    assert answer["result"]["filename"] == "sync-1234_i2v_output.mp4"
    assert answer["engine"] == "comfyui"
    assert "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors was added" in "".join(answer["warnings"])
    assert facts.frames == 9
    assert percentages(progress) == sorted(percentages(progress))


async def test_the_documented_parameters_reach_the_graph(comfyui_worker, comfyui, files):
    await ask(comfyui_worker(), example("image_to_video", files))
    (graph,) = comfyui.graphs
    inputs = {(node["class_type"], name): value for node in graph.values() for name, value in node["inputs"].items()}

    assert inputs["KSamplerAdvanced", "noise_seed"] == 42
    assert inputs["KSamplerAdvanced", "steps"] == 20
    assert inputs["KSamplerAdvanced", "cfg"] == 7.0
    assert inputs["VAELoader", "vae_name"] == "wan_2.1_vae.safetensors"
    assert any(node["inputs"].get("text") == "A beautiful animation" for node in graph.values())


async def test_example_2_gets_both_siblings_and_says_so(comfyui_worker, comfyui, files, tmp_path):
    answer, _ = await ask(comfyui_worker(), example("example_2_fast_i2v", files))

    (graph,) = comfyui.graphs
    loaded = sorted(str(node["inputs"].get("lora_name", "")) for node in graph.values())
    said = "\n".join(answer["warnings"])
    assert (await video_in(answer, tmp_path)).has_audio
    assert loaded[-2:] == [
        "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
        "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors",
    ]
    assert "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors was added" in said
    assert "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors" in said


async def test_the_models_example_lists_what_the_server_has(comfyui_worker):
    answer, _ = await ask(comfyui_worker(), EXAMPLES["list_available_models"]["request"])

    documented = EXAMPLES["list_available_models"]["answer"]
    contains(answer, documented)
    assert (answer["status"], answer["source"]) == ("success", "server")
    for folder, names in documented["models"].items():
        assert set(names) <= set(answer["models"][folder])


async def test_health_says_that_comfyui_is_online_and_offline_once_it_is_gone(comfyui_worker, comfyui):
    worker = comfyui_worker()
    online, _ = await ask(worker, {"input": {"health": True}})
    await comfyui.die()
    offline, _ = await ask(worker, {"input": {"health": True, "refresh": True}})
    await comfyui.start()

    assert (online["comfyui_status"], offline["comfyui_status"]) == ("online", "offline")
    assert online["comfyui_url"] == comfyui.url
    assert online["engines"]["comfyui"]["i2v-A14B"] == "ready"
    assert "no ComfyUI server answers" in offline["engines"]["comfyui"]["i2v-A14B"]


OFFLINE = {
    "workflow": {"action": "comfyui_workflow", "workflow": saving("SaveVideo")},
    "implied": {"workflow": saving("SaveVideo")},
    "validate_only": {"workflow": saving("SaveVideo"), "validate_only": True},
    "i2v": {"action": "comfyui_i2v", "reference_image_base64": base64.b64encode(png()).decode()},
    "generate": {"action": "generate", "engine": "comfyui", "task": "t2v-A14B", "prompt": "x"},
}


@pytest.mark.parametrize("case", OFFLINE)
async def test_an_offline_server_is_the_documented_sentence_within_ten_seconds(comfyui_worker, case):
    started = time.monotonic()
    worker = comfyui_worker(comfyui_url=f"http://127.0.0.1:{refused_port()}")
    answer, _ = await ask(worker, {"input": OFFLINE[case]})

    assert answer["error"] == EXAMPLES["offline"]["answer"]["error"]
    assert (answer["status"], answer["code"]) == ("ERROR", "ENGINE_UNAVAILABLE")
    assert time.monotonic() - started < 10


EARLIER = {
    "no picture": ({"action": "comfyui_i2v"}, "Missing reference image (url/base64/path) for i2v task."),
    "bad picture": ({"action": "comfyui_i2v", "image_base64": "@@@"}, "base64"),
    "bad steps": ({"action": "comfyui_i2v", "steps": 0}, "steps must be between 1 and 200; got 0."),
    "no workflow": ({"action": "comfyui_workflow"}, "Missing workflow"),
    "text that is no JSON": ({"workflow": "{nodes"}, "cannot be read as JSON"),
    "a list": ({"action": "comfyui_workflow", "workflow": [1]}, "workflow"),
    "no graph": ({"workflow": {"1": {"inputs": {}}}}, "Node '1' of the workflow has no class_type"),
    "bad input": (
        {"workflow": saving("SaveImage"), "images": [{"name": "a.png", "data": "data:image/png;base64,@@@"}]},
        "base64",
    ),
    "no content": ({"workflow": saving("SaveImage"), "images": [{"name": "a.png"}]}, "neither data, url nor path"),
}


@pytest.mark.parametrize("case", EARLIER)
async def test_what_is_wrong_with_the_request_is_told_before_the_server_is_asked(comfyui_worker, settings, case):
    payload, words = EARLIER[case]
    answer, _ = await ask(comfyui_worker(comfyui_url=f"http://127.0.0.1:{refused_port()}"), {"input": payload})

    assert words in answer["error"]
    assert answer["status"] == "ERROR"
    assert not settings.out_dir.exists()


@pytest.mark.parametrize("field", ["diffusion_model", "vae_model", "lora_name"])
async def test_a_missing_model_is_the_documented_sentence(comfyui_worker, comfyui, files, settings, field):
    job = example("image_to_video", files, **{field: "xyz.safetensors"})
    answer, _ = await ask(comfyui_worker(), job)

    documented = EXAMPLES["model_not_found"]["answer"]["error"]
    assert answer["error"] == documented.replace("/workspace/models", str(settings.ckpt_dir))
    assert (answer["status"], answer["code"]) == ("ERROR", "MODEL_NOT_FOUND")
    assert comfyui.seen["POST /prompt"] == comfyui.seen["POST /upload/image"] == 0
    assert not settings.out_dir.exists()


async def test_a_server_without_the_default_models_names_the_file_that_it_lacks(
    comfyui_worker, comfyui, files, settings
):
    comfyui.models = {folder: [] for folder in comfyui.models}
    await comfyui.die()
    await comfyui.start()
    answer, _ = await ask(comfyui_worker(), example("image_to_video", files, use_lora=False))

    name = "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors"
    assert answer["error"] == f"Model '{name}' not found in {settings.ckpt_dir}/"


async def test_a_graph_with_a_missing_model_is_the_documented_sentence_too(comfyui_worker, comfyui, settings):
    graph = {**saving("SaveImage"), "5": {"class_type": "VAELoader", "inputs": {"vae_name": "xyz.safetensors"}},
             "6": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["5", 0]}},
             "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["5", 0]}}}  # fmt: skip
    graph["9"]["inputs"]["images"] = ["7", 0]
    answer, _ = await ask(comfyui_worker(), {"input": {"workflow": graph}})

    assert answer["error"] == f"Model 'xyz.safetensors' not found in {settings.ckpt_dir}/"
    assert "node 5 (VAELoader), input 'vae_name'" in answer["hint"]


@pytest.mark.parametrize("action", ["comfyui_workflow", "comfyui_i2v"])
async def test_a_job_past_its_deadline_is_the_documented_timeout_and_leaves_the_queue(
    comfyui_worker, comfyui, files, action
):
    comfyui.nodes.holds = frozenset({"CreateVideo"})
    worker = comfyui_worker()
    # Before its turn a job has no record: it gets there within this time on a machine that does much else, too.
    job = example("image_to_video", files, timeout=3, request_id="late")
    if action == "comfyui_workflow":
        job = {"input": {"workflow": saving("SaveVideo"), "timeout": 3, "request_id": "late"}}
    started = time.monotonic()
    answer, _ = await ask(worker, job)
    took_s = time.monotonic() - started
    later, _ = await ask(worker, {"input": {"action": "status", "request_id": "late"}})

    documented = EXAMPLES["timeout"]["answer"]
    assert (answer["status"], answer["error"]) == ("timeout", documented["error"].replace("600", "3"))
    assert took_s < 20
    assert (comfyui.running, comfyui.pending) == (None, [])
    assert later["status"]["status"] == "TIMEOUT"
    assert "error" not in later


async def test_a_cancelled_job_leaves_nothing_in_the_queue_whether_it_ran_or_waited(comfyui_worker, comfyui, settings):
    comfyui.nodes.holds = frozenset({"EmptyImage"})
    running = asyncio.create_task(ask(comfyui_worker(), {"input": {"workflow": saving("SaveVideo")}}, job_id="runs"))
    await comfyui.nodes.held.wait()
    waiting = asyncio.create_task(ask(comfyui_worker(), {"input": {"workflow": saving("SaveWEBM")}}, job_id="waits"))
    while not comfyui.pending:
        await asyncio.sleep(0.01)
    for task in (waiting, running):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    worker = comfyui_worker()
    states = [(await ask(worker, {"input": {"request_id": name}}))[0]["status"]["status"] for name in ("runs", "waits")]

    assert (comfyui.running, comfyui.pending) == (None, [])
    assert states == ["CANCELLED", "CANCELLED"]
    assert [path.name for path in settings.out_dir.iterdir() if path.is_file() or path.name.startswith(".")] == []


async def test_the_records_hold_no_base64(comfyui_worker, comfyui, files, settings):
    worker = comfyui_worker()
    picture = base64.b64encode(png()).decode()
    image = [{"name": "input.png", "data": picture}]
    graph = {"4": {"class_type": "LoadImage", "inputs": {"image": "input.png"}}, **saving("SaveImage")}
    graph["9"]["inputs"]["images"] = ["4", 0]
    done, _ = await ask(worker, {"input": {"workflow": graph, "images": image, "return_base64": True}})
    also, _ = await ask(worker, {"input": {"action": "comfyui_i2v", "image_base64": picture}}, job_id="other")

    kept = "".join(path.read_text() for path in settings.jobs_dir.rglob("*") if path.is_file())
    assert (done["status"], also["status"]) == ("completed", "completed")
    assert "sync-1234" in kept
    assert picture[:200] not in kept
    assert "base64," not in kept


async def test_a_picture_with_transparency_reaches_the_graph_untouched(comfyui_worker, comfyui):
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(buffer, "PNG")
    image = [{"name": "input.png", "data": base64.b64encode(buffer.getvalue()).decode()}]
    graph = {"4": {"class_type": "LoadImage", "inputs": {"image": "input.png"}}, **saving("SaveImage")}
    graph["9"]["inputs"]["images"] = ["4", 0]
    answer, _ = await ask(comfyui_worker(), {"input": {"workflow": graph, "images": image}})

    sent = [path.read_bytes() for path in comfyui.folder.rglob("*.png") if "input" in path.parts]
    assert answer["status"] == "completed"
    assert buffer.getvalue() in sent
