"""RunPod's dialect, against the control plane on loopback."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fakes.files import file_server
from fakes.runpod import RunPod
from wanworker.client import (
    ClientError,
    JobCancelled,
    JobFailed,
    OutputFile,
    PlatformFailed,
    Refused,
    ResultLost,
    UnknownJob,
    Unreachable,
)
from wanworker.client.targets.http import Edges, Remote, base_url
from wanworker.client.targets.runpod_endpoint import Endpoint

NO_HINT = "The endpoint's log has more, under the job's id."


@pytest.fixture(scope="module")
def plane() -> Iterator[RunPod]:
    with RunPod() as plane:
        yield plane


@pytest.fixture
async def endpoint(plane: RunPod) -> AsyncIterator[Endpoint]:
    async with aiohttp.ClientSession() as session:
        yield Endpoint(Remote(session, base_url(plane.url), key=plane.api_key))


def take(plane: RunPod) -> Any:
    job = plane.next_job("w")
    assert job is not None
    return job


def finish(plane: RunPod, job: Any, posted: dict[str, Any]) -> None:
    plane.take_result(job, "w", json.dumps(posted).encode())


async def test_a_job_waits_runs_and_ends(plane: RunPod, endpoint: Endpoint) -> None:
    job_id = await endpoint.start({"input": {"prompt": "a star"}})
    waiting = await endpoint.status(job_id)
    job = take(plane)
    started = await endpoint.status(job_id)
    plane.take_progress(job, "w", {"progress": 40.0, "stage": "sampling", "step": 6, "steps": 15, "eta_s": None})
    running = await endpoint.status(job_id)
    finish(plane, job, {"output": {"result": {"filename": "a.mp4", "data": "data:video/mp4;base64,bXA0"}}})
    over = await endpoint.status(job_id)

    assert {"prompt": "a star"} == job.input
    assert [("queued", "in queue"), ("running", "running")] == [(now.state, now.stage) for now in (waiting, started)]
    assert ("sampling", 40.0, 6, 15) == (running.stage, running.progress, running.step, running.steps)
    assert [False, False, False, True] == [now.is_over for now in (waiting, started, running, over)]
    assert (OutputFile("a.mp4", data="data:video/mp4;base64,bXA0"),) == over.files


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"result": {"filename": "a.mp4", "url": "https://b/a"}}, (OutputFile("a.mp4", url="https://b/a"),)),
        ({"result": {"filename": "a.mp4", "path": "/v/a.mp4"}}, (OutputFile("a.mp4", path="/v/a.mp4"),)),
        (
            {
                "status": "completed",
                "outputs": [{"filename": "a.mp4", "data": "bXA0"}, {"filename": "b.png", "url": "u"}],
            },
            (OutputFile("a.mp4", data="bXA0"), OutputFile("b.png", url="u")),
        ),
        ({"ok": True}, ()),
        ({"result": None, "outputs": ["/v/a.mp4"]}, ()),
        ("a text", ()),
        (False, ()),
    ],
)
async def test_the_files_of_any_answer_are_found(
    plane: RunPod, endpoint: Endpoint, output: Any, expected: tuple[OutputFile, ...]
) -> None:
    job_id = await endpoint.start({"input": {}})
    finish(plane, take(plane), {"output": output})

    now = await endpoint.status(job_id)

    assert (True, output, expected) == (now.is_over, now.answer, now.files)


@pytest.mark.parametrize(
    ("posted", "expected"),
    [
        ({"error": "The GPU is full.", "output": {"code": "OUT_OF_MEMORY", "hint": "Less."}},
         ("The GPU is full.", "Less.", "OUT_OF_MEMORY")),
        ({"error": "The GPU is full."}, ("The GPU is full.", NO_HINT, "FAILED")),
        ({"error": json.dumps({"error_type": "<class 'ValueError'>", "error_message": "no", "error_traceback": "x"})},
         ("no", NO_HINT, "FAILED")),
        ({"error": "{not json"}, ("{not json", NO_HINT, "FAILED")),
    ],
)  # fmt: skip
async def test_a_failure_is_told_from_what_runpod_left_of_it(
    plane: RunPod, endpoint: Endpoint, posted: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    job_id = await endpoint.start({"input": {}})
    finish(plane, take(plane), posted)

    now = await endpoint.status(job_id)

    assert isinstance(now.error, JobFailed)
    assert (*expected, job_id) == (str(now.error), now.error.hint, now.error.code, now.error.job_id)
    assert "failed" == now.state


async def test_a_completed_job_whose_answer_is_an_error_failed(plane: RunPod, endpoint: Endpoint) -> None:
    job_id = await endpoint.start({"input": {}})
    output = {"status": "ERROR", "error": "The GPU is full.", "code": "OUT_OF_MEMORY"}
    job = take(plane)
    job.status, job.output, job.has_output = "COMPLETED", output, True

    now = await endpoint.status(job_id)

    assert isinstance(now.error, JobFailed)
    assert ("failed", "OUT_OF_MEMORY", "The GPU is full.") == (now.state, now.error.code, str(now.error))


@pytest.mark.parametrize(
    "text", ['{"error": "internal"}', "<html>maintenance</html>", "null", '{"status": null}', "[]"]
)
async def test_an_answer_that_names_no_state_is_none(plane: RunPod, text: str) -> None:
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    async with aiohttp.ClientSession() as session:
        edges = Edges(sleep=sleep, clock=lambda: sum(paused), patience_s=5.0)
        endpoint = Endpoint(Remote(session, base_url(plane.url), key=plane.api_key, edges=edges))
        job_id = await endpoint.start({"input": {}})
        plane.knobs.status_faults.append(text)
        assert "queued" == (await endpoint.status(job_id)).state
        plane.knobs.status_faults.extend([text] * 5)
        with pytest.raises(Unreachable, match="no usable answer"):
            await endpoint.status(job_id)
    plane.knobs.status_faults.clear()
    take(plane)


async def test_progress_that_is_no_finite_number_is_left_out(plane: RunPod, endpoint: Endpoint) -> None:
    job_id = await endpoint.start({"input": {}})
    take(plane).progress.append({"progress": float("nan"), "step": float("inf"), "eta_s": float("-inf"), "steps": 4})

    now = await endpoint.status(job_id)

    assert (0.0, None, 4, None) == (now.progress, now.step, now.steps, now.eta_s)


@pytest.mark.parametrize(
    ("status", "state", "kind", "expected"),
    [
        ("CANCELLED", "cancelled", JobCancelled, "The job was cancelled."),
        ("TIMED_OUT", "failed", PlatformFailed, "RunPod stopped the job at its execution timeout."),
    ],
)
async def test_a_job_that_runpod_ended_says_how(
    plane: RunPod, endpoint: Endpoint, status: str, state: str, kind: type[ClientError], expected: str
) -> None:
    job_id = await endpoint.start({"input": {}})
    plane.cancel(job_id, status=status)

    now = await endpoint.status(job_id)

    assert isinstance(now.error, kind)
    assert (state, status, expected) == (now.state, now.error.code, str(now.error))


@pytest.mark.parametrize(
    ("posted", "code"),
    [({"error": "job timed out after 1 retries"}, "WORKER_LOST"), ({"error": {}, "output": None}, "FAILED")],
)
async def test_a_worker_that_was_lost_is_no_failure_of_the_job(
    plane: RunPod, endpoint: Endpoint, posted: dict[str, Any], code: str
) -> None:
    job_id = await endpoint.start({"input": {}})
    job = take(plane)
    finish(plane, job, posted)
    job.status = "FAILED"

    now = await endpoint.status(job_id)

    assert isinstance(now.error, PlatformFailed)
    assert ("failed", code) == (now.state, now.error.code)


async def test_an_answer_that_runpod_lost_is_called_lost(plane: RunPod, endpoint: Endpoint) -> None:
    job_id = await endpoint.start({"input": {}})
    plane.lose_result(take(plane), "w", 30_000_000)

    now = await endpoint.status(job_id)

    assert isinstance(now.error, ResultLost)
    assert ("completed", "LOST") == (now.state, now.error.code)
    assert "RunPod lost the answer" in str(now.error)
    assert f'{{"action": "status", "request_id": "{job_id}"}}' in now.error.hint


async def test_a_job_that_runpod_has_forgotten_is_called_expired(endpoint: Endpoint) -> None:
    with pytest.raises(UnknownJob, match="no longer knows the job gone-1: results are kept for 30 minutes") as caught:
        await endpoint.status("gone-1")

    assert "EXPIRED" == caught.value.code


async def test_cancelling_says_how_the_job_had_ended_before(plane: RunPod, endpoint: Endpoint) -> None:
    waiting, done = [await endpoint.start({"input": {}}) for _ in range(2)]
    assert "cancelled" == await endpoint.cancel(waiting)
    finish(plane, take(plane), {"output": {"ok": True}})

    assert ["cancelled", "completed"] == [await endpoint.cancel(waiting), await endpoint.cancel(done)]
    assert ["CANCELLED", "COMPLETED"] == [plane.jobs[job_id].status for job_id in (waiting, done)]
    with pytest.raises(UnknownJob):
        await endpoint.cancel("gone-1")


async def test_runpod_lists_no_jobs(endpoint: Endpoint) -> None:
    with pytest.raises(Refused, match="lists no jobs"):
        await endpoint.page(10, None)


async def test_a_job_over_runpods_limit_is_refused_before_it_is_sent(plane: RunPod, endpoint: Endpoint) -> None:
    before = len(plane.jobs)

    with pytest.raises(Refused, match=r"The job has 10\.0 MB; RunPod takes at most 10 MB"):
        await endpoint.start({"input": {"reference_image_base64": "x" * 10_000_000}})

    assert before == len(plane.jobs)


async def test_base64_and_data_uris_are_decoded(endpoint: Endpoint, tmp_path: Path) -> None:
    text = base64.b64encode(b"an mp4").decode()

    await endpoint.save(OutputFile("a", data=text), tmp_path / "bare")
    await endpoint.save(OutputFile("a", data=f"data:video/mp4;base64,{text}"), tmp_path / "uri")

    assert [b"an mp4", b"an mp4"] == [(tmp_path / name).read_bytes() for name in ("bare", "uri")]


async def test_broken_base64_is_a_lost_result(endpoint: Endpoint, tmp_path: Path) -> None:
    with pytest.raises(ResultLost, match=r"base64 text of a\.mp4 is broken"):
        await endpoint.save(OutputFile("a.mp4", data="data:video/mp4;base64,%%%"), tmp_path / "part")


async def test_a_link_is_followed_without_the_key_and_not_to_private_places(tmp_path: Path) -> None:
    async with file_server() as server, aiohttp.ClientSession() as session:
        server.files["a.mp4"] = b"an mp4"
        link = server.url("/files/a.mp4?signature=x")
        remote = Remote(session, base_url("http://runpod.test/v2/abc"), key="the-secret-key")
        with pytest.raises(Refused, match="private or reserved address") as caught:
            await Endpoint(remote).save(OutputFile("a.mp4", url=link), tmp_path / "refused")
        await Endpoint(remote, allow_hosts=["127.0.0.1"]).save(OutputFile("a.mp4", url=link), tmp_path / "allowed")

        assert [None] == [request.headers.get("Authorization") for request in server.requests]
    assert b"an mp4" == (tmp_path / "allowed").read_bytes()
    assert not (tmp_path / "refused").exists()
    assert "signature" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
async def test_no_spelling_of_a_private_address_is_connected_to(tmp_path: Path, host: str) -> None:
    async with file_server() as server, aiohttp.ClientSession() as session:
        server.files["a.mp4"] = b"an mp4"
        link = server.url("/files/a.mp4").replace("127.0.0.1", host)
        remote = Remote(session, base_url("http://runpod.test/v2/abc"), key="")
        with pytest.raises((Refused, ResultLost)):
            await Endpoint(remote).save(OutputFile("a.mp4", url=link), tmp_path / "part")

        assert [] == server.requests
