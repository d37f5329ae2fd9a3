"""`comfyui_i2v` through the door: what the documents leave open, and what its graph is told."""

from __future__ import annotations

import base64
import dataclasses
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from door import ask
from fakes import headers
from fakes.recordings import sound
from wanworker.app import Worker
from wanworker.engines import ENGINES
from wanworker.engines.diffusers import DiffusersEngine
from wanworker.engines.resident.parent.supervisor import Supervisor
from wanworker.media.video.mp4 import facts
from wanworker.settings import child_environment

STYLE = "style.safetensors"
HIGH, LOW = (f"wan2.2_i2v_{half}_noise_14B_fp8_scaled.safetensors" for half in ("high", "low"))
CHILD = Path(__file__).parents[2] / "fakes" / "resident_child.py"


def picture(width=160, height=90):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 20)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def size_of(path):
    with Image.open(path) as opened:
        return opened.size


async def run(worker, *, job_id="sync-1", **fields):
    payload = {"action": "comfyui_i2v", "image_base64": picture(), "prompt": "a cat", **fields}
    return (await ask(worker, {"input": payload}, job_id=job_id))[0]


def inputs(graph, class_type):
    """Return the inputs of every node of a class, in the graph's order."""
    return [node["inputs"] for node in graph.values() if node["class_type"] == class_type]


async def test_the_defaults_are_the_pictures_aspect_81_frames_16_fps_and_20_steps(comfyui_worker, comfyui):
    answer = await run(comfyui_worker())

    (graph,) = comfyui.graphs
    (size,) = inputs(graph, "WanImageToVideo")
    high, low = inputs(graph, "KSamplerAdvanced")
    assert answer["status"] == "completed"
    assert (size["width"], size["height"], size["length"]) == (848, 480, 81)
    assert inputs(graph, "CreateVideo")[0]["fps"] == 16.0
    assert (high["steps"], low["steps"], high["cfg"], low["cfg"]) == (20, 20, 7.0, 7.0)
    assert 0 <= answer["seed"] < 2**53
    assert high["noise_seed"] == answer["seed"]


async def test_a_size_that_was_asked_for_crops_the_picture_and_says_so(comfyui_worker, comfyui):
    answer = await run(comfyui_worker(), size="512*512", length=16)

    (graph,) = comfyui.graphs
    (size,) = inputs(graph, "WanImageToVideo")
    (sent,) = (comfyui.folder / "input").iterdir()
    assert (size["width"], size["height"], size["length"]) == (512, 512, 17)
    assert size_of(sent) == (90, 90)
    assert "image was cropped (centre) to the shape of 512*512." in answer["warnings"]
    assert "length 16 was changed to 17: Wan renders 4n+1 frames." in answer["warnings"]


async def test_the_path_of_the_video_is_named_as_documented(comfyui_worker, settings):
    answer = await run(comfyui_worker(), return_video=False, request_id="mine")

    path = settings.out_dir / "mine_i2v_output.mp4"
    assert answer["result"] == {"filename": path.name, "path": str(path)}
    assert facts(path).frames == 9


async def test_an_end_image_takes_the_graph_for_first_and_last(comfyui_worker, comfyui):
    await run(comfyui_worker(), end_image_base64=picture(), negative_prompt="rain")

    (graph,) = comfyui.graphs
    assert len(inputs(graph, "WanFirstLastFrameToVideo")) == 1
    assert len(inputs(graph, "LoadImage")) == 2
    assert "rain" in [each["text"] for each in inputs(graph, "CLIPTextEncode")]


async def test_the_clip_is_finished_as_that_of_generate_is(comfyui_worker, comfyui, settings, tmp_path):
    tone = base64.b64encode(sound(tmp_path / "tone.wav").read_bytes()).decode()
    fields = {"target_fps": 8, "upscale_factor": 2, "soundtrack_base64": tone, "crf": 40, "thumbnail": True}
    answer = await run(comfyui_worker(), request_id="mine", return_video=False, **fields)

    made = facts(settings.out_dir / "mine_i2v_output.mp4")
    assert (made.fps, made.has_audio) == (8.0, True)
    assert (answer["video"]["fps"], answer["video"]["width"]) == (8.0, made.width)
    assert {"target_fps 8", "upscale 2"} <= {line.partition(":")[0] for line in answer["warnings"]}
    assert answer["thumbnail"].startswith("data:image/jpeg;base64,")


async def test_a_loop_ends_in_its_first_picture(comfyui_worker, comfyui):
    await run(comfyui_worker(), loop=True)

    (graph,) = comfyui.graphs
    (ends,) = inputs(graph, "WanFirstLastFrameToVideo")
    first, last = (graph[ends[name][0]]["inputs"]["image"] for name in ("start_image", "end_image"))
    (sent,) = {size_of(comfyui.folder / "input" / name) for name in (first, last)}
    assert sent == (160, 90)


async def test_a_pair_of_loras_goes_to_its_experts_at_its_strengths(comfyui_worker, comfyui):
    comfyui.models["loras"] += [STYLE]
    await comfyui.die()
    await comfyui.start()
    pair = {"high": "v1_high_noise", "low": "v1_low_noise", "high_strength": 0.5, "low_strength": 0.25}
    style = {"high": STYLE, "strength": 0.75}
    await run(comfyui_worker(), loras=[pair, style], steps=8, cfg_scale=2)

    (graph,) = comfyui.graphs
    strengths = [(each["lora_name"], each["strength_model"]) for each in inputs(graph, "LoraLoaderModelOnly")]
    assert sorted(strengths) == [
        (STYLE, 0.75),
        (STYLE, 0.75),
        ("wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors", 0.5),
        ("wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors", 0.25),
    ]
    assert inputs(graph, "KSamplerAdvanced")[0]["steps"] == 8


async def test_use_lora_alone_means_the_models_own_four_steps(comfyui_worker, comfyui):
    answer = await run(comfyui_worker(), use_lora=True)

    (graph,) = comfyui.graphs
    sampler = inputs(graph, "KSamplerAdvanced")[0]
    assert (sampler["steps"], sampler["cfg"]) == (4, 1.0)
    assert len(inputs(graph, "LoraLoaderModelOnly")) == 2
    assert any("sample_steps to 4, sample_guide_scale to 1" in line for line in answer["warnings"])


async def test_a_model_may_be_named_by_a_part_as_the_documents_tables_do(comfyui_worker, comfyui):
    answer = await run(comfyui_worker(), diffusion_model="wan2.2_i2v_low_noise_14B_fp8_scaled")

    assert answer["status"] == "completed"
    assert "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors was added" in "".join(answer["warnings"])


async def test_a_single_expert_renders_alone_when_that_is_asked_for(comfyui_worker, comfyui):
    answer = await run(comfyui_worker(), single_expert=True)

    (graph,) = comfyui.graphs
    assert len(inputs(graph, "KSamplerAdvanced")) == len(inputs(graph, "UNETLoader")) == 1
    assert any("single_expert" in line for line in answer["warnings"])


@pytest.fixture
async def resident_worker(make_settings, tmp_path):
    """Return a worker without ComfyUI; its diffusers engine has the documents' files, and a child that copies films."""
    experts = headers.scaled(headers.transformer(36, 16, dtype="F8_E4M3"))
    for name in (HIGH, LOW, "another_i2v_high_noise.safetensors", "another_i2v_low_noise.safetensors"):
        headers.write_header(tmp_path / "models" / "diffusion_models" / name, experts)
    for name in ("wan_2.1_vae.safetensors", "a_vae.safetensors"):
        headers.write_header(tmp_path / "models" / "vae" / name, headers.vae())
    headers.write_header(tmp_path / "models" / "text_encoders" / "umt5.safetensors", headers.text_encoder())

    def build(settings):
        child = Supervisor((sys.executable, str(CHILD), "well"), child_environment())
        return DiffusersEngine(settings, gpus=lambda: (), supervisor=child)

    rows = [dataclasses.replace(row, build=build) if row.name == "diffusers" else row for row in ENGINES]
    worker = Worker(make_settings(comfyui_url="http://127.0.0.1:9"), engines=rows)
    yield worker
    await worker.close()


@pytest.fixture
def copy(films, tmp_path):
    """Return the prompt by which the child hands over a film."""
    (tmp_path / "film.mp4").write_bytes(films[".mp4"])
    return f"copy {tmp_path / 'film.mp4'}"


async def test_the_documented_names_mean_the_same_files_for_the_diffusers_engine(resident_worker, copy, settings):
    names = {"diffusion_model": HIGH, "vae_model": "wan_2.1_vae.safetensors"}
    answer = await run(
        resident_worker, **names, prompt=copy, engine="diffusers", profile="fast", return_video=False, request_id="mine"
    )

    path = settings.out_dir / "mine_i2v_output.mp4"
    assert (answer["status"], answer["engine"], answer["model"]) == ("completed", "diffusers", f"{HIGH} + {LOW}")
    assert answer["result"] == {"filename": path.name, "path": str(path)}
    assert answer["placement"]["profile"] == "fast"
    assert f"diffusion model {LOW} was added: it is the other half of {HIGH}." in answer["warnings"]


async def test_the_defaults_are_files_of_comfyui_and_bind_no_other_engine(resident_worker, copy, tmp_path):
    for name in (HIGH, LOW):
        (tmp_path / "models" / "diffusion_models" / name).unlink()
    (tmp_path / "models" / "vae" / "wan_2.1_vae.safetensors").unlink()

    unnamed = await run(resident_worker, prompt=copy, engine="diffusers")
    named = await run(resident_worker, prompt=copy, engine="diffusers", diffusion_model=HIGH, job_id="sync-2")

    assert (unnamed["status"], "another_i2v_high_noise" in unnamed["model"]) == ("completed", True)
    assert (named["status"], named["code"]) == ("ERROR", "MODEL_NOT_FOUND")
    assert named["error"].startswith(f"Model '{HIGH}' not found in ")


async def test_without_an_engine_comfyui_renders_whatever_else_could(resident_worker, copy):
    answer = await run(resident_worker, prompt=copy)

    assert (answer["status"], answer["error"]) == ("ERROR", "ComfyUI server is not responding")


async def test_the_same_request_again_is_answered_without_rendering(comfyui_worker, comfyui):
    worker = comfyui_worker()
    first = await run(worker, request_id="one")
    again = await run(worker, request_id="one", job_id="sync-2")

    assert (again["status"], again["result"]) == ("completed", first["result"])
    assert again["seed"] == first["seed"]
    assert comfyui.seen["POST /prompt"] == 1


async def test_status_of_a_finished_job_is_nested_and_upper_case(comfyui_worker):
    worker = comfyui_worker()
    await run(worker, request_id="one")
    answer, _ = await ask(worker, {"input": {"action": "status", "request_id": "one"}})

    assert answer["status"]["status"] == "COMPLETED"
    assert answer["result"]["data"].startswith("data:video/mp4;base64,")


@pytest.mark.parametrize("sampler", ["KSamplerAdvanced", "VAEDecode"])
async def test_what_fails_on_the_server_names_its_node(comfyui_worker, comfyui, sampler):
    comfyui.nodes.fails = {sampler: ("RuntimeError", "shapes differ")}
    answer = await run(comfyui_worker())

    assert (answer["status"], answer["code"]) == ("ERROR", "ENGINE_FAILED")
    assert f"({sampler}) failed: RuntimeError: shapes differ" in answer["error"]
