"""Where the runpod engine has its place: behind this machine's engines, only where it is set up, in no endpoint."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.engine import write_clip
from fakes.runpod import RunPod
from fakes.runpod_worker import StandInWorker
from fakes.worker_process import HANDLER, WorkerProcess, worker_environment
from wanworker.app import Worker
from wanworker.engines import ENGINES
from wanworker.engines.base import Readiness
from wanworker.engines.choice import Choice, choose
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.settings import BadSettings, Settings, WeightedEndpoint, load_settings
from wanworker.spec import RenderSpec, Size

ENDPOINTS = (WeightedEndpoint("abc123"),)


def chosen(ready: set[str], size: Size, *, asked: str = "auto", mini_allowed: bool = True) -> Choice:
    spec = RenderSpec("ti2v-5B", "a", size, True, 24.0, False, 1, frames=5)

    def readiness(name: str, _task: str) -> Readiness:
        return Readiness(missing=() if name in ready else ("nothing is here",))

    return choose(spec, ENGINES, readiness, asked=asked, searched="models", mini_allowed=mini_allowed)


def test_auto_takes_an_engine_of_this_machine_where_it_can_render_the_size() -> None:
    assert "diffusers" == chosen({"diffusers", "runpod", "mini"}, Size(1280, 720)).engine
    assert "runpod" == chosen({"diffusers", "runpod", "mini"}, Size(1280, 720), asked="runpod").engine
    assert "runpod" == chosen({"wan_cli", "runpod", "mini"}, Size(64, 64)).engine


def test_auto_prefers_an_endpoint_to_the_miniature() -> None:
    assert "runpod" == chosen({"runpod", "mini"}, Size(64, 64)).engine
    with pytest.raises(ModelNotFound):
        chosen(set(), Size(64, 64), mini_allowed=False)


def test_without_endpoints_there_is_no_such_engine(settings: Settings) -> None:
    worker = Worker.from_settings(settings)
    assert "runpod" not in {row.name for row in worker.registry.rows}
    assert {"here": 1} == worker.registry.slots
    with pytest.raises(InvalidRequest, match="runpod is not set up") as refused:
        worker.registry.row("runpod")
    assert "WAN_RUNPOD_ENDPOINTS" in refused.value.hint


def test_it_takes_as_many_jobs_as_it_is_told_and_needs_a_key(make_settings: Callable[..., Settings]) -> None:
    worker = Worker.from_settings(make_settings(runpod_endpoints=ENDPOINTS, runpod_concurrency=5))
    assert {"here": 1, "runpod": 5} == worker.registry.slots
    assert ("RUNPOD_API_KEY is not set",) == worker.registry.readiness("runpod", "t2v-A14B").missing
    keyed = Worker.from_settings(make_settings(runpod_endpoints=ENDPOINTS, runpod_api_key="a-key-of-a-test"))
    assert keyed.registry.readiness("runpod", "t2v-A14B").is_ready


def test_a_worker_of_an_endpoint_sends_no_job_on(tmp_path: Path) -> None:
    with RunPod() as plane:
        mine = {"WAN_RUNPOD_ENDPOINTS": plane.url, "RUNPOD_API_KEY": plane.api_key, "WAN_ENGINE": "runpod"}
        with WorkerProcess(plane, tmp_path, environment=mine):
            job = plane.wait_for_job(plane.submit({"action": "generate", "task": "t2v-A14B", "prompt": "a"}))
    assert 1 == len(plane.jobs)
    assert "runpod" in job.error


def test_a_local_run_of_the_handler_sends_its_job_to_an_endpoint(tmp_path: Path) -> None:
    data = base64.b64encode(write_clip(tmp_path / "clip.mp4").read_bytes()).decode()
    answer = {"output": {"result": {"filename": "a.mp4", "data": data}, "engine": "diffusers", "model": "wan"}}
    fields = {"task": "t2v-A14B", "prompt": "a", "seed": 5, "request_id": "mine", "return_video": False}
    argv = [sys.executable, str(HANDLER), "--test_input", json.dumps({"input": fields})]
    with RunPod() as plane, StandInWorker(plane, lambda worker, job: worker.done(job, answer)):
        mine = {"WAN_RUNPOD_ENDPOINTS": plane.url, "RUNPOD_API_KEY": plane.api_key, "WAN_ENGINE": "runpod"}
        environment = worker_environment(tmp_path, mine)
        ended = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 0 == ended.returncode, ended.stdout[-2000:]
    assert [5] == [job.input["seed"] for job in plane.jobs.values()]
    assert (tmp_path / "clip.mp4").read_bytes() == (tmp_path / "outputs" / "mine.mp4").read_bytes()


@pytest.mark.parametrize("text", ["a b", "abc:", "abc:0", "https://host", ":2", "abc:-1", "abc : 2", "abc,abc:3"])
def test_an_endpoint_that_is_none_ends_the_start(text: str) -> None:
    with pytest.raises(BadSettings, match="WAN_RUNPOD_ENDPOINTS"):
        load_settings({"WAN_RUNPOD_ENDPOINTS": text})


def test_endpoints_are_read_with_their_weights() -> None:
    read = load_settings({"WAN_RUNPOD_ENDPOINTS": " abc:2, def ,,http://127.0.0.1:9/v2/x:0.5,"}).runpod_endpoints
    assert (("abc", 2.0), ("def", 1.0), ("http://127.0.0.1:9/v2/x", 0.5)) == read
