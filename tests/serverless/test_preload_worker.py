"""WAN_PRELOAD in real worker processes: the first job is taken at once, waits for the same load, and tells how long."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from door import refused_port
from fakes.graphs import saving
from fakes.runpod import Job, RunPod
from fakes.stopped import stop
from fakes.worker_process import WorkerProcess

FAKE_MAIN = Path(__file__).resolve().parents[1] / "fakes" / "comfyui_main.py"
SMALL = {
    "task": "t2v-A14B", "prompt": "a red star", "size": "128*128", "frame_num": 17, "sample_steps": 2, "seed": 7,
    "return_video": False,
}  # fmt: skip


def checkout(folder: Path, **knobs: Any) -> dict[str, str]:
    """Make a checkout of ComfyUI whose main.py is the fake, and return the variables that lead the worker to it."""
    root = folder / "ComfyUI"
    root.mkdir()
    (root / "main.py").symlink_to(FAKE_MAIN)
    (root / "knobs.json").write_text(json.dumps(knobs))
    return {
        "WAN_PRELOAD": "comfyui",
        "WAN_ENGINE": "mini",
        "COMFYUI_ROOT": str(root),
        "COMFYUI_PYTHON": sys.executable,
        "COMFYUI_PORT": str(refused_port()),
        "TMPDIR": str(folder),
    }


def pids(folder: Path) -> list[int]:
    file = folder / "ComfyUI" / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def is_alive(pid: int) -> bool:
    """Say whether the process still runs; an orphan that its init has not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def answer_of(plane: RunPod, payload: object) -> dict[str, Any]:
    job = plane.wait_for_job(plane.submit(payload), timeout_s=90)
    assert job.status == "COMPLETED", job.error
    output: dict[str, Any] = job.output
    return output


def preload_of(plane: RunPod) -> dict[str, Any]:
    (preload,) = answer_of(plane, {"health": True})["preload"]
    return dict(preload)


def wait_until(plane: RunPod, condition: Callable[[], bool], what: str) -> None:
    plane.wait_until(condition, timeout_s=60, what=what)


def test_the_first_job_is_taken_while_a_slow_comfyui_starts_and_waits_for_that_start(tmp_path: Path) -> None:
    environment = checkout(tmp_path, delay_s=2)
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=environment):
        wait_until(plane, lambda: bool(pids(tmp_path)), "ComfyUI to be started before any job")
        stop(pids(tmp_path)[0])  # as slow as it takes: until the job is seen to wait
        health = answer_of(plane, {"health": True})
        job_id = plane.submit({"workflow": saving("SaveImage")})

        def waits() -> bool:
            return any(event.detail["stage"] == "starting ComfyUI" for event in plane.events_of("progress"))

        wait_until(plane, waits, "the job to wait for ComfyUI")
        os.kill(pids(tmp_path)[0], signal.SIGCONT)
        first: Job = plane.wait_for_job(job_id, timeout_s=60)
        second = answer_of(plane, {"workflow": saving("SaveImage", prefix="more")})
        preload = preload_of(plane)

    assert first.status == "COMPLETED", first.error
    assert ("starting", "loading") == (health["comfyui_status"], health["preload"][0]["state"])
    assert {"name": "comfyui", "engine": "comfyui", "state": "ready"}.items() <= preload.items()
    assert len(pids(tmp_path)) == 1
    timings = first.output["timings"]
    assert timings["comfyui_start_s"] > 2
    assert timings["comfyui_start_s"] > timings["wait_s"] > 0
    assert timings["start_s"] > 0
    assert not {"start_s", "comfyui_start_s"} & second["timings"].keys()


@pytest.mark.slow
def test_weights_are_loaded_once_and_the_first_video_tells_how_long_each_part_took(tmp_path: Path) -> None:
    mini = {"WAN_ENGINE": "mini", "WAN_PRELOAD": "t2v-A14B"}
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=mini) as worker:
        first = answer_of(plane, SMALL)["timings"]
        second = answer_of(plane, {**SMALL, "seed": 8})["timings"]
        preload = preload_of(plane)
        log = worker.log

    assert {"engine": "mini", "state": "ready"}.items() <= preload.items()
    assert log.count("loads ") == 1
    assert first["load_s"] >= first["wait_s"] > 0
    assert first["start_s"] > 0
    assert (0.0, 0.0) == (second["load_s"], second["wait_s"])
    assert "start_s" not in second


@pytest.mark.slow
def test_a_preload_that_fails_is_a_fact_and_jobs_go_on(tmp_path: Path) -> None:
    environment = checkout(tmp_path, fails="exit")
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=environment) as worker:
        wait_until(plane, lambda: preload_of(plane)["state"] == "failed", "the preload to fail")
        preload = preload_of(plane)
        rendered = answer_of(plane, SMALL)
        log = worker.log

    assert "CUDA driver version is insufficient" in preload["error"]
    assert "preload of comfyui failed" in log
    assert "mini" == rendered["engine"]


@pytest.mark.parametrize(
    "knobs",
    [
        pytest.param({"hangs": True}, id="slow"),
        # That a server which ignores SIGTERM is killed is proven in tests/comfyui/test_server.py.
        pytest.param({"hangs": True, "ignores_sigterm": True}, id="deaf", marks=pytest.mark.slow),
    ],
)
def test_sigterm_during_a_preload_leaves_no_process(tmp_path: Path, knobs: dict[str, Any]) -> None:
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=checkout(tmp_path, **knobs)) as worker:
        wait_until(plane, lambda: bool(pids(tmp_path)), "ComfyUI to be started")
        worker.send(signal.SIGTERM)
        code = worker.wait(60)

    assert 0 == code
    assert [] == [pid for pid in pids(tmp_path) if is_alive(pid)]


def test_a_name_that_nothing_can_be_preloaded_by_stops_the_worker(tmp_path: Path) -> None:
    environment = {"WAN_PRELOAD": "t2v-A14B,t2v"}
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=environment) as worker:
        code = worker.wait()

    assert 2 == code
    assert "WAN_PRELOAD.1: Input should be 't2v-A14B'" in worker.log
    assert plane.events_of("take_poll") == []
