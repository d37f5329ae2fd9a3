"""Which model files there are: by the server's word, from a thread and kept for a while, or by the folders."""

from __future__ import annotations

import asyncio
import base64

import pytest

from door import ask, refused_port
from fakes.wan.home import write_safetensors
from wanworker.app import Worker
from wanworker.comfyui.client.http import ComfyClient
from wanworker.engines._capabilities import COMFYUI
from wanworker.engines.base import EngineRow
from wanworker.engines.comfyui.engine import ComfyUI
from wanworker.engines.comfyui.graphs import missing_for
from wanworker.engines.comfyui.weights import FOLDERS, FolderLists
from wanworker.errors import ModelNotFound


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def lists_of(server, clock=None, roots=()):
    return FolderLists(roots, lambda: ComfyClient(server.url), clock=clock or Clock())


def test_every_folder_that_our_graphs_load_from_is_listed():
    assert {"diffusion_models", "text_encoders", "vae", "loras", "clip_vision", "audio_encoders"} <= set(FOLDERS)


async def test_a_thread_without_a_loop_may_ask_the_server(comfyui):
    told = await asyncio.to_thread(lists_of(comfyui).from_server_now)

    assert told is not None
    assert dict(told) == {folder: tuple(sorted(names)) for folder, names in comfyui.models.items()}


async def test_the_answer_is_kept_for_ten_seconds_and_then_asked_again(comfyui):
    clock = Clock()
    lists = lists_of(comfyui, clock)
    for clock.now in (0.0, 9.0, 11.0):
        await asyncio.to_thread(lists.from_server_now)

    assert comfyui.seen["GET /system_stats"] == 2


async def test_what_was_kept_is_dropped_when_it_is_forgotten(comfyui):
    lists = lists_of(comfyui)
    await asyncio.to_thread(lists.from_server_now)
    lists.forget(answers=True)
    await asyncio.to_thread(lists.from_server_now)
    lists.forget(answers=False)
    silent = await asyncio.to_thread(lists.from_server_now)

    assert silent is None
    assert comfyui.seen["GET /system_stats"] == 2


async def test_a_server_that_does_not_answer_has_no_lists():
    lists = FolderLists((), lambda: ComfyClient(f"http://127.0.0.1:{refused_port()}"))

    assert await asyncio.to_thread(lists.from_server_now) is None


async def test_folders_that_an_older_server_lacks_are_empty(comfyui):
    del comfyui.models["clip_vision"]
    async with ComfyClient(comfyui.url) as client:
        told = await lists_of(comfyui).from_server(client)

    assert told["clip_vision"] == ()
    assert told["vae"]


async def test_what_was_told_a_moment_ago_is_not_asked_again(comfyui):
    clock = Clock()
    lists = lists_of(comfyui, clock)
    asked = []
    async with ComfyClient(comfyui.url) as client:
        for clock.now, forgotten in ((0.0, False), (0.9, False), (2.0, False), (2.1, True)):
            if forgotten:
                lists.forget(answers=True)
            await lists.from_server(client)
            asked.append(comfyui.seen["GET /models/vae"])

    assert asked == [1, 1, 2, 3]


@pytest.fixture
async def worker(make_settings, comfyui):
    """A worker for whose ComfyUI engine no time passes."""
    row = EngineRow("comfyui", COMFYUI, lambda given: ComfyUI(given, clock=lambda: 1000.0))
    made = Worker(make_settings(comfyui_url=comfyui.url), engines=(row,))
    yield made
    await made.close()


def i2v(films, **fields):
    image = base64.b64encode(films[".png"]).decode()
    return {"input": {"action": "comfyui_i2v", "prompt": "a cat", "image_base64": image, **fields}}


async def asked_for(comfyui, worker, job, job_id):
    """Send the job; return its answer and how often it asked for the models of each folder."""
    comfyui.seen.clear()
    answer, _ = await ask(worker, job, job_id=job_id)
    return answer, {comfyui.seen[f"GET /models/{folder}"] for folder in FOLDERS}


async def test_a_job_asks_for_the_lists_once_and_the_next_one_not_at_all(worker, comfyui, films):
    first, times = await asked_for(comfyui, worker, i2v(films), "a")
    second, times_again = await asked_for(comfyui, worker, i2v(films, seed=5), "b")

    assert [first["status"], second["status"]] == ["completed", "completed"]
    assert (times, times_again) == ({1}, {0})


async def test_a_model_that_came_a_moment_ago_is_found(worker, comfyui, films):
    job = i2v(films, diffusion_model="mine_high_noise", single_expert=True)
    missing, _ = await asked_for(comfyui, worker, job, "a")
    comfyui.models["diffusion_models"].append("mine_high_noise.safetensors")
    found, times = await asked_for(comfyui, worker, job, "b")

    assert missing["code"] == "MODEL_NOT_FOUND"
    assert found["status"] == "completed"
    assert times == {1}


async def test_lists_that_a_refusal_contradicts_are_dropped(worker, comfyui, films):
    await asked_for(comfyui, worker, i2v(films), "a")
    comfyui.info["VAELoader"]["input"]["required"]["vae_name"] = [["other.safetensors"]]  # the server's word at last
    worker.registry.engine("comfyui")._client.drop_object_info()
    refused, times = await asked_for(comfyui, worker, i2v(films, seed=5), "b")
    _, times_after = await asked_for(comfyui, worker, i2v(films, seed=6), "c")

    assert refused["code"] == "MODEL_NOT_FOUND"
    assert (times, times_after) == ({0}, {1})


async def test_a_server_that_came_up_again_is_asked_again(worker, comfyui, films):
    await asked_for(comfyui, worker, i2v(films), "a")
    engine = worker.registry.engine("comfyui")
    await comfyui.die()
    await engine._server.probe()
    await comfyui.start()
    answer, times = await asked_for(comfyui, worker, i2v(films, seed=5), "b")

    assert answer["status"] == "completed"
    assert times == {1}


async def test_the_list_of_models_is_always_as_it_is_now(worker, comfyui, films):
    await asked_for(comfyui, worker, i2v(films), "a")
    comfyui.models["loras"].append("new.safetensors")
    answer, _ = await ask(worker, {"input": {"action": "comfyui_models"}}, job_id="b")

    assert "new.safetensors" in answer["models"]["loras"]


def test_the_folders_of_several_roots_make_one_list_without_what_is_no_weight(tmp_path):
    for root, name in (("a", "one.safetensors"), ("b", "sub/two.SAFETENSORS"), ("b", "one.safetensors")):
        path = tmp_path / root / "loras" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path)
        path.with_name("put_loras_here").touch()
    lists = FolderLists((tmp_path / "a", tmp_path / "b", tmp_path / "c"), lambda: ComfyClient("http://localhost:1"))

    assert lists.from_folders()["loras"] == ("one.safetensors", "sub/two.SAFETENSORS")
    assert set(lists.from_folders()) == set(FOLDERS)


@pytest.fixture
def cut(tmp_path):
    """A models folder with one whole file and one that is cut short."""
    folder = tmp_path / "models" / "vae"
    folder.mkdir(parents=True)
    for name in ("whole.safetensors", "wan_2.1_vae.safetensors"):
        write_safetensors(folder / name)
    path = folder / "wan_2.1_vae.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    return tmp_path / "models"


def test_a_file_that_is_cut_short_is_told_apart_from_the_whole_ones(cut):
    whole, flaws = FolderLists((cut,), lambda: ComfyClient("http://localhost:1")).examined()

    assert whole["vae"] == ("whole.safetensors",)
    assert flaws["vae"] == {"wan_2.1_vae.safetensors": "71 bytes are there, but the header promises 73"}
    assert not flaws["loras"]


def test_weights_that_are_damaged_are_missing_and_named_with_what_is_wrong(cut):
    lists = FolderLists((cut,), lambda: ComfyClient("http://localhost:1"))

    flaw = "71 bytes are there, but the header promises 73"
    assert f"vae/wan_2.1_vae.safetensors is damaged ({flaw})" in missing_for("t2v-A14B", *lists.examined())


def test_the_file_that_a_server_loads_of_two_with_one_name_is_the_one_that_counts(cut, tmp_path):
    (tmp_path / "first" / "vae").mkdir(parents=True)
    write_safetensors(tmp_path / "first" / "vae" / "wan_2.1_vae.safetensors")
    lists = FolderLists((tmp_path / "first", cut), lambda: ComfyClient("http://localhost:1"))

    assert lists.examined()[1]["vae"] == {}


async def test_what_a_server_lists_is_less_what_it_would_fail_to_load(cut, comfyui):
    comfyui.models["vae"] = ["wan_2.1_vae.safetensors", "whole.safetensors"]
    lists = lists_of(comfyui, roots=(cut,))
    async with ComfyClient(comfyui.url) as client:
        told = await lists.less_damaged(lists.from_server(client))

    assert told["vae"] == ("whole.safetensors",)
    assert told["loras"]


def test_an_error_about_a_model_names_the_damaged_files(cut):
    lists = FolderLists((cut,), lambda: ComfyClient("http://localhost:1"))
    error = lists.with_damage(ModelNotFound("Model 'a' not found in /models/", hint="In vae there is: b."))

    assert str(error) == "Model 'a' not found in /models/"
    assert error.hint.startswith("In vae there is: b. vae/wan_2.1_vae.safetensors is damaged (71 bytes")
