"""The client against real processes: a REST server, and a handler.py that takes the control plane's jobs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.gate import Gate
from fakes.rest_process import RestProcess
from fakes.runpod import RunPod
from fakes.worker_process import WorkerProcess
from wanworker.client import (
    Busy,
    Client,
    JobCancelled,
    JobStatus,
    PlatformFailed,
    Unauthorised,
    UnknownJob,
    VideoFields,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KEY = "a-key-of-this-test"
SHORT: VideoFields = {"size": "64x64", "frames": 5, "steps": 2, "seed": 7}


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@contextmanager
def rest_server(folder: Path, gate: Gate, **more: str) -> Iterator[tuple[RestProcess, Client]]:
    folder.mkdir()
    server = RestProcess(folder, WAN_API_KEY=KEY, WAN_ENGINE="mini", **gate.environment, **more)
    with server, Client(f"http://127.0.0.1:{server.port}", key=KEY, poll_s=0.05) as client:
        yield server, client


@contextmanager
def endpoint(folder: Path, gate: Gate) -> Iterator[tuple[RunPod, Client]]:
    folder.mkdir()
    with (
        RunPod() as plane,
        WorkerProcess(plane, folder, environment=gate.environment),
        Client(endpoint=plane.url, key=plane.api_key, poll_s=0.05) as client,
    ):
        yield plane, client


class Seen:
    """Keep what a job's progress was, and say when it runs."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.runs = threading.Event()

    def __call__(self, status: JobStatus) -> None:
        self.states.append(status.state)
        if status.state == "running" and status.step:
            self.runs.set()


def until_it_runs(client: Client, job_id: str) -> None:
    """Return once the job is at the gate's step."""

    class Runs(Exception):
        pass

    def look(status: JobStatus) -> None:
        if status.state == "running" and status.step:
            raise Runs

    with pytest.raises(Runs):
        client.wait(job_id, on_progress=look)


def facts_of(content: bytes | None) -> bytes:
    assert content is not None
    return content[4:8]


def test_a_server_renders_and_a_job_is_cancelled_in_each_state(tmp_path: Path, gate: Gate) -> None:
    seen = Seen()
    with rest_server(tmp_path / "server", gate, DOWNLOAD_ONCE="false") as (server, client):
        gate.open()
        plan = client.plan("a red star", price_per_hour=1, **SHORT)
        result = client.render("a red star", output=tmp_path / "my.mp4", on_progress=seen, **SHORT)
        with gate.closed():
            running, queued = client.submit("a red star", **SHORT), client.submit("a blue star", **SHORT)
            until_it_runs(client, running)
            assert "queued" == client.status(queued).state
            ended = [client.cancel(queued), client.cancel(running), client.cancel(result.job_id)]
        gone = []
        for job_id in (queued, running):
            with pytest.raises(UnknownJob):
                client.status(job_id)
            gone.append(job_id)
        again = client.download(result.job_id)
        listed = client.jobs().jobs
        log = server.log_path.read_text()

    assert ["cancelled", "cancelled", "completed"] == ended
    assert (result.engine, result.video["frames"], 7, None) == (
        plan.engine, plan.video["frames"], plan.seed, plan.seconds,
    )  # fmt: skip
    assert (7, 64, b"ftyp") == (result.seed, result.video["width"], facts_of(result.content))
    assert result.content == again.content
    assert [result.job_id] == [job.job_id for job in listed]
    assert f"job {result.job_id} ended: COMPLETED in " in log


def test_a_server_that_is_killed_and_started_again_keeps_the_queue(tmp_path: Path, gate: Gate) -> None:
    seen = Seen()
    outcome: dict[str, Any] = {}
    with rest_server(tmp_path / "server", gate) as (server, client), gate.closed():

        def render() -> None:
            outcome["status"] = client.wait(running, on_progress=seen)
            outcome["result"] = client.save(client.wait(queued))

        running, queued = client.submit("a red star", **SHORT), client.submit("a blue star", **SHORT)
        caller = threading.Thread(target=render)
        caller.start()
        assert seen.runs.wait(100)
        server.process.kill()
        server.process.wait()
        gate.open()
        with server:  # the same port and the same folder
            caller.join(200)

    error = outcome["status"].error
    assert isinstance(error, PlatformFailed)
    assert ("INTERRUPTED", True) == (error.code, "again" in error.hint)
    assert (7, b"ftyp") == (outcome["result"].seed, facts_of(outcome["result"].content))


def test_a_server_refuses_a_wrong_key_and_a_full_queue_is_busy(tmp_path: Path, gate: Gate) -> None:
    with rest_server(tmp_path / "server", gate, MAX_QUEUE="1") as (server, client), gate.closed():
        url = f"http://127.0.0.1:{server.port}"
        with Client(url, key="another") as stranger, pytest.raises(Unauthorised):
            stranger.render("a red star", **SHORT)
        until_it_runs(client, client.submit("a red star", **SHORT))
        client.submit("a red star", **SHORT)
        with Client(url, key=KEY, patience_s=0) as hasty, pytest.raises(Busy, match="The queue is full"):
            hasty.submit("a red star", **SHORT)
        server.stop()  # with a job at work and another in the queue

    assert "Traceback" not in server.log_path.read_text()


def test_an_endpoint_renders_and_a_job_is_cancelled_in_each_state(tmp_path: Path, gate: Gate) -> None:
    seen = Seen()
    with endpoint(tmp_path / "worker", gate) as (plane, client):
        gate.open()
        plan = client.plan("a red star", **SHORT)
        result = client.render("a red star", on_progress=seen, **SHORT)
        with gate.closed():
            running, queued = client.submit("a red star", **SHORT), client.submit("a blue star", **SHORT)
            until_it_runs(client, running)
            ended = [client.cancel(queued), client.cancel(running), client.cancel(result.job_id)]
            plane.wait_for_event("stop_sent", job_id=running)
        errors = [client.status(job_id).error for job_id in (queued, running)]
        raw = client.run(job={"input": {"action": "status", "request_id": result.job_id, "return_video": False}})

    assert ["cancelled", "cancelled", "completed"] == ended
    assert (result.engine, result.video["frames"], 7) == (plan.engine, plan.video["frames"], plan.seed)
    assert [JobCancelled, JobCancelled] == [type(error) for error in errors]
    assert (7, b"ftyp") == (result.seed, facts_of(result.content))
    assert "COMPLETED" == raw.answer["status"]["status"]


def test_a_job_outlives_a_worker_that_is_killed(tmp_path: Path, gate: Gate) -> None:
    seen = Seen()
    outcome: dict[str, Any] = {}
    folder = tmp_path / "worker"
    folder.mkdir()
    with RunPod() as plane, Client(endpoint=plane.url, key=plane.api_key, poll_s=0.05) as client, gate.closed():

        def render() -> None:
            outcome["result"] = client.render("a red star", on_progress=seen, **SHORT)

        with WorkerProcess(plane, folder, environment=gate.environment) as worker:
            caller = threading.Thread(target=render)
            caller.start()
            assert seen.runs.wait(100)
            worker.send(signal.SIGKILL)
            worker.wait()
        gate.open()
        (job_id,) = plane.jobs
        if not plane.jobs[job_id].is_over:
            plane.redeliver(job_id)
        with WorkerProcess(plane, folder, environment=gate.environment, worker_id="worker-2"):
            caller.join(200)

    assert b"ftyp" == facts_of(outcome["result"].content)
