"""
What a real ComfyUI does with good outputs beside bad ones, with a queue, and when it is killed.

The first tests need a server, in COMFYUI_URL; they wait behind prompts of their own. Those that kill need a checkout,
in COMFYUI_ROOT (and its interpreter in COMFYUI_PYTHON), and start its server without weights and without a GPU.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import random
import signal
import uuid
from pathlib import Path

import pytest
from PIL import Image

from door import ask, refused_port
from fakes.comfyui_recordings import slow_graph
from fakes.graphs import saving
from wanworker.app import Worker
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.run.cancel import cancel_prompt
from wanworker.errors import UnknownJob

URL = os.environ.get("COMFYUI_URL", "")
ROOT, PYTHON = os.environ.get("COMFYUI_ROOT", ""), os.environ.get("COMFYUI_PYTHON", "")

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]
needs_url = pytest.mark.skipif(not URL, reason="COMFYUI_URL is not set")
needs_root = pytest.mark.skipif(not ROOT, reason="COMFYUI_ROOT is not set")

#: Longer than any of these runs takes on a busy machine.
PATIENCE_S = 300


@pytest.fixture
async def worker(make_settings):
    """A worker of the real server in COMFYUI_URL."""
    made = Worker(make_settings(comfyui_url=URL))
    yield made
    await made.close()


@pytest.fixture
async def own(make_settings, tmp_path):
    """A worker that starts the server of COMFYUI_ROOT, with the server's port."""
    port = refused_port()
    folders = [f"--database-url sqlite:///{tmp_path}/db.sqlite"]
    folders += [f"--{name}-directory {tmp_path}/{name}" for name in ("output", "temp", "input")]
    settings = make_settings(
        comfyui_root=Path(ROOT),
        comfyui_python=Path(PYTHON) if PYTHON else None,
        comfyui_port=port,
        comfyui_args=" ".join(["--cpu", *folders]),
    )
    for name in ("output", "temp", "input"):
        (tmp_path / name).mkdir()
    made = Worker(settings)
    yield made, port
    await made.close()


def fresh():
    """A colour that no server has cached."""
    return random.SystemRandom().randrange(1 << 24)


async def run(worker, graph, request_id, **fields):
    given = {"action": "comfyui_workflow", "workflow": graph, "request_id": request_id, "timeout": PATIENCE_S}
    return await ask(worker, {"input": {**given, **fields}}, job_id=f"rp-{request_id}")


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


def shown(worker, request_id):
    """Return what the job's record tells of its progress."""
    try:
        return worker.store.find(request_id).progress or {}
    except UnknownJob:
        return {}


@needs_url
async def test_a_bad_output_beside_good_ones_costs_only_itself(worker):
    graph = saving("SaveImage", prefix="good", color=fresh())
    graph["10"] = {"class_type": "LoadImage", "inputs": {"image": f"{uuid.uuid4().hex}.png"}}
    graph["11"] = {"class_type": "SaveImage", "inputs": {"images": ["10", 0], "filename_prefix": "bad"}}
    graph["12"] = {"class_type": "SaveImage", "inputs": {"images": ["77", 0], "filename_prefix": "worse"}}
    answer, _ = await run(worker, graph, uuid.uuid4().hex)

    assert answer["status"] == "completed"
    assert [output["type"] for output in answer["outputs"]] == ["image/png"] * 4
    assert any("node 10 (LoadImage), input 'image'" in line for line in answer["warnings"])
    assert any("node 12 (SaveImage), input 'images': linked to node '77'" in line for line in answer["warnings"])


@needs_url
async def test_three_jobs_that_wait_behind_two_other_prompts_tell_their_places(make_settings):
    """The others run until they are called off, so each place is told however fast the machine is."""
    workers = [Worker(make_settings(comfyui_url=URL)) for _ in range(3)]
    ids = [uuid.uuid4().hex for _ in workers]
    others = [str(uuid.uuid4()) for _ in range(2)]
    heard = {request_id: set() for request_id in ids}
    try:
        async with ComfyClient(URL) as other:
            for prompt_id in others:
                await other.submit(endless_graph(), prompt_id=prompt_id, client_id=uuid.uuid4().hex)
            jobs = []
            for number, (worker, request_id) in enumerate(zip(workers, ids, strict=True)):
                jobs.append(asyncio.create_task(run(worker, saving("SaveImage", color=fresh()), request_id)))
                wanted = f"{2 + number} prompts ahead"
                await until(lambda: wanted in told(workers, ids, heard)[request_id])  # noqa: B023 - awaited at once
            assert await cancel_prompt(other, others[0], within_s=PATIENCE_S)
            places = dict(zip(ids, ("1 prompt ahead", "2 prompts ahead", "3 prompts ahead"), strict=True))
            await until(lambda: all(places[each] in told(workers, ids, heard)[each] for each in ids))
            assert await cancel_prompt(other, others[1], within_s=PATIENCE_S)
            answers = [(await job)[0] for job in jobs]
    finally:
        for worker in workers:
            await worker.close()

    assert [answer["status"] for answer in answers] == ["completed"] * 3


def endless_graph():
    """Return a graph that works for minutes, in steps of seconds between which it can be called off."""
    picture = {"width": 1024, "height": 1024, "batch_size": 1, "color": fresh()}
    graph = {"0": {"class_type": "EmptyImage", "inputs": picture}}
    for number in range(1, 60):
        blur = {"image": [str(number - 1), 0], "blur_radius": 31, "sigma": 9.0}
        graph[str(number)] = {"class_type": "ImageBlur", "inputs": blur}
    return {**graph, "60": {"class_type": "SaveImage", "inputs": {"images": ["59", 0], "filename_prefix": "endless"}}}


def told(workers, ids, heard):
    """Add what the jobs' records tell now, and return it all."""
    for worker, request_id in zip(workers, ids, strict=True):
        heard[request_id].add(shown(worker, request_id).get("detail"))
    return heard


@needs_root
async def test_an_output_that_is_gone_costs_only_itself(own, tmp_path):
    """The server saves what is ready first, so the file can be deleted while a long chain still runs."""
    worker, _ = own
    graph = {**slow_graph(nodes=12, color=fresh())}
    graph["90"] = saving("SaveImage", color=fresh())["1"]
    graph["91"] = {"class_type": "SaveImage", "inputs": {"images": ["90", 0], "filename_prefix": "gone"}}
    job = asyncio.create_task(run(worker, graph, uuid.uuid4().hex))
    await until(lambda: len(list((tmp_path / "output").rglob("gone_*.png"))) == 4 or job.done())
    (tmp_path / "output").joinpath(sorted((tmp_path / "output").glob("gone_*.png"))[1].name).unlink()
    answer, _ = await job

    assert answer["status"] == "completed"
    assert len(answer["outputs"]) == 4
    (line,) = answer["warnings"]
    assert line.startswith("Output 'gone_")
    assert "of node 91 is lost: The ComfyUI server names" in line


def pid_on(port):
    """Return the process of the server on *port*, or None."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        # The worker's own launcher has the same words, but further behind.
        if words[1:2] == [b"main.py"] and words[words.index(b"--port") + 1] == str(port).encode():
            return int(place.parent.name)
    return None


def kill(port):
    pid = pid_on(port)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def killed_at_its_start(worker, port, tmp_path):
    job = asyncio.create_task(run(worker, saving("SaveImage"), "start"))
    await until(lambda: pid_on(port))
    kill(port)
    return (await job)[0]


async def killed_while_idle(worker, port, tmp_path):
    answer, _ = await run(worker, saving("SaveImage"), "idle")
    kill(port)
    return answer


async def killed_in_a_node(worker, port, tmp_path):
    job = asyncio.create_task(run(worker, slow_graph(color=fresh()), "node"))
    await until(lambda: shown(worker, "node").get("progress", 0) > 0)
    kill(port)
    return (await job)[0]


async def killed_while_we_wait(worker, port, tmp_path):
    await run(worker, saving("SaveImage"), "before")
    async with ComfyClient(f"http://127.0.0.1:{port}") as other:
        await other.submit(slow_graph(color=fresh()), prompt_id=str(uuid.uuid4()), client_id=uuid.uuid4().hex)
    job = asyncio.create_task(run(worker, saving("SaveImage", color=fresh()), "wait"))
    await until(lambda: shown(worker, "wait").get("detail") == "1 prompt ahead")
    kill(port)
    return (await job)[0]


async def killed_while_we_download(worker, port, tmp_path):
    noise = io.BytesIO()
    Image.frombytes("RGB", (1024, 1024), random.Random(1).randbytes(3 << 20)).save(noise, "PNG")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "noise.png"}},
        "2": {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 0], "amount": 24}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "noise"}},
    }
    images = [{"name": "noise.png", "data": base64.b64encode(noise.getvalue()).decode()}]
    job = asyncio.create_task(run(worker, graph, "load", images=images))
    await until(lambda: len(list((tmp_path / "outputs").glob(".load*/*"))) > 2 or job.done())
    kill(port)
    return (await job)[0]


MOMENTS = {
    killed_at_its_start: "ENGINE_UNAVAILABLE",
    killed_while_idle: None,
    killed_in_a_node: "OUT_OF_MEMORY",
    killed_while_we_wait: "OUT_OF_MEMORY",
    killed_while_we_download: "OUT_OF_MEMORY",
}


@needs_root
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
async def test_a_server_killed_by_sigkill_costs_at_most_its_job(own, tmp_path, moment):
    worker, port = own
    lost = await moment(worker, port, tmp_path)
    again, _ = await run(worker, saving("SaveImage", color=fresh()), "again")

    assert lost.get("code") == MOMENTS[moment]
    if moment is not killed_while_idle:
        assert "killed (SIGKILL): by hand, or by the system because the machine's memory ran out" in lost["error"]
    assert (again["status"], len(again["outputs"])) == ("completed", 4)
    assert [path.name for path in (tmp_path / "outputs").iterdir() if path.name.startswith(".")] == []
