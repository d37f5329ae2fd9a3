"""The FastWAN dialect, against a server on loopback that answers what is written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fakes.fastwan import JOB_ID, FastWan, serving
from wanworker.cli._base import CommandFailed
from wanworker.cli.remote.http import Remote, base_url
from wanworker.cli.remote.rest_server import Server
from wanworker.cli.remote.target import Piece

COMPLETED = {"status": "completed", "progress": 100, "video_ready": True, "download_url": f"/download/{JOB_ID}"}


@asynccontextmanager
async def server_that_says(*statuses: dict[str, Any]) -> AsyncIterator[tuple[FastWan, Server]]:
    async with serving(FastWan(list(statuses))) as fake, aiohttp.ClientSession() as session:
        yield fake, Server(Remote(session, base_url(fake.url), key="", key_name="WAN_API_KEY"))


async def test_a_job_waits_runs_and_is_downloaded(tmp_path: Path) -> None:
    queued = {"status": "queued", "progress": 0, "video_ready": False, "queue_position": 2}
    running = {"status": "processing", "progress": 40, "stage": "sampling", "step": 6, "steps": 15, "eta_s": None}
    async with server_that_says(queued, running, COMPLETED) as (fake, server):
        job_id = await server.start({"prompt": "a star"})
        looks = [await server.look(job_id) for _ in range(3)]
        await server.save(looks[2].pieces[0], tmp_path / "part")

    assert {"prompt": "a star"} == fake.body
    assert {"stage": "in queue, number 2"} == looks[0].shown
    assert {"stage": "sampling", "progress": 40, "step": 6, "steps": 15} == looks[1].shown
    assert [False, False, True] == [look.is_over for look in looks]
    assert f"{JOB_ID}.mp4" == looks[2].pieces[0].name
    assert b"an mp4" == (tmp_path / "part").read_bytes()


async def test_a_minimal_server_is_understood() -> None:
    async with server_that_says({"status": "queued"}, {"status": "processing", "progress": 3}) as (_, server):
        shown = [(await server.look(JOB_ID)).shown for _ in range(2)]

    assert [{"stage": "in queue"}, {"stage": "processing", "progress": 3}] == shown


async def test_a_failed_job_says_why() -> None:
    failed = {"status": "error", "error": "The GPU is full.", "hint": "Less.", "code": "OUT_OF_MEMORY"}
    async with server_that_says(failed) as (_, server):
        with pytest.raises(CommandFailed, match=r"The GPU is full\.") as caught:
            await server.look(JOB_ID)

    assert ("Less.", "OUT_OF_MEMORY", JOB_ID) == (caught.value.hint, caught.value.code, caught.value.request_id)


async def test_a_video_that_is_gone_is_called_so() -> None:
    async with server_that_says({"status": "completed", "progress": 100, "video_ready": False}) as (_, server):
        with pytest.raises(CommandFailed, match="no longer on the server") as caught:
            await server.look(JOB_ID)

    assert "EXPIRED" == caught.value.code


async def test_only_the_named_server_is_asked_whatever_the_answer_names() -> None:
    async with server_that_says({**COMPLETED, "download_url": "http://169.254.169.254/"}) as (_, server):
        look = await server.look(JOB_ID)

    assert (Piece(f"{JOB_ID}.mp4", url=f"download/{JOB_ID}"),) == look.pieces


async def test_a_transfer_that_breaks_off_is_begun_again(tmp_path: Path) -> None:
    async with server_that_says(COMPLETED) as (fake, server):
        fake.cut_downloads = 1
        await server.save(Piece("a.mp4", url=f"download/{JOB_ID}"), tmp_path / "part")

    assert b"an mp4" == (tmp_path / "part").read_bytes()


async def test_a_transfer_that_always_breaks_off_is_a_failure(tmp_path: Path) -> None:
    async with server_that_says(COMPLETED) as (fake, server):
        fake.cut_downloads = 3
        with pytest.raises(CommandFailed, match="could not be downloaded in 3 attempts"):
            await server.save(Piece("a.mp4", url=f"download/{JOB_ID}"), tmp_path / "part")


async def test_cancelling_deletes() -> None:
    async with server_that_says(COMPLETED) as (fake, server):
        await server.cancel(JOB_ID)

    assert [f"DELETE /jobs/{JOB_ID}"] == fake.asked
