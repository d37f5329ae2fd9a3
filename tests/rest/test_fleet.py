"""A server without engines: its jobs go to RunPod's endpoints, several at once, and outlive its own end."""

from __future__ import annotations

import base64
import json
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.engine import write_clip
from fakes.rest_process import SOURCE, RestProcess
from fakes.runpod import Job, RunPod
from fakes.runpod_worker import StandInWorker
from locks import locked_requirements

#: What a door may not load, because its own requirements do not bring it.
FORBIDDEN = {
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "runpod",
}
JOBS = 12


class Held:
    """Hold the jobs of a stand-in worker until `release`; then, and from then on, answer each with the clip."""

    def __init__(self, clip: Path) -> None:
        data = base64.b64encode(clip.read_bytes()).decode()
        self._posted = {"output": {"result": {"filename": "a.mp4", "data": data}, "engine": "mini", "model": "m"}}
        self._held: list[tuple[StandInWorker, Job]] = []
        self._open = False
        self._lock = threading.Lock()

    def __call__(self, worker: StandInWorker, job: Job) -> None:
        with self._lock:
            self._held.append((worker, job))
            self._answer()

    def release(self) -> None:
        """Answer what is held, and what comes."""
        with self._lock:
            self._open = True
            self._answer()

    def _answer(self) -> None:
        while self._open and self._held:
            worker, job = self._held.pop()
            worker.done(job, self._posted)


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(write_clip(tmp_path / "clip.mp4"))


@pytest.fixture
def plane() -> Iterator[RunPod]:
    with RunPod() as plane:
        yield plane


def door(folder: Path, plane: RunPod, **more: str) -> RestProcess:
    """Return a server to whom Python refuses every library that its requirements do not bring."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(
        "import sys\nclass Refusing:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name.split('.')[0] in {sorted(FORBIDDEN)!r}: raise ImportError('a door has no ' + name)\n"
        "sys.meta_path.insert(0, Refusing())\n"
    )
    environment = {
        "PYTHONPATH": f"{folder / 'site'}:{SOURCE}",
        "WAN_RUNPOD_ENDPOINTS": plane.url,
        "RUNPOD_API_KEY": plane.api_key,
        "WAN_ALLOW_HOSTS": "127.0.0.1",
        "WAN_ENGINE": "runpod",
        "WAN_MINI": "off",
        "WAN_RUNPOD_CONCURRENCY": "4",
        **more,
    }
    return RestProcess(folder, **environment)


def call(server: RestProcess, path: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def submit(server: RestProcess, number: int) -> str:
    body = {"prompt": f"star {number}", "seed": number, "width": 64, "height": 64, "length": 5}
    return str(call(server, "/generate", body)["job_id"])


def ends(server: RestProcess, ids: list[str], timeout_s: float = 60.0) -> list[str]:
    """Return how each job ended."""
    give_up = time.monotonic() + timeout_s
    while True:
        states = [call(server, f"/status/{job_id}")["status"] for job_id in ids]
        if not {"queued", "processing"} & set(states):
            return states
        assert time.monotonic() < give_up, states
        time.sleep(0.1)


def test_no_lock_brings_to_a_door_what_it_may_not_load() -> None:
    assert not FORBIDDEN & {pin.name for pin in locked_requirements("requirements-door.lock")}


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_a_door_that_ends_in_the_middle_finds_every_job_again(
    number: signal.Signals, tmp_path: Path, plane: RunPod, held: Held
) -> None:
    server = door(tmp_path, plane)
    with StandInWorker(plane, held):
        with server:
            ids = [submit(server, each) for each in range(JOBS)]
            plane.wait_until(lambda: len(plane.events_of("take")) >= 4, what="four jobs at once")
            plane.wait_until(lambda: len({event.job_id for event in plane.events_of("told")}) >= 4, what="questions")
            server.process.send_signal(number)
            server.process.wait(30)
        before = [job.job_id for job in plane.jobs.values()]
        with server:
            held.release()
            states = ends(server, ids)
            answer = call(server, f"/status/{ids[0]}")

    assert ["completed"] * JOBS == states, server.log_path.read_text()[-4000:]
    assert [] == plane.events_of("cancel")
    assert set(before) <= set(plane.jobs)
    seeds = [job.input["seed"] for job in plane.jobs.values()]
    assert list(range(JOBS)) == sorted(seeds)  # each was sent once, whatever became of the door
    assert "runpod" == answer["engine"]


def test_a_deleted_job_is_stopped_over_there(tmp_path: Path, plane: RunPod, held: Held) -> None:
    server = door(tmp_path, plane)
    with StandInWorker(plane, held), server:
        job_id = submit(server, 1)
        plane.wait_for_event("told")
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/jobs/{job_id}", method="DELETE")
        with urllib.request.urlopen(request, timeout=30):
            pass
    [job] = plane.jobs.values()
    assert "CANCELLED" == job.status
