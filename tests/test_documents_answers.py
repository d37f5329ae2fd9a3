"""The answers in docs/api.md have the keys of the answers that the requests beside them get."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import pages
from door import ask
from fakes.clips import clip, converted
from fakes.comfyui import FakeComfyUI
from fakes.comfyui_rules import recorded_object_info
from fakes.engine import ScriptedEngine
from fakes.files import file_server
from wanworker.actions.base import Call
from wanworker.actions.health import _shown
from wanworker.app import Worker
from wanworker.engines.machine.facts import Kernel
from wanworker.engines.preload import Preload
from wanworker.errors import GraphTimeout
from wanworker.models.machine.gpu_kernel import KernelRun
from wanworker.models.machine.hardware import Gpu, GpuUse
from wanworker.serverless.answer import error_answer
from wanworker.settings import Settings

REQUEST_ID = "3f0c9a52-u1"
MakeSettings = Callable[..., Settings]


def documented(heading: str) -> list[dict[str, Any]]:
    """Return the JSON blocks under *heading* of docs/api.md."""
    blocks = pages.all_blocks("docs/api.md")
    return [json.loads(block.text) for block in blocks if (block.heading, block.language) == (heading, "json")]


def shape(answer: object) -> object:
    """Return the keys of an answer, and of the first entry of its lists; names of models are no keys."""
    if isinstance(answer, dict):
        return {key: shape(value) for key, value in answer.items()}
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        return [shape(answer[0])]
    return type(answer).__name__


@asynccontextmanager
async def local_copies(tmp_path: Path, payload: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Yield *payload* with example.com's pictures on a server of loopback."""
    picture = converted(clip(tmp_path / "clip.mp4"), tmp_path / "picture.png", "-frames:v", "1").read_bytes()
    async with file_server() as files:
        files.files |= {"cover.png": picture, "scene.jpg": picture, "portrait.jpg": picture}
        yield json.loads(json.dumps(payload).replace("https://example.com/", files.url("/files/")))


@pytest.fixture
async def scripted(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[tuple[Worker, ScriptedEngine]]:
    """Yield a worker whose engine hands over a small clip."""
    engine = ScriptedEngine(clip(tmp_path / "engine.mp4"))
    worker = Worker(make_settings(allow_hosts=("127.0.0.1",)), engines=(engine.row(),))
    yield worker, engine
    await worker.close()


async def test_the_answer_of_generate(scripted: tuple[Worker, ScriptedEngine], tmp_path: Path) -> None:
    (request,), (answer,) = documented("generate"), documented("Answer")
    async with local_copies(tmp_path, request) as job:
        given, _ = await ask(scripted[0], {**job, "input": {**job["input"], "request_id": REQUEST_ID}})

    assert shape(answer) == shape(given)
    assert set(answer["status"]["outputs"][0].rpartition("/")[2:]) == {given["result"]["filename"]}


async def test_the_answers_of_status(scripted: tuple[Worker, ScriptedEngine]) -> None:
    request, running = documented("status")
    worker, engine = scripted
    job = {"input": {"task": "t2v-A14B", "prompt": "a star", "request_id": REQUEST_ID}}
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait_for_the_test(*_: object) -> None:
        begun.set()
        await go_on.wait()

    engine.act = wait_for_the_test
    rendering = asyncio.create_task(ask(worker, job))
    async with asyncio.timeout(20):
        await begun.wait()
        while not (given := (await ask(worker, request, job_id="sync-2"))[0])["status"]["stage"]:
            await asyncio.sleep(0.01)
    go_on.set()
    failed, _ = await rendering
    after, _ = await ask(worker, request, job_id="sync-3")

    assert shape(running) == shape(given)
    assert "NO_OUTPUT" == failed["status"] == after["status"]["status"]
    assert "error" not in after
    assert {"error", "code", "hint"} <= after["status"].keys()


async def test_the_answer_of_health(scripted: tuple[Worker, ScriptedEngine]) -> None:
    request, answer = documented("health")
    given, _ = await ask(scripted[0], request)
    loading = Preload("t2v-A14B", time.monotonic)
    loading.engine = "comfyui"
    # Lists may be empty on this machine: the keys of their entries are then taken from the code that makes them.
    entries = {
        "gpus": dataclasses.asdict(Gpu("RTX 5090", 32607, "12.0", "580.95"))
        | dataclasses.asdict(GpuUse(21504, 61, 97)),
        "kernels": _shown(Kernel("python", ("comfyui",), KernelRun(ran=True, failed=False, text="a kernel ran"), 12.0)),
        "damaged": {"path": "x", "flaw": "y"},
        "preload": loading.to_json(),
    }
    given |= {name: given[name] or [entry] for name, entry in entries.items()}
    held = dataclasses.replace(scripted[0].registry.cards.views()[0], holds="diffusers t2v-A14B")
    given["cards"] = [held.to_json(Gpu("RTX 5090", 32607, "12.0", "580.95"))]
    # What is ready depends on the machine too.
    answer |= {"engines": given["engines"], "fetch": given["fetch"]}

    assert shape(answer) == shape(given)
    assert "ready" == given["engines"]["diffusers"]["t2v-A14B"]


async def test_the_answer_of_plan(comfyui_worker: Callable[..., Worker]) -> None:
    request, answer = documented("plan")
    given, _ = await ask(comfyui_worker(), request)

    assert answer == given


async def test_the_answer_of_a_failure(scripted: tuple[Worker, ScriptedEngine]) -> None:
    (answer,) = documented("Errors")
    job = {"input": {"task": "i2v-A14B", "prompt": "a star", "request_id": REQUEST_ID}}
    given, _ = await ask(scripted[0], job)

    assert answer == {name: value for name, value in given.items() if name in answer}


def test_the_answer_of_a_graph_past_its_deadline() -> None:
    answer = documented("comfyui_workflow")[-1]

    assert answer == error_answer(GraphTimeout(answer["error"]), REQUEST_ID)


@pytest.mark.parametrize("action", ["comfyui_workflow", "comfyui_i2v", "comfyui_models"])
async def test_the_answer_of_a_comfyui_action(action: str, tmp_path: Path, make_settings: MakeSettings) -> None:
    request, answer = documented(action)[:2]
    async with FakeComfyUI(tmp_path / "comfyui") as server, local_copies(tmp_path, request) as job:
        server.nodes.media = {".mp4": (tmp_path / "clip.mp4").read_bytes()}
        worker = Worker(make_settings(comfyui_url=server.url, allow_hosts=("127.0.0.1",)))
        try:
            given = await worker.perform(job["input"], Call(REQUEST_ID, None, lambda _: None, 10**7))
        finally:
            await worker.close()

    assert shape(answer) == shape(given)
    assert answer.get("warnings") == given.get("warnings")


async def test_the_choices_of_node_classes(tmp_path: Path, make_settings: MakeSettings) -> None:
    request, answer = documented("comfyui_models")[2:]
    info = recorded_object_info("0.33.0")
    async with FakeComfyUI(tmp_path / "comfyui", info=info, version="0.33.0") as server:
        worker = Worker(make_settings(comfyui_url=server.url))
        try:
            given = await worker.perform(request["input"], Call(REQUEST_ID, None, lambda _: None, 10**7))
        finally:
            await worker.close()

    assert answer == given
