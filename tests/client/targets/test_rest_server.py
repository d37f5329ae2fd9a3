"""The FastWAN dialect, against a server on loopback that answers what is written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fakes.fastwan import JOB_ID, FastWan, serving
from wanworker.client import JobCancelled, JobFailed, OutputFile, ResultLost, UnknownJob
from wanworker.client.targets.http import Edges, Remote, base_url
from wanworker.client.targets.rest_server import Server

COMPLETED = {"status": "completed", "progress": 100, "video_ready": True, "download_url": f"/download/{JOB_ID}"}


@asynccontextmanager
async def server_that_says(*statuses: dict[str, Any]) -> AsyncIterator[tuple[FastWan, Server]]:
    async with serving(FastWan(list(statuses))) as fake, aiohttp.ClientSession() as session:
        yield fake, Server(Remote(session, base_url(fake.url), key="", edges=Edges(at_once, lambda: 0.0)))


async def at_once(_: float) -> None:
    pass


async def test_a_job_waits_runs_and_is_downloaded(tmp_path: Path) -> None:
    queued = {"status": "queued", "progress": 0, "video_ready": False, "queue_position": 2}
    running = {"status": "processing", "progress": 40, "stage": "sampling", "step": 6, "steps": 15, "eta_s": None}
    async with server_that_says(queued, running, COMPLETED) as (fake, server):
        job_id = await server.start({"prompt": "a star"})
        seen = [await server.status(job_id) for _ in range(3)]
        await server.save(seen[2].files[0], tmp_path / "part")

    assert {"prompt": "a star"} == fake.body
    assert ["queued", "running", "completed"] == [now.state for now in seen]
    assert ("in queue, number 2", 2) == (seen[0].stage, seen[0].queue_position)
    assert ("sampling", 40, 6, 15, None) == (
        seen[1].stage, seen[1].progress, seen[1].step, seen[1].steps, seen[1].eta_s,
    )  # fmt: skip
    assert [False, False, True] == [now.is_over for now in seen]
    assert f"{JOB_ID}.mp4" == seen[2].files[0].name
    assert b"an mp4" == (tmp_path / "part").read_bytes()


async def test_a_minimal_server_is_understood() -> None:
    async with server_that_says({"status": "queued"}, {"status": "processing", "progress": 3}) as (_, server):
        seen = [await server.status(JOB_ID) for _ in range(2)]

    assert [("in queue", 0), ("processing", 3)] == [(now.stage, now.progress) for now in seen]


async def test_a_failed_job_says_why() -> None:
    failed = {"status": "error", "error": "The GPU is full.", "hint": "Less.", "code": "OUT_OF_MEMORY"}
    async with server_that_says(failed) as (_, server):
        now = await server.status(JOB_ID)

    assert ("failed", True) == (now.state, now.is_over)
    assert isinstance(now.error, JobFailed)
    assert ("The GPU is full.", "Less.", "OUT_OF_MEMORY", JOB_ID) == (
        str(now.error), now.error.hint, now.error.code, now.error.job_id,
    )  # fmt: skip


async def test_a_cancelled_job_is_no_failed_one() -> None:
    cancelled = {"status": "error", "error": "The job was cancelled.", "code": "CANCELLED"}
    async with server_that_says(cancelled) as (_, server):
        now = await server.status(JOB_ID)

    assert "cancelled" == now.state
    assert isinstance(now.error, JobCancelled)


async def test_a_video_that_is_gone_is_called_so() -> None:
    async with server_that_says({"status": "completed", "progress": 100, "video_ready": False}) as (_, server):
        now = await server.status(JOB_ID)

    assert ("completed", ()) == (now.state, now.files)
    assert isinstance(now.error, ResultLost)
    assert ("EXPIRED", True) == (now.error.code, "no longer on the server" in str(now.error))


async def test_of_several_outputs_each_one_that_was_made_is_fetched_by_its_number(tmp_path: Path) -> None:
    results = [
        {"output": 1, "video_ready": False, "code": "ENGINE_FAILED"},
        {"output": 2, "video_ready": True, "video": {"size_bytes": 6}},
        {"output": 3, "video_ready": True},
    ]
    async with server_that_says({**COMPLETED, "results": results}) as (fake, server):
        now = await server.status(JOB_ID)
        for file in now.files:
            await server.save(file, tmp_path / file.name)

    assert [f"{JOB_ID}.2.mp4", f"{JOB_ID}.3.mp4"] == [file.name for file in now.files]
    assert [f"GET /download/{JOB_ID}?output={number}" for number in (2, 3)] == fake.asked[1:]
    assert now.error is None


async def test_outputs_that_are_all_gone_are_called_so() -> None:
    gone = {**COMPLETED, "results": [{"output": number, "video_ready": False} for number in (1, 2)]}
    async with server_that_says(gone) as (_, server):
        now = await server.status(JOB_ID)

    assert ((), "EXPIRED") == (now.files, now.error and now.error.code)


async def test_only_the_named_server_is_asked_whatever_the_answer_names() -> None:
    async with server_that_says({**COMPLETED, "download_url": "http://169.254.169.254/"}) as (_, server):
        now = await server.status(JOB_ID)

    assert (OutputFile(f"{JOB_ID}.mp4", url=f"download/{JOB_ID}"),) == now.files


async def test_a_transfer_that_breaks_off_is_begun_again(tmp_path: Path) -> None:
    async with server_that_says(COMPLETED) as (fake, server):
        fake.cut_downloads = 3
        await server.save(OutputFile("a.mp4", url=f"download/{JOB_ID}"), tmp_path / "part")

    assert b"an mp4" == (tmp_path / "part").read_bytes()


async def test_a_video_of_another_size_than_the_server_named_is_a_failure(tmp_path: Path) -> None:
    async with server_that_says({**COMPLETED, "video": {"size_bytes": 7}}) as (_, server):
        now = await server.status(JOB_ID)
        with pytest.raises(ResultLost, match="has 6 bytes here and 7 on the server"):
            await server.save(now.files[0], tmp_path / "part")


async def test_cancelling_deletes_what_has_not_ended() -> None:
    async with server_that_says({"status": "queued"}) as (fake, server):
        assert "cancelled" == await server.cancel(JOB_ID)

    assert f"DELETE /jobs/{JOB_ID}" == fake.asked[-1]


async def test_cancelling_a_finished_job_keeps_its_video() -> None:
    async with server_that_says(COMPLETED) as (fake, server):
        assert "completed" == await server.cancel(JOB_ID)

    assert [f"GET /status/{JOB_ID}"] == fake.asked


async def test_a_job_that_the_server_does_not_know_is_told_as_such() -> None:
    async with serving(FastWan([])) as fake, aiohttp.ClientSession() as session:
        server = Server(Remote(session, base_url(f"{fake.url}/elsewhere"), key=""))
        with pytest.raises(UnknownJob) as caught:
            await server.status("../gone")

    assert ("UNKNOWN_JOB", "../gone") == (caught.value.code, caught.value.job_id)
