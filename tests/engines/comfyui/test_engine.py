"""The ComfyUI engine: all five tasks by `generate`, `auto`, and a server of our own that is started and killed."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from door import ask, refused_port
from fakes.clips import clip
from fakes.gate import put_whole
from fakes.graphs import picture, saving, several
from fakes.wan.home import write_safetensors
from wanworker.app import Worker
from wanworker.engines.comfyui.engine import ComfyUI
from wanworker.engines.comfyui.graphs import WORKFLOWS
from wanworker.errors import UnknownJob
from wanworker.models.machine.hardware import Gpu, gpus

FAKE_MAIN = Path(__file__).resolve().parents[2] / "fakes" / "comfyui_main.py"
T2V = {"action": "generate", "task": "t2v-A14B", "prompt": "a cat", "engine": "comfyui"}
FACES = ("src_pose.mp4", "src_face.mp4", "src_bg.mp4", "src_mask.mp4")


def uri(data, mime):
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def prepared(tmp_path, films):
    """A folder that Wan's own preprocessing left, below an input root."""
    folder = tmp_path / "inputs" / "dance"
    folder.mkdir(parents=True)
    (folder / "src_ref.png").write_bytes(films[".png"])
    for name in FACES:
        clip(folder / name, frames=9)
    return folder


TASKS = {
    "t2v-A14B": ({}, "WanVideo"),
    "i2v-A14B": ({"image_base64": ".png"}, "WanImageToVideo"),
    "ti2v-5B": ({}, "Wan22ImageToVideoLatent"),
    "s2v-14B": ({"image_base64": ".png", "audio_base64": ".flac"}, "WanSoundImageToVideo"),
    "animate-14B": ({"prepared_path": "dance"}, "WanAnimateToVideo"),
}


@pytest.mark.parametrize("engine", ["comfyui", "auto"])
@pytest.mark.parametrize("task", TASKS)
async def test_generate_renders_each_task(comfyui_worker, comfyui, films, prepared, engine, task):
    given, class_type = TASKS[task]
    inputs = {
        name: base64.b64encode(films[value]).decode() if value in films else str(prepared)
        for name, value in given.items()
    }
    worker = comfyui_worker(input_dirs=(prepared.parent,), mini=False)
    payload = {"action": "generate", "task": task, "prompt": "a cat", "engine": engine, "seed": 5, **inputs}
    answer, progress = await ask(worker, {"input": payload})

    (graph,) = comfyui.graphs
    shown = [each["progress"] for each in progress]
    assert answer.get("error") is None
    assert (answer["status"]["status"], answer["engine"], answer["seed"]) == ("COMPLETED", "comfyui", 5)
    assert answer["result"]["data"] == uri(films[".mp4"], "video/mp4")
    assert class_type == "WanVideo" or class_type in {node["class_type"] for node in graph.values()}
    assert shown == sorted(shown)


async def test_auto_passes_comfyui_over_when_its_weights_are_missing(comfyui_worker, comfyui):
    comfyui.models["diffusion_models"] = ["wan2.2_ti2v_5B_fp16.safetensors"]
    await comfyui.die()
    await comfyui.start()
    answer, _ = await ask(comfyui_worker(mini=False), {"input": {"task": "t2v-A14B", "prompt": "a cat"}})

    assert answer["code"] == "MODEL_NOT_FOUND"
    assert "comfyui: diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors" in answer["hint"]
    assert comfyui.seen["POST /prompt"] == 0


async def test_auto_passes_comfyui_over_when_no_server_answers(comfyui_worker):
    worker = comfyui_worker(comfyui_url=f"http://127.0.0.1:{refused_port()}", mini=False)
    answer, _ = await ask(worker, {"input": {"task": "t2v-A14B", "prompt": "a cat"}})

    assert answer["code"] == "MODEL_NOT_FOUND"
    assert "comfyui: no ComfyUI server answers" in answer["hint"]


async def test_what_the_request_says_reaches_the_graph(comfyui_worker, comfyui):
    payload = {**T2V, "negative_prompt": "rain", "fps": 24, "size": "832*480", "frame_num": 33, "sample_steps": 12}
    answer, _ = await ask(comfyui_worker(), {"input": payload})

    (graph,) = comfyui.graphs
    values = [value for node in graph.values() for value in node["inputs"].values()]
    assert answer["status"]["status"] == "COMPLETED"
    assert {"rain", "a cat", 832, 480, 33, 24.0, 12} <= {value for value in values if not isinstance(value, list)}


async def test_a_picture_goes_up_under_our_own_name(comfyui_worker, comfyui, films):
    job = {**T2V, "task": "i2v-A14B", "image_base64": base64.b64encode(films[".png"]).decode(), "request_id": "mine"}
    await ask(comfyui_worker(), {"input": job})

    assert [path.name for path in (comfyui.folder / "input").iterdir()] == ["mine-1_image.png"]


async def test_an_engine_error_is_upper_case_for_generate(comfyui_worker, comfyui):
    comfyui.nodes.fails = {"KSamplerAdvanced": ("RuntimeError", "shapes differ")}
    answer, _ = await ask(comfyui_worker(), {"input": T2V})

    assert (answer["status"], answer["code"]) == ("ERROR", "ENGINE_FAILED")
    assert "shapes differ" in answer["error"]


async def test_generate_past_its_deadline_is_upper_case(comfyui_worker, comfyui):
    comfyui.nodes.holds = frozenset({"KSamplerAdvanced"})
    answer, _ = await ask(comfyui_worker(), {"input": {**T2V, "timeout": 1}})

    assert (answer["status"], answer["error"]) == ("TIMEOUT", "Execution did not complete within 1s")
    assert (comfyui.running, comfyui.pending) == (None, [])


@pytest.fixture
async def own(tmp_path, make_settings, films):
    """A worker with a checkout of its own, whose main.py is the fake one; `pids` are those that were started."""
    root = tmp_path / "ComfyUI"
    root.mkdir()
    (root / "main.py").symlink_to(FAKE_MAIN)
    settings = make_settings(
        comfyui_root=root, comfyui_python=Path(sys.executable), comfyui_port=refused_port(), comfyui_wait_s=60
    )
    worker = Worker(settings)
    yield worker, root
    await worker.close()


def pids(root):
    return [int(line) for line in (root / "pids").read_text().split()]


async def test_our_own_server_is_started_for_the_first_job_and_serves_the_next(own):
    worker, root = own
    before, _ = await ask(worker, {"input": {"health": True}})
    first, progress = await ask(worker, {"input": {"workflow": saving("SaveImage")}})
    second, _ = await ask(worker, {"input": {"workflow": several_pictures()}}, job_id="b")
    after, _ = await ask(worker, {"input": {"health": True}})

    assert [answer["status"] for answer in (first, second)] == ["completed", "completed"]
    assert len(pids(root)) == 1
    assert (before["comfyui_status"], after["comfyui_status"]) == ("offline", "online")
    assert any(each["stage"] == "starting ComfyUI" for each in progress)


def several_pictures():
    return {**saving("SaveImage"), "8": saving("SaveImage", prefix="more")["9"]}


async def test_health_says_starting_while_it_starts(own):
    worker, root = own
    (root / "knobs.json").write_text('{"waits": true}')
    job = asyncio.create_task(ask(worker, {"input": {"workflow": saving("SaveImage")}}))
    await until(lambda: (root / "pids").exists())
    during, _ = await ask(worker, {"input": {"health": True}}, job_id="b")
    (root / "go").touch()
    answer, _ = await job

    assert during["comfyui_status"] == "starting"
    assert answer["status"] == "completed"


def long_graph(last=5):
    """A graph of which much is done before its file is saved."""
    graph = picture()
    for number in range(2, last + 1):
        scale = {"upscale_method": "lanczos", "width": 64 + number, "height": 64, "crop": "disabled"}
        graph[str(number)] = {"class_type": "ImageScale", "inputs": {"image": [str(number - 1), 0], **scale}}
    saver = {"images": [str(last), 0], "filename_prefix": "x"}
    return {**graph, "200": {"class_type": "SaveImage", "inputs": saver}}


async def started(worker, root, **fields):
    """Begin a run and return its task once it is under way; this server saves no file, the next one does."""
    (root / "knobs.json").write_text('{"holds": ["SaveImage"]}')
    job = asyncio.create_task(ask(worker, {"input": {"workflow": long_graph(), "request_id": "cut", **fields}}))
    await until(lambda: is_under_way(worker, "cut"))
    (root / "knobs.json").unlink()
    return job


async def test_a_run_whose_server_dies_is_repeated_on_the_next_one(own, settings):
    worker, root = own
    job = await started(worker, root)
    put_whole(root / "die", "134")
    answer, progress = await job

    shown = [each["progress"] for each in progress]
    (warning,) = [line for line in answer["warnings"] if "died" in line]
    assert answer["status"] == "completed"
    assert warning.startswith("The ComfyUI server died in the middle of the run and was started again")
    assert "exit code 134" in warning
    assert len(pids(root)) == 2
    assert shown == sorted(shown)
    assert [path.name for path in settings.out_dir.iterdir() if path.is_file()] == ["cut_x_00001_.1.png"]
    assert [path.name for path in (root / "data" / "output").rglob("*.png")] == ["x_cut-1b_00001_.png"]


async def test_a_run_that_ran_out_of_memory_is_not_repeated(own):
    worker, root = own
    job = await started(worker, root)
    put_whole(root / "die", "1 torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 14.50 GiB.")
    answer, _ = await job

    assert (answer["status"], answer["code"]) == ("ERROR", "OUT_OF_MEMORY")
    assert "CUDA out of memory" in answer["error"]
    assert len(pids(root)) == 1


async def test_a_server_killed_in_mid_run_is_told_at_once_and_restarted_for_the_next_job(own, settings):
    worker, root = own
    job = await started(worker, root)
    os.kill(pids(root)[0], signal.SIGKILL)
    killed = time.monotonic()
    lost, _ = await job
    told_s = time.monotonic() - killed
    again, _ = await ask(worker, {"input": {"workflow": saving("SaveImage"), "request_id": "next"}}, job_id="b")

    assert (lost["status"], lost["code"]) == ("ERROR", "OUT_OF_MEMORY")
    assert lost["error"].startswith("The ComfyUI server ended in the middle of the run. It was killed (SIGKILL):")
    assert "SIGKILL): by hand, or by the system because the machine's memory ran out." in lost["error"]
    assert told_s < 20
    assert again["status"] == "completed"
    assert len(pids(root)) == 2
    assert [path.name for path in settings.out_dir.iterdir() if path.name.startswith(".")] == []


def is_under_way(worker, request_id):
    """Say whether the server has told of the job's progress."""
    try:
        job = worker.store.find(request_id)
    except UnknownJob:
        return False
    return (job.progress or {}).get("progress", 0) > 0


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_checkout_that_is_not_there_is_told_as_such(make_settings, tmp_path):
    worker = Worker(make_settings(comfyui_root=tmp_path / "nothing", comfyui_port=refused_port()))
    answer, _ = await ask(worker, {"input": {"workflow": saving("SaveImage")}})
    await worker.close()

    assert answer["error"].startswith("ComfyUI server is not responding. It is not installed")
    assert answer["code"] == "ENGINE_UNAVAILABLE"


async def test_models_in_the_checkout_itself_count(own):
    worker, root = own
    folder = root / "models" / "diffusion_models"
    folder.mkdir(parents=True)
    write_safetensors(folder / "mine.safetensors")
    (folder / "put_models_here").write_bytes(b"")
    answer, _ = await ask(worker, {"input": {"action": "comfyui_models"}})

    assert answer["models"]["diffusion_models"] == ["mine.safetensors"]
    assert answer["source"] == "folders"
    assert not (root / "pids").exists()


async def test_a_token_is_sent_and_told_to_nobody(comfyui_worker, comfyui, settings, caplog):
    comfyui.token = "very-secret"
    answer, _ = await ask(comfyui_worker(comfyui_token="very-secret"), {"input": {"workflow": several()}})
    health, _ = await ask(comfyui_worker(comfyui_token="very-secret"), {"input": {"health": True}})
    wrong, _ = await ask(comfyui_worker(comfyui_token="other"), {"input": {"workflow": several()}}, job_id="b")

    assert (answer["status"], health["comfyui_status"]) == ("completed", "online")
    assert wrong["error"].startswith("ComfyUI server is not responding")
    assert "token" in wrong["hint"]
    assert "very-secret" not in f"{answer}{health}{wrong}{caplog.text}"


def one_card():
    return [Gpu("NVIDIA L40S", 46_068, "8.9", "570.86")]


@pytest.fixture
def weights(settings):
    """A volume with every file that a text-to-video graph loads; returned is one of them."""
    wanted = WORKFLOWS["t2v-A14B"].weights.values()
    for each in wanted:
        path = settings.ckpt_dir / each.folder / each.default
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path)
    return path


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout of ComfyUI, and is never started."""
    root = tmp_path / "ComfyUI"
    root.mkdir()
    (root / "main.py").touch()
    return root


def test_a_server_of_our_own_is_ready_with_its_weights_and_a_card(make_settings, checkout, weights):
    state = ComfyUI(make_settings(comfyui_root=checkout), gpus=one_card).readiness("t2v-A14B")

    assert state.is_ready


def test_a_file_that_is_cut_short_is_not_ready_and_is_named(make_settings, checkout, weights):
    weights.write_bytes(weights.read_bytes()[:-1])
    state = ComfyUI(make_settings(comfyui_root=checkout), gpus=one_card).readiness("t2v-A14B")

    name = f"{weights.parent.name}/{weights.name}"
    assert state.missing == (f"{name} is damaged (72 bytes are there, but the header promises 73)",)


def test_without_a_card_a_server_of_our_own_is_not_ready_and_why_is_said(make_settings, checkout, weights):
    state = ComfyUI(make_settings(comfyui_root=checkout), gpus=list).readiness("t2v-A14B")

    assert (state.has_weights, state.is_ready) == (True, False)
    assert "no NVIDIA GPU" in state.lacking[0]


def test_a_checkout_without_its_program_is_not_ready(make_settings, tmp_path, weights):
    state = ComfyUI(make_settings(comfyui_root=tmp_path / "nothing"), gpus=one_card).readiness("t2v-A14B")

    assert state.lacking == (f"{tmp_path}/nothing/main.py is missing (COMFYUI_ROOT is ComfyUI's checkout)",)


@pytest.mark.skipif(bool(gpus()), reason="where there is a card, it is ready")
async def test_health_says_why_a_server_of_our_own_is_not_ready_without_a_card(own, weights):
    worker, root = own
    health, _ = await ask(worker, {"input": {"health": True, "refresh": True}})

    assert "no NVIDIA GPU: a ComfyUI server started here would render on the processor" in str(health)
    assert not (root / "pids").exists()


async def test_a_damaged_file_that_a_request_names_is_said_to_be_damaged(own, weights):
    worker, _root = own
    weights.write_bytes(weights.read_bytes()[:-1])
    job = {"task": "t2v-A14B", "prompt": "a cat", "engine": "comfyui"}
    answer, _ = await ask(worker, {"input": job})

    assert answer["code"] == "MODEL_NOT_FOUND"
    assert f"{weights.name} is damaged" in answer["hint"]
