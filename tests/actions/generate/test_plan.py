"""The action `plan`: its answer, its refusals, its price; nothing is claimed, rendered or written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from door import ask, refused_port
from fakes.comfyui_wan import WanServer
from fakes.engine import ScriptedEngine, write_clip
from fakes.wan.home import write_safetensors
from wanworker.actions import ACTIONS
from wanworker.actions.envelope import resolve
from wanworker.app import Worker
from wanworker.engines.base import Readiness
from wanworker.engines.comfyui.graphs import WORKFLOWS
from wanworker.settings import Settings

FIELDS = {"action": "plan", "task": "t2v-A14B", "prompt": "a cat", "size": "64*64", "frame_num": 5, "fps": 8}

MakeSettings = Callable[..., Settings]


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    return ScriptedEngine(write_clip(tmp_path / "clip.mp4"))


@pytest.fixture
async def worker(settings: Settings, engine: ScriptedEngine) -> AsyncIterator[Worker]:
    made = Worker(settings, engines=(engine.row(),))
    yield made
    await made.close()


async def planned(worker: Worker, **fields: Any) -> dict[str, Any]:
    answer, _ = await ask(worker, {"input": {**FIELDS, **fields}}, job_id="sync-plan")
    return answer


async def test_a_plan_renders_nothing_and_leaves_nothing(
    worker: Worker, engine: ScriptedEngine, settings: Settings
) -> None:
    answer = await planned(worker, seed=7)

    assert ("diffusers", "scripted-1", 7) == (answer["engine"], answer["model"], answer["seed"])
    assert {"width": 64, "height": 64, "fps": 8.0, "frames": 5, "duration_s": 0.625} == answer["video"]
    assert ["a word from the engine"] == answer["warnings"]
    assert (None, None, 0) == (answer["seconds"], answer["cost"], answer["like_jobs"])
    assert [] == engine.seen
    assert not settings.out_dir.exists()


async def test_a_random_seed_is_not_told_before(worker: Worker) -> None:
    assert (await planned(worker))["seed"] is None


async def test_what_the_job_would_be_refused_for_is_the_plans_error(worker: Worker, engine: ScriptedEngine) -> None:
    engine.state = Readiness(missing=("no weights",))
    lacking, wrong = await planned(worker), await planned(worker, task="i2v-A14B")

    assert ("MODEL_NOT_FOUND", "ERROR") == (lacking["code"], lacking["status"])
    assert "Missing reference image" in wrong["error"]


async def test_a_request_id_of_another_request_is_refused(worker: Worker) -> None:
    await ask(worker, {"input": {**FIELDS, "action": "generate", "request_id": "mine"}})
    same, other = (
        await planned(worker, request_id="mine", price_per_hour=2),
        await planned(worker, request_id="mine", prompt="a dog"),
    )

    assert "error" not in same
    assert "REQUEST_ID_REUSED" == other["code"]


@pytest.mark.parametrize("price", [-1, "a lot", 10_001])
async def test_a_price_that_is_none_is_refused(worker: Worker, price: object) -> None:
    answer = await planned(worker, price_per_hour=price)

    assert ("INVALID_REQUEST", True) == (answer["code"], "price_per_hour" in answer["error"])


def test_a_plan_is_never_implied() -> None:
    fields = {"prompt": "a cat", "price_per_hour": 2}

    assert "generate" == resolve(fields, ACTIONS)[0].name


async def test_the_second_job_is_priced_by_the_first(
    comfyui_worker: Callable[..., Worker], comfyui: WanServer, tmp_path: Path
) -> None:
    made = write_clip(tmp_path / "made.mp4", width=64, height=64, frames=9)
    comfyui.nodes.media = {**comfyui.nodes.media, ".mp4": made.read_bytes()}
    worker = comfyui_worker()
    fields = {"size": "64*64", "frame_num": 9, "engine": "comfyui"}
    unknown = await planned(worker, **fields)
    await ask(worker, {"input": {**FIELDS, **fields, "action": "generate", "request_id": "first"}})
    record = worker.store.find("first")
    video = record.outputs[0]
    assert (64, 64, 9) == (video.width, video.height, video.frames)
    answer, twice = await planned(worker, **fields, price_per_hour=3600), await planned(worker, **fields, num_outputs=2)

    assert (None, 0) == (unknown["seconds"], unknown["like_jobs"])
    assert (round(record.timings["render_s"], 1), 1) == (answer["seconds"], answer["like_jobs"])
    assert answer["seconds"] == answer["cost"]
    assert (round(2 * answer["seconds"], 1), None) == (twice["seconds"], twice["cost"])
    assert 1 == comfyui.seen["POST /prompt"]


async def test_a_server_of_ours_that_does_not_run_is_planned_from_the_volume(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "main.py").write_text("raise SystemExit('a plan starts no server')")
    for weights in WORKFLOWS["t2v-A14B"].weights.values():
        file = tmp_path / "models" / weights.folder / weights.default
        file.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(file)
    worker = Worker(make_settings(comfyui_root=tmp_path / "ComfyUI", comfyui_port=refused_port()))
    try:
        answer = await planned(worker, engine="comfyui", frame_num=6)
        lacking = await planned(worker, engine="comfyui", task="ti2v-5B")
    finally:
        await worker.close()

    assert "wan2.2_t2v_high_noise_14B_fp8_scaled" in answer["model"]
    assert {"name": "Wan's own numbers", "steps": 40, "shift": 12.0}.items() <= answer["recipe"].items()
    assert "frame_num 6 was changed to 5: Wan renders 4n+1 frames." in answer["warnings"]
    assert ["No ComfyUI server runs here now: what it would say of the graph is only known once it is started."] == (
        answer["unknown"]
    )
    assert "MODEL_NOT_FOUND" == lacking["code"]


async def test_a_remote_server_that_does_not_answer_is_no_plan(make_settings: MakeSettings) -> None:
    worker = Worker(make_settings(comfyui_url=f"http://127.0.0.1:{refused_port()}", allow_hosts="127.0.0.1"))
    try:
        answer = await planned(worker, engine="comfyui")
    finally:
        await worker.close()

    assert "ENGINE_UNAVAILABLE" == answer["code"]
