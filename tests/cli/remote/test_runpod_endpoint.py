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
from wanworker.cli._base import EXIT_USAGE, CommandFailed
from wanworker.cli.remote.http import Remote, base_url
from wanworker.cli.remote.runpod_endpoint import Endpoint
from wanworker.cli.remote.target import Piece
from wanworker.errors import InputRefused

NO_HINT = "The endpoint's log has more, under the job's id."


@pytest.fixture(scope="module")
def plane() -> Iterator[RunPod]:
    with RunPod() as plane:
        yield plane


@pytest.fixture
async def endpoint(plane: RunPod) -> AsyncIterator[Endpoint]:
    async with aiohttp.ClientSession() as session:
        yield Endpoint(Remote(session, base_url(plane.url), key=plane.api_key, key_name="RUNPOD_API_KEY"))


def take(plane: RunPod) -> Any:
    job = plane.next_job("w")
    assert job is not None
    return job


def finish(plane: RunPod, job: Any, posted: dict[str, Any]) -> None:
    plane.take_result(job, "w", json.dumps(posted).encode())


async def test_a_job_waits_runs_and_ends(plane: RunPod, endpoint: Endpoint) -> None:
    job_id = await endpoint.start({"input": {"prompt": "a star"}})
    waiting = await endpoint.look(job_id)
    job = take(plane)
    started = await endpoint.look(job_id)
    plane.take_progress(job, "w", {"progress": 40.0, "stage": "sampling", "step": 6, "steps": 15, "eta_s": None})
    running = await endpoint.look(job_id)
    finish(plane, job, {"output": {"result": {"filename": "a.mp4", "data": "data:video/mp4;base64,bXA0"}}})
    over = await endpoint.look(job_id)

    assert {"prompt": "a star"} == job.input
    assert [{"stage": "in queue"}, {"stage": "running"}] == [waiting.shown, started.shown]
    assert {"progress": 40.0, "stage": "sampling", "step": 6, "steps": 15} == running.shown
    assert [False, False, False, True] == [look.is_over for look in (waiting, started, running, over)]
    assert (Piece("a.mp4", data="data:video/mp4;base64,bXA0"),) == over.pieces


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"result": {"filename": "a.mp4", "url": "https://b/a"}}, (Piece("a.mp4", url="https://b/a"),)),
        ({"result": {"filename": "a.mp4", "path": "/v/a.mp4"}}, (Piece("a.mp4", path="/v/a.mp4"),)),
        (
            {
                "status": "completed",
                "outputs": [{"filename": "a.mp4", "data": "bXA0"}, {"filename": "b.png", "url": "u"}],
            },
            (Piece("a.mp4", data="bXA0"), Piece("b.png", url="u")),
        ),
        ({"ok": True}, ()),
        ({"result": None, "outputs": ["/v/a.mp4"]}, ()),
        ("a text", ()),
        (False, ()),
    ],
)
async def test_the_files_of_any_answer_are_found(
    plane: RunPod, endpoint: Endpoint, output: Any, expected: tuple[Piece, ...]
) -> None:
    job_id = await endpoint.start({"input": {}})
    finish(plane, take(plane), {"output": output})

    look = await endpoint.look(job_id)

    assert (True, output, expected) == (look.is_over, look.answer, look.pieces)


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

    with pytest.raises(CommandFailed) as caught:
        await endpoint.look(job_id)

    assert expected == (str(caught.value), caught.value.hint, caught.value.code)
    assert job_id == caught.value.request_id


@pytest.mark.parametrize(
    ("status", "expected"), [("CANCELLED", "The job was cancelled."), ("TIMED_OUT", "at its execution timeout")]
)
async def test_a_job_that_runpod_ended_says_how(plane: RunPod, endpoint: Endpoint, status: str, expected: str) -> None:
    job_id = await endpoint.start({"input": {}})
    plane.cancel(job_id, status=status)

    with pytest.raises(CommandFailed, match=expected) as caught:
        await endpoint.look(job_id)

    assert status == caught.value.code


async def test_an_answer_that_runpod_lost_is_called_lost(plane: RunPod, endpoint: Endpoint) -> None:
    job_id = await endpoint.start({"input": {}})
    plane.lose_result(take(plane), "w", 30_000_000)

    with pytest.raises(CommandFailed, match="RunPod lost the answer") as caught:
        await endpoint.look(job_id)

    assert "LOST" == caught.value.code
    assert f'{{"action": "status", "request_id": "{job_id}"}}' in caught.value.hint


async def test_a_job_that_runpod_has_forgotten_is_called_expired(endpoint: Endpoint) -> None:
    with pytest.raises(
        CommandFailed, match="no longer knows the job gone-1: results are kept for 30 minutes"
    ) as caught:
        await endpoint.look("gone-1")

    assert "EXPIRED" == caught.value.code


async def test_cancelling_cancels_and_is_no_error_for_a_job_that_is_gone(plane: RunPod, endpoint: Endpoint) -> None:
    job_id = await endpoint.start({"input": {}})

    await endpoint.cancel(job_id)
    await endpoint.cancel("gone-1")

    assert "CANCELLED" == plane.jobs[job_id].status


async def test_a_job_over_runpods_limit_is_refused_before_it_is_sent(plane: RunPod, endpoint: Endpoint) -> None:
    before = len(plane.jobs)

    with pytest.raises(CommandFailed, match=r"The job has 10\.0 MB; RunPod takes at most 10 MB") as caught:
        await endpoint.start({"input": {"reference_image_base64": "x" * 10_000_000}})

    assert EXIT_USAGE == caught.value.exit_code
    assert before == len(plane.jobs)


async def test_base64_and_data_uris_are_decoded(endpoint: Endpoint, tmp_path: Path) -> None:
    text = base64.b64encode(b"an mp4").decode()

    await endpoint.save(Piece("a", data=text), tmp_path / "bare")
    await endpoint.save(Piece("a", data=f"data:video/mp4;base64,{text}"), tmp_path / "uri")

    assert [b"an mp4", b"an mp4"] == [(tmp_path / name).read_bytes() for name in ("bare", "uri")]


async def test_a_link_is_followed_without_the_key_and_not_to_private_places(
    plane: RunPod, endpoint: Endpoint, tmp_path: Path
) -> None:
    async with file_server() as server:
        server.files["a.mp4"] = b"an mp4"
        link = server.url("/files/a.mp4?signature=x")
        with pytest.raises(InputRefused, match="private or reserved address"):
            await endpoint.save(Piece("a.mp4", url=link), tmp_path / "refused")
        async with aiohttp.ClientSession() as session:
            remote = Remote(session, base_url(plane.url), key=plane.api_key, key_name="RUNPOD_API_KEY")
            await Endpoint(remote, allow_hosts=["127.0.0.1"]).save(Piece("a.mp4", url=link), tmp_path / "allowed")

        assert [None] == [request.headers.get("Authorization") for request in server.requests]
    assert b"an mp4" == (tmp_path / "allowed").read_bytes()
    assert not (tmp_path / "refused").exists()
