"""`wanworker submit` as a person runs it: against RunPod's control plane on loopback, and a FastWAN server."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import command_line
from fakes.fastwan import JOB_ID, FastWan, serving
from fakes.gate import Gate
from fakes.runpod import Job, RunPod
from fakes.runpod_worker import StandInWorker
from fakes.worker_process import WorkerProcess

VIDEO = b"an mp4"
ANSWER = {
    "request_id": "x",
    "warnings": ["frame_num 4 was changed to 5."],
    "result": {"filename": "x.mp4", "data": f"data:video/mp4;base64,{base64.b64encode(VIDEO).decode()}"},
}
COMPLETED = {"status": "completed", "progress": 100, "video_ready": True}


@pytest.fixture(scope="module")
def plane() -> Iterator[RunPod]:
    with RunPod() as plane:
        yield plane


def submit(plane: RunPod, folder: Path, *argv: str) -> tuple[int, str, str]:
    env = {"RUNPOD_API_KEY": plane.api_key}
    return command_line.run(folder, "submit", *argv, "--endpoint", plane.url, env=env)


def answers(posted: dict[str, Any]) -> Any:
    return lambda worker, job: worker.done(job, posted)


def renders(worker: StandInWorker, job: Job) -> None:
    """Progress, and the result once a client has been told of it."""
    shown = {"progress": 40, "stage": "sampling", "step": 6, "steps": 15}
    worker.progress(job, shown)
    told = functools.partial(worker.plane.events_of, "told", job_id=job.job_id)
    worker.plane.wait_until(
        lambda: any(event.detail.get("output") == shown for event in told()), what="a client's look"
    )
    worker.done(job, {"output": ANSWER})


def test_a_job_is_watched_and_its_video_saved(plane: RunPod, tmp_path: Path) -> None:
    with StandInWorker(plane, renders):
        code, said, complained = submit(plane, tmp_path, "a star", "--seed", "7", "-o", "my.mp4")

    job = [*plane.jobs.values()][-1]
    assert 0 == code, complained
    expected = [
        "note           frame_num 4 was changed to 5.",
        "saved          my.mp4  (6 bytes)",
        f"job            {job.job_id}",
    ]
    assert expected == said.splitlines()
    assert " 40 %  sampling 6/15" in complained
    assert VIDEO == (tmp_path / "my.mp4").read_bytes()
    assert {"task": "t2v-A14B", "prompt": "a star", "seed": 7} == job.input


def test_the_first_frame_is_saved_and_named(plane: RunPod, tmp_path: Path) -> None:
    answer = {**ANSWER, "thumbnail": f"data:image/jpeg;base64,{base64.b64encode(b'a jpeg').decode()}"}
    with StandInWorker(plane, answers({"output": answer})):
        code, said, complained = submit(plane, tmp_path, "a star", "--thumbnail", "-o", "my.mp4", "--json")

    assert 0 == code, complained
    told = json.loads(said)
    assert (["my.mp4"], ["my.jpg"]) == (told["files"], told["thumbnails"])
    assert b"a jpeg" == (tmp_path / "my.jpg").read_bytes()
    assert "thumbnail" not in told["answer"]
    assert (2, "") == submit(plane, tmp_path, "a star", "--thumbnail", "--detach")[:2]


def test_a_picture_that_the_job_file_asks_for_is_saved_not_dropped(plane: RunPod, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"prompt": "a star", "thumbnail": true}')
    picture = base64.b64encode(b"a jpeg").decode()
    argv = ("--input", "job.json", "--json")
    with StandInWorker(plane, answers({"output": {**ANSWER, "thumbnail": picture}})):
        _, saved, _ = submit(plane, tmp_path, *argv)
    with StandInWorker(plane, answers({"output": {**ANSWER, "thumbnail": "%%%"}})):
        code, broken, _ = submit(plane, tmp_path, *argv)

    told, left_out = json.loads(saved), json.loads(broken)
    assert (["x.jpg"], b"a jpeg") == (told["thumbnails"], (tmp_path / "x.jpg").read_bytes())
    assert "thumbnail" not in told["answer"]
    assert (0, "%%%", ["x-2.mp4"]) == (code, left_out["answer"]["thumbnail"], left_out["files"])
    assert "x.jpg was left out" in left_out["notes"][0]


def test_a_video_at_ones_own_url_is_told_as_such(plane: RunPod, tmp_path: Path) -> None:
    put = {"how": "upload_url", "reason": "https://host took the file."}
    output = {"result": {"filename": "x.mp4", "path": "/volume/x.mp4"}, "delivery": put}
    with StandInWorker(plane, answers({"output": output})):
        code, said, complained = submit(plane, tmp_path, "a star", "--output-upload-url", "https://host/a")
    job = [*plane.jobs][-1]
    (tmp_path / "job.json").write_text('{"input": {"output_upload_urls": ["https://host/a"]}}')
    refused = [
        submit(plane, tmp_path, "a star", *argv, "-o", "my.mp4")
        for argv in (["--output-upload-url", "https://host/a"], ["--input", "job.json"])
    ]
    later = command_line.run(
        tmp_path, "download", job, "--endpoint", plane.url, "-o", "my.mp4", env={"RUNPOD_API_KEY": plane.api_key}
    )

    assert 0 == code, complained
    assert ["at your URL    x.mp4  (the worker put it there)", f"job            {job}"] == said.splitlines()
    assert [2, 2] == [each[0] for each in refused]
    assert all("there is nothing for -o" in each[2] for each in refused)
    assert job == [*plane.jobs][-1]
    assert 1 == later[0]
    assert "hint    The worker put it at the URL that the job named." in later[2]


def test_json_names_the_files_and_leaves_the_data_out(plane: RunPod, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("mine")
    with StandInWorker(plane, answers({"output": ANSWER})):
        code, said, complained = submit(plane, tmp_path, "a star", "--json")

    result = json.loads(said)
    assert (0, ["x-2.mp4"]) == (code, result["files"]), complained
    assert {"filename": "x.mp4"} == result["answer"]["result"]
    assert "mine" == (tmp_path / "x.mp4").read_text()


def test_any_action_can_be_submitted_and_its_answer_is_printed(plane: RunPod, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"input": {"action": "health"}}')
    with StandInWorker(plane, answers({"output": {"ok": True}})):
        code, said, _ = submit(plane, tmp_path, "--input", "job.json")

    assert (0, {"ok": True}) == (code, json.loads(said))


def test_a_failed_job_exits_with_1_and_says_why(plane: RunPod, tmp_path: Path) -> None:
    with StandInWorker(plane, answers({"error": "The GPU is full.", "output": {"hint": "Ask for less."}})):
        code, said, complained = submit(plane, tmp_path, "a star")

    assert (1, "") == (code, said)
    assert complained.endswith("failed  The GPU is full.\nhint    Ask for less.\n")


def test_a_video_that_stays_there_is_named_and_missed_where_it_was_wanted(plane: RunPod, tmp_path: Path) -> None:
    output = {"result": {"filename": "x.mp4", "path": "/runpod-volume/outputs/x.mp4"}}
    with StandInWorker(plane, answers({"output": output})):
        without, said, _ = submit(plane, tmp_path, "a star")
        wanted, _, complained = submit(plane, tmp_path, "a star", "-o", "my.mp4")

    assert (0, 1) == (without, wanted)
    assert "on the worker  /runpod-volume/outputs/x.mp4" in said
    assert "failed  my.mp4 was not written" in complained


@pytest.mark.parametrize("state", ["IN_QUEUE", "IN_PROGRESS"])
def test_ctrl_c_cancels_the_job_over_there(plane: RunPod, tmp_path: Path, state: str) -> None:
    before = set(plane.jobs)
    argv = ("submit", "a star", "--endpoint", plane.url)
    process = command_line.start(tmp_path, *argv, env={"RUNPOD_API_KEY": plane.api_key})
    plane.wait_until(lambda: set(plane.jobs) - before, what="the job")
    if state == "IN_PROGRESS":
        plane.wait_until(lambda: plane.next_job("w"), what="the job in the queue")
    process.send_signal(signal.SIGINT)
    _, complained = process.communicate(timeout=30)

    (job_id,) = set(plane.jobs) - before
    assert 130 == process.returncode, complained
    assert "CANCELLED" == plane.jobs[job_id].status
    assert complained.endswith(f"note    The job {job_id} was cancelled.\nStopped.\n")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["a star", "--endpoint", "abc"], "RUNPOD_API_KEY is not set."),
        (["a star", "--endpoint", "abc/../x"], "'abc/../x' is not the id of an endpoint."),
        (["--endpoint", "abc"], "There is nothing to submit."),
        (["a star", "--url", "localhost:8189"], "is not an http(s) address."),
        (["a star", "--url", "http://localhost", "--task", "s2v-14B"], "does not take --task"),
    ],
)
def test_what_cannot_be_sent_exits_with_2(tmp_path: Path, argv: list[str], expected: str) -> None:
    code, said, complained = command_line.run(tmp_path, "submit", *argv)

    assert (2, "") == (code, said)
    assert expected in complained


def test_a_wrong_key_is_named_by_its_variable(plane: RunPod, tmp_path: Path) -> None:
    argv = ("submit", "a star", "--endpoint", plane.url)
    code, _, complained = command_line.run(tmp_path, *argv, env={"RUNPOD_API_KEY": "stale"})

    assert 2 == code
    assert "hint    Set RUNPOD_API_KEY to the key of this server." in complained
    assert "stale" not in complained


@pytest.mark.parametrize("also", [{}, {"RUNPOD_API_KEY": "for RunPod alone"}])
def test_another_address_than_runpods_gets_the_key_of_our_own_servers(
    plane: RunPod, tmp_path: Path, also: dict[str, str]
) -> None:
    argv = ("submit", "a star", "--endpoint", plane.url)
    with StandInWorker(plane, answers({"output": ANSWER})):
        code, _, complained = command_line.run(tmp_path, *argv, env={"WAN_API_KEY": plane.api_key, **also})

    assert 0 == code, complained


async def test_a_rest_server_renders_and_its_video_is_downloaded_once(tmp_path: Path) -> None:
    processing = {"status": "processing", "progress": 40, "stage": "sampling"}
    async with serving(FastWan([processing, COMPLETED], key="secret")) as server:
        argv = ("submit", "a star", "--size", "640x384", "--url", server.url)
        code, said, complained = await command_line.run_beside(tmp_path, *argv, env={"WAN_API_KEY": "secret"})

    assert 0 == code, complained
    assert f"saved          {JOB_ID}.mp4  (6 bytes)" in said
    assert " 40 %  sampling" in complained
    assert VIDEO == (tmp_path / f"{JOB_ID}.mp4").read_bytes()
    assert {"prompt": "a star", "width": 640, "height": 384} == server.body
    assert 1 == server.asked.count(f"GET /download/{JOB_ID}")


async def test_ctrl_c_deletes_the_rest_servers_job(tmp_path: Path) -> None:
    async with serving(FastWan([{"status": "queued"}])) as server:
        process = command_line.start(tmp_path, "submit", "a star", "--url", server.url)
        give_up = time.monotonic() + 30
        while f"GET /status/{JOB_ID}" not in server.asked:
            assert time.monotonic() < give_up
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, complained = await asyncio.to_thread(process.communicate, timeout=30)

    assert 130 == process.returncode, complained
    assert f"DELETE /jobs/{JOB_ID}" == server.asked[-1]


@pytest.mark.slow
def test_a_real_worker_renders_and_stops_for_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    gate = Gate(tmp_path / "gate")
    gate.open()
    with RunPod() as plane, WorkerProcess(plane, tmp_path / "worker", environment=gate.environment):
        short = ("a red star", "--size", "64x64", "--frames", "5", "--steps", "2", "-o", "my.mp4")
        code, _, complained = submit(plane, tmp_path, *short)
        argv = ("submit", "a red star", "--endpoint", plane.url)
        with gate.closed():
            process = command_line.start(tmp_path, *argv, env={"RUNPOD_API_KEY": plane.api_key})
            plane.wait_until(lambda: len(plane.jobs) == 2 and [*plane.jobs.values()][1].progress, what="progress")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            job_id = [*plane.jobs][1]
            plane.wait_for_event("stop_sent", job_id=job_id)

    assert 0 == code, complained
    assert (tmp_path / "my.mp4").read_bytes()[4:8] == b"ftyp"
    assert (130, "CANCELLED") == (process.returncode, plane.jobs[job_id].status)
