"""Real worker processes with the real SDK: jobs taken, progress and results posted, cancelled, ended, killed."""

from __future__ import annotations

import base64
import itertools
import os
import signal
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.gate import Gate
from fakes.runpod import RunPod
from fakes.wan.home import make_home
from fakes.worker_process import WorkerProcess

MINI = {"WAN_ENGINE": "mini"}
PROMPT = "a red star moves to the right over a green field"
SMALL = {"task": "t2v-A14B", "prompt": PROMPT, "size": "128*128", "frame_num": 17, "sample_steps": 2, "seed": 7}

#: What Wan's own command line renders: nothing is loaded for it, so that a worker's whole life takes seconds.
BY_CLI = {**SMALL, "size": "832*480", "sample_steps": 4, "return_video": False}


@pytest.fixture(scope="module")
def plane() -> Iterator[RunPod]:
    with RunPod() as plane:
        yield plane


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """The gate of the shared worker's engine, open but for the tests that close it."""
    gate = Gate(tmp_path_factory.mktemp("gate") / "gate")
    gate.open()
    return gate


@pytest.fixture(scope="module")
def worker(plane: RunPod, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """One worker that the quick tests share: it is idle again after each of them."""
    environment = {**MINI, **gate.environment}
    with WorkerProcess(plane, tmp_path_factory.mktemp("volume"), environment=environment) as worker:
        yield worker


def cli(folder: Path, behaviour: str) -> tuple[Path, dict[str, str]]:
    """Return WAN_HOME, whose generate.py is the fake *behaviour*, and the settings of a worker that runs it."""
    home, models = make_home(folder, behaviour, tasks=("t2v-A14B",))
    return home, {
        "WAN_ENGINE": "wan_cli", "WAN_HOME": str(home), "WAN_CKPT_DIR": str(models), "WAN_PYTHON": sys.executable,
    }  # fmt: skip


def wait_for_a_step(plane: RunPod, job_id: str) -> None:
    """Return once the engine is known to sample."""

    def has_sampled() -> bool:
        return any(event.detail["step"] for event in plane.events_of("progress", job_id=job_id))

    plane.wait_until(has_sampled, timeout_s=60, what=f"a step of {job_id}")


def status_of(plane: RunPod, job_id: str) -> dict[str, Any]:
    """Ask whichever worker is free."""
    job = plane.wait_for_job(plane.submit({"action": "status", "request_id": job_id, "return_video": False}))
    status: dict[str, Any] = job.output["status"]
    return status


def is_gone(process_group: int) -> bool:
    """Say whether no process of the group is left, its children among them."""
    try:
        os.killpg(process_group, 0)
    except ProcessLookupError:
        return True
    return False


def is_alive(pid: int) -> bool:
    """Say whether the process still runs; an orphan that its init has not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_health_is_answered_at_once(plane: RunPod, worker: WorkerProcess) -> None:
    job = plane.wait_for_job(plane.submit({"health": True}))

    assert job.status == "COMPLETED"
    assert job.output["ok"] is True


def test_the_next_job_is_taken_when_the_last_one_has_ended(plane: RunPod, worker: WorkerProcess) -> None:
    jobs = [plane.wait_for_job(job_id) for job_id in [plane.submit({"health": True}) for _ in range(6)]]
    taken = [event.at_s for job in jobs for event in plane.events_of("take", job_id=job.job_id)]

    # The SDK by itself rests a second after each take; a machine that is busy may do so after a few of them.
    assert statistics.median(after - before for before, after in itertools.pairwise(taken)) < 1


@pytest.mark.parametrize(
    ("payload", "code", "words"),
    [
        ({"action": "dance"}, "UNKNOWN_ACTION", "Unknown action 'dance'; known: "),
        ("a text", "INVALID_REQUEST", "`input` must be a JSON object; got a string."),
        ({"action": "\ud800"}, "INVALID_REQUEST", "action has half a character (the lone surrogate U+D800)"),
        ({"action": "status", "request_id": "never-seen"}, "UNKNOWN_JOB", "never-seen"),
    ],
    ids=["unknown action", "no object", "lone surrogate", "unknown job"],
)
def test_a_job_that_cannot_run_is_failed(
    plane: RunPod, worker: WorkerProcess, payload: object, code: str, words: str
) -> None:
    job = plane.wait_for_job(plane.submit(payload))

    assert job.status == "FAILED"
    assert isinstance(job.error, str)
    assert words in job.error
    assert (job.output["code"], job.output["status"]) == (code, "ERROR")
    assert "Traceback" not in job.error


def test_a_video_comes_back_with_its_progress_before_it(plane: RunPod, worker: WorkerProcess, gate: Gate) -> None:
    plane.knobs.progress_delay_s = 0.2  # a slow road: a post that is not waited for would come after the result

    with gate.closed():
        job_id = plane.submit(SMALL)
        wait_for_a_step(plane, job_id)
    job = plane.wait_for_job(job_id, timeout_s=60)
    plane.knobs.progress_delay_s = 0.0

    assert job.status == "COMPLETED", job.error
    assert job.output["request_id"] == job_id
    kind, _, data = job.output["result"]["data"].partition(",")
    assert kind == "data:video/mp4;base64"
    assert base64.b64decode(data, validate=True)[4:8] == b"ftyp"
    percents = [shown["progress"] for shown in job.progress]
    assert percents
    assert percents == sorted(percents)
    assert {(shown["request_id"], shown["status"]) for shown in job.progress} == {(job_id, "RUNNING")}
    (done,) = plane.events_of("done", job_id=job_id)
    assert all(event.at_s < done.at_s for event in plane.events_of("progress", job_id=job_id))
    assert plane.events_of("late_progress") == []


def test_the_log_holds_neither_prompts_nor_answers_nor_keys(plane: RunPod, worker: WorkerProcess) -> None:
    bucket = {
        "accessId": "an-access-id",
        "accessSecret": "hush-hush",
        "bucketName": "b",
        "endpointUrl": "http://127.0.0.1",
    }
    plane.wait_for_job(plane.submit({**SMALL, "return_video": False}, s3_config=bucket), timeout_s=60)

    log = worker.log

    assert "generate" in log
    assert [word for word in (PROMPT, "hush-hush", "an-access-id", "base64,", plane.api_key) if word in log] == []


def test_a_cancelled_job_stops_and_the_next_one_runs(plane: RunPod, worker: WorkerProcess, gate: Gate) -> None:
    with gate.closed():
        job_id = plane.submit(SMALL)
        wait_for_a_step(plane, job_id)
        plane.cancel(job_id)
        after = status_of(plane, job_id)

    assert after["status"] == "CANCELLED"
    assert plane.events_of("late_done", job_id=job_id) == []
    # The worker hears of it a moment later and may post until then, but not once it has taken another job.
    taken_next = max(event.at_s for event in plane.events_of("take"))
    assert [event for event in plane.events_of("late_progress", job_id=job_id) if event.at_s > taken_next] == []


def test_sigterm_lets_the_job_finish_and_leaves_no_process(tmp_path: Path) -> None:
    home, settings = cli(tmp_path, "waits")
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=settings) as worker:
        job_id = plane.submit(BY_CLI)
        wait_for_a_step(plane, job_id)
        worker.send(signal.SIGTERM)
        (home / "go").touch()
        job = plane.wait_for_job(job_id, timeout_s=60)
        code = worker.wait()

        assert job.status == "COMPLETED", job.error
        assert code == 0
        assert is_gone(worker.pid)


@pytest.mark.slow
def test_sigterm_lets_a_resident_engine_finish_and_leaves_no_process(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment={**MINI, **gate.environment}) as worker:
        job_id = plane.submit({**SMALL, "return_video": False})
        wait_for_a_step(plane, job_id)
        worker.send(signal.SIGTERM)
        gate.open()
        job = plane.wait_for_job(job_id, timeout_s=60)
        code = worker.wait()

        assert job.status == "COMPLETED", job.error
        assert code == 0
        assert is_gone(worker.pid)


def test_another_worker_on_the_volume_knows_the_job_while_it_runs_and_after(tmp_path: Path) -> None:
    home, settings = cli(tmp_path, "waits")
    with (
        RunPod() as plane,
        WorkerProcess(plane, tmp_path, worker_id="worker-1", environment=settings),
        WorkerProcess(plane, tmp_path, worker_id="worker-2", environment=settings),
    ):
        job_id = plane.submit(BY_CLI)
        wait_for_a_step(plane, job_id)
        during = status_of(plane, job_id)
        (home / "go").touch()
        rendered = plane.wait_for_job(job_id, timeout_s=60)
        after = status_of(plane, job_id)

    asked = {event.worker_id for event in plane.events_of("take") if event.job_id != job_id}
    assert asked - {rendered.worker_id}
    assert during["status"] == "RUNNING"
    assert after["status"] == "COMPLETED"


@pytest.mark.slow
def test_a_job_cut_off_by_sigkill_is_interrupted_and_redelivery_renders_it(tmp_path: Path) -> None:
    home, settings = cli(tmp_path, "waits")
    with RunPod() as plane:
        with WorkerProcess(plane, tmp_path, worker_id="worker-1", environment=settings) as worker:
            job_id = plane.submit(BY_CLI)
            wait_for_a_step(plane, job_id)
            os.killpg(worker.pid, signal.SIGKILL)  # as a container dies: all at once
            worker.wait()
        (home / "go").touch()
        with WorkerProcess(plane, tmp_path, worker_id="worker-2", environment=settings):
            found = status_of(plane, job_id)
            plane.redeliver(job_id)
            job = plane.wait_for_job(job_id, timeout_s=60)

    assert (found["status"], found["code"]) == ("ERROR", "INTERRUPTED")
    assert job.status == "COMPLETED", job.error


def test_cancelling_a_job_of_the_cli_leaves_none_of_its_processes(tmp_path: Path) -> None:
    """generate.py hangs, ignores SIGTERM, and has a child in a session of its own, as torchrun has."""
    home, settings = cli(tmp_path, "hangs")
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=settings):
        job_id = plane.submit(BY_CLI)
        plane.wait_until((home / "pids").is_file, timeout_s=60, what="generate.py to hang")
        started = [int(pid) for pid in (home / "pids").read_text().split()]
        plane.cancel(job_id)
        after = status_of(plane, job_id)

    assert after["status"] == "CANCELLED"
    assert len(started) == 2
    assert [pid for pid in started if is_alive(pid)] == []


def test_a_worker_that_can_do_no_job_says_so_and_takes_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    unfit = {**MINI, "WAN_OUT_DIR": str(tmp_path / "file" / "outputs")}

    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=unfit) as worker:
        code = worker.wait()

    (event,) = plane.events_of("unhealthy")
    assert code == 1
    assert event.detail["check"] == "wanworker_fitness"
    assert "Set WAN_OUT_DIR" in event.detail["reason"]
    assert plane.events_of("take_poll") == []
