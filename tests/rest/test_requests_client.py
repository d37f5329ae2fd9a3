"""The REST API as people call it: by `requests`, over a session, against a server process that renders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fakes.rest_server import serving
from wanworker.media.video.writer import decode_check

KEY = "open sesame"
SMALLEST = {"prompt": "a red star", "width": 128, "height": 64, "length": 5, "steps": 1, "fps": 8, "seed": 1}

#: The longest that an answer, and a render on a busy machine, may take.
ANSWER_S, RENDER_S = 30, 90


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one server for the module, which wants a key."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, {"WAN_CKPT_DIR": str(folder / "models"), "WAN_API_KEY": KEY}) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Return a session that carries the key."""
    with requests.Session() as opened:
        opened.trust_env = False
        opened.headers["Authorization"] = f"Bearer {KEY}"
        yield opened


def ended(session: requests.Session, address: str, job_id: str) -> dict[str, Any]:
    """Ask /status until the job has ended, and return what it says."""
    end = time.monotonic() + RENDER_S
    while time.monotonic() < end:
        status: dict[str, Any] = session.get(f"{address}/status/{job_id}", timeout=ANSWER_S).json()
        if status["status"] in {"completed", "error"}:
            return status
        time.sleep(0.1)
    raise AssertionError(f"no end within {RENDER_S} s")


@pytest.mark.slow
def test_a_video_is_queued_watched_and_fetched_in_pieces_and_its_job_removed(
    session: requests.Session, address: str, tmp_path: Path
) -> None:
    started = session.post(f"{address}/generate", json=SMALLEST, timeout=ANSWER_S)
    job_id = started.json()["job_id"]
    done = ended(session, address, job_id)
    video, pieces = tmp_path / "video.mp4", 0
    answer = session.get(f"{address}{done['download_url']}", stream=True, timeout=ANSWER_S)
    with answer, video.open("wb") as file:
        for piece in answer.iter_content(1024):
            pieces += 1
            file.write(piece)
    removed = session.delete(f"{address}/jobs/{job_id}", timeout=ANSWER_S)
    after = [session.get(f"{address}/{path}/{job_id}", timeout=ANSWER_S) for path in ("status", "download")]

    assert (200, "queued") == (started.status_code, started.json()["status"])
    assert ("completed", 100, True) == (done["status"], done["progress"], done["video_ready"])
    assert (200, "video/mp4") == (answer.status_code, answer.headers["Content-Type"])
    assert int(answer.headers["Content-Length"]) == video.stat().st_size
    assert pieces > 1
    assert b"ftyp" == video.read_bytes()[4:8]
    assert 5 == asyncio.run(decode_check(video)).frames
    assert (200, {"job_id": job_id, "deleted": True}) == (removed.status_code, removed.json())
    assert [404, 404] == [each.status_code for each in after]
    assert all({"error", "code", "hint"} <= each.json().keys() for each in after)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer open barley"}, {"Authorization": KEY}])
@pytest.mark.parametrize(("method", "path"), [("POST", "generate"), ("GET", "jobs"), ("GET", "status/nothing")])
def test_without_the_right_key_every_call_is_401(address: str, method: str, path: str, headers: dict[str, str]) -> None:
    body = SMALLEST if method == "POST" else None
    answer = requests.request(method, f"{address}/{path}", json=body, headers=headers, timeout=ANSWER_S)

    assert 401 == answer.status_code
    assert "Bearer" in answer.headers["WWW-Authenticate"]


def test_with_the_key_a_call_is_answered(session: requests.Session, address: str) -> None:
    assert 200 == session.get(f"{address}/jobs", timeout=ANSWER_S).status_code
    assert 404 == session.get(f"{address}/status/nothing", timeout=ANSWER_S).status_code
