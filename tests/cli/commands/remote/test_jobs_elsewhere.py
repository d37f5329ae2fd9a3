"""`jobs`, `status`, `cancel`, `download` and `submit --detach`, and `-` for stdin and stdout, as a person runs them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fakes import command_line
from fakes.fastwan import JOB_ID, FastWan, serving
from fakes.runpod import RunPod

COMPLETED = {"status": "completed", "progress": 100, "video_ready": True}
RUNNING = {"status": "processing", "progress": 40, "stage": "sampling", "step": 6, "steps": 15, "eta_s": 18}
LISTED = [
    {**RUNNING, "job_id": "b" * 32, "prompt": "a red\nstar " * 20, "created_at": 1767225600.0},
    {"status": "error", "error": "no", "job_id": "a" * 32, "prompt": "a ball", "created_at": 1767225500.0},
]


async def on(server: FastWan, folder: Path, *argv: str) -> tuple[int, str, str]:
    """Run `wanworker ARGV --url` of *server* with its key."""
    async with serving(server):
        return await command_line.run_beside(
            folder, *argv, "--url", server.url, env={"WAN_API_KEY": server.key} if server.key else None
        )


async def piped(server: FastWan, folder: Path, *argv: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Do the same with bytes on stdin and stdout."""

    def run() -> subprocess.CompletedProcess[bytes]:
        line = [sys.executable, "-m", "wanworker", *argv, "--url", server.url]
        env = command_line.environment(folder, None)
        return subprocess.run(line, cwd=folder, env=env, input=stdin, capture_output=True, timeout=90)

    async with serving(server):
        done = await asyncio.to_thread(run)
    return done.returncode, done.stdout, done.stderr.decode()


async def test_the_jobs_of_a_server_are_listed_newest_first(tmp_path: Path) -> None:
    code, said, complained = await on(FastWan([], listed=LISTED, key="k"), tmp_path, "jobs", "--limit", "2")

    assert 0 == code, complained
    first, second = said.splitlines()
    assert first.startswith(f"{'b' * 32}  running 40 %  20")
    assert "a red star a red star" in first
    assert first.endswith("...")
    assert second.split()[:2] == ["a" * 32, "failed"]
    assert second.endswith("a ball")


async def test_a_list_that_is_cut_says_so_and_json_has_the_answers(tmp_path: Path) -> None:
    _, said, _ = await on(FastWan([], listed=LISTED), tmp_path, "jobs", "--limit", "1")
    _, as_json, _ = await on(FastWan([], listed=LISTED), tmp_path, "jobs", "--json")
    _, none, _ = await on(FastWan([]), tmp_path, "jobs")

    assert "1 of 2 jobs are shown. --limit shows more." == said.splitlines()[-1]
    assert ["running", "failed"] == [job["state"] for job in json.loads(as_json)["jobs"]]
    assert "There are no jobs.\n" == none


async def test_the_status_of_a_job_is_told(tmp_path: Path) -> None:
    running = await on(FastWan([RUNNING]), tmp_path, "status", JOB_ID)
    failed = await on(
        FastWan([{"status": "error", "error": "No room.", "hint": "Make some."}]), tmp_path, "status", JOB_ID
    )
    waiting = await on(FastWan([{"status": "queued", "queue_position": 3}]), tmp_path, "status", JOB_ID, "--json")

    code, said, _ = running
    assert 0 == code
    assert ["job", "state", "progress"] == [line.split()[0] for line in said.splitlines()]
    assert "40 %  sampling 6/15, about 18 s left" in said
    assert (1, "failed  No room.\nhint    Make some.\n") == (failed[0], failed[2])
    assert {"job_id": JOB_ID, "state": "queued", "stage": "in queue, number 3"}.items() <= json.loads(
        waiting[1]
    ).items()


async def test_a_job_is_cancelled_and_one_that_ended_is_left(tmp_path: Path) -> None:
    server = FastWan([RUNNING])
    stopped = await on(server, tmp_path, "cancel", JOB_ID)
    kept = await on(FastWan([COMPLETED]), tmp_path, "cancel", JOB_ID)

    assert (0, f"The job {JOB_ID} is cancelled.\n") == stopped[:2]
    assert f"DELETE /jobs/{JOB_ID}" == server.asked[-1]
    assert (1, f"failed  The job {JOB_ID} had ended before: it is completed.\n") == (kept[0], kept[2])


async def test_a_video_is_downloaded_later(tmp_path: Path) -> None:
    code, said, complained = await on(FastWan([COMPLETED]), tmp_path, "download", JOB_ID, "-o", "my.mp4")
    early = await on(FastWan([RUNNING]), tmp_path, "download", JOB_ID)

    assert (0, b"an mp4") == (code, (tmp_path / "my.mp4").read_bytes()), complained
    assert "saved          my.mp4  (6 bytes)" in said
    assert 2 == early[0]
    assert f"The job {JOB_ID} has not ended: it is running." in early[2]


async def test_a_first_frame_is_downloaded_with_its_video(tmp_path: Path) -> None:
    argv = ("download", JOB_ID, "--thumbnail", "-o")
    code, said, complained = await on(FastWan([COMPLETED]), tmp_path, *argv, "my.mp4")
    piped_one = await on(FastWan([COMPLETED]), tmp_path, *argv, "-")

    assert (0, b"a jpeg") == (code, (tmp_path / "my.jpg").read_bytes()), complained
    assert "thumbnail      my.jpg" in said
    assert (2, "") == piped_one[:2]


@pytest.mark.parametrize("argv", [["jobs"], ["download", JOB_ID]], ids=lambda argv: argv[0])
async def test_a_server_that_is_not_there_is_said_soon(tmp_path: Path, argv: list[str]) -> None:
    server = FastWan([])
    async with serving(server):
        url = server.url  # where nothing listens once it has ended
    began = time.monotonic()
    code, _, complained = await command_line.run_beside(tmp_path, *argv, "--url", url)

    assert 1 == code
    assert "no connection (Connection refused)" in complained
    assert "`wanworker serve`" in complained
    assert time.monotonic() - began < 60, "a job that is followed has 300 s"


async def test_a_detached_job_is_sent_and_not_waited_for(tmp_path: Path) -> None:
    server = FastWan([])
    code, said, complained = await on(server, tmp_path, "submit", "a star", "--detach")

    assert (0, f"{JOB_ID}\n", "") == (code, said, complained)
    assert ["POST /generate"] == server.asked


WARNINGS = ["unknown field 'stpes' was ignored; did you mean 'steps'?", "length 16 was changed to 17."]


async def test_what_a_server_says_of_a_job_is_passed_on_when_it_is_sent_and_asked_for(
    tmp_path: Path,
) -> None:
    def server() -> FastWan:
        started = web.json_response({"job_id": JOB_ID, "status": "queued", "warnings": WARNINGS})
        return FastWan([{**COMPLETED, "warnings": WARNINGS}], generate=[started])

    sent = await on(server(), tmp_path, "submit", "a star", "--detach")
    as_json = await on(server(), tmp_path, "submit", "a star", "--detach", "--json")
    asked = await on(server(), tmp_path, "status", JOB_ID)
    saved = await on(server(), tmp_path, "download", JOB_ID, "-o", "a.mp4")

    assert (0, f"{JOB_ID}\n") == sent[:2]
    assert {"job_id": JOB_ID, "warnings": WARNINGS} == json.loads(as_json[1])
    for line in WARNINGS:
        assert all(line in text for text in (sent[2], asked[1], saved[1])), line


async def test_the_warnings_of_a_job_that_failed_are_told_with_its_failure(tmp_path: Path) -> None:
    failed = {"status": "error", "error": "No room.", "code": "OUT_OF_MEMORY", "warnings": WARNINGS}
    waited = await on(FastWan([failed]), tmp_path, "submit", "a star", "-o", "a.mp4")
    as_json = await on(FastWan([failed]), tmp_path, "download", JOB_ID, "--json")

    assert 1 == waited[0] == as_json[0]
    for line in WARNINGS:
        assert 1 == waited[2].count(line), waited[2]
    assert WARNINGS == json.loads(as_json[1])["warnings"]


def test_an_endpoints_job_is_asked_for_cancelled_and_named_when_it_is_gone(tmp_path: Path) -> None:
    with RunPod() as plane:
        job_id = plane.submit({"prompt": "a star"})
        target = ("--endpoint", plane.url)
        env = {"RUNPOD_API_KEY": plane.api_key}
        waiting = command_line.run(tmp_path, "status", job_id, *target, env=env)
        stopped = command_line.run(tmp_path, "cancel", job_id, *target, env=env)
        gone = command_line.run(tmp_path, "download", "gone-1", *target, env=env)

    assert (0, "queued") == (waiting[0], waiting[1].split()[3])
    assert (0, "CANCELLED") == (stopped[0], plane.jobs[job_id].status)
    assert 1 == gone[0]
    assert "failed  RunPod no longer knows the job gone-1" in gone[2]


async def test_a_video_goes_to_stdout_and_everything_else_to_stderr(tmp_path: Path) -> None:
    submitted = await piped(FastWan([COMPLETED]), tmp_path, "submit", "a star", "-o", "-")
    downloaded = await piped(FastWan([COMPLETED]), tmp_path, "download", JOB_ID, "-o", "-")

    assert [(0, b"an mp4"), (0, b"an mp4")] == [submitted[:2], downloaded[:2]], submitted[2]
    assert f"job            {JOB_ID}" in submitted[2]
    assert ["outputs"] >= [path.name for path in tmp_path.iterdir()]


async def test_the_prompt_and_the_job_come_from_stdin(tmp_path: Path) -> None:
    prompted, whole = FastWan([COMPLETED]), FastWan([COMPLETED])
    first = await piped(prompted, tmp_path, "submit", "-", "-o", "a.mp4", stdin="ein grüner Stern\n".encode())
    second = await piped(whole, tmp_path, "submit", "--input", "-", "-o", "b.mp4", stdin=b'{"prompt": "x", "seed": 1}')

    assert [0, 0] == [first[0], second[0]], first[2] + second[2]
    assert [{"prompt": "ein gr\u00fcner Stern"}, {"prompt": "x", "seed": 1}] == [prompted.body, whole.body]


@pytest.mark.parametrize(
    ("argv", "stdin", "expected"),
    [
        (["submit", "-"], b"", "stdin is empty"),
        (["submit", "-"], b"\xff", "is not UTF-8 text"),
        (["submit", "-", "--input", "-"], b"x", "cannot both come from stdin"),
        (["submit", "--input", "-"], b"[1]", "must hold a JSON object; it holds a list"),
        (["submit", "a star", "--detach", "-o", "x.mp4"], b"", "--detach does not wait"),
        (["status", "x", "--endpoint", "abc"], b"", "Give one of --endpoint and --url."),
    ],
)
async def test_what_cannot_be_is_refused(tmp_path: Path, argv: list[str], stdin: bytes, expected: str) -> None:
    code, said, complained = await piped(FastWan([]), tmp_path, *argv, stdin=stdin)

    assert (2, b"") == (code, said)
    assert expected in complained


async def test_a_video_and_json_do_not_both_go_to_stdout(tmp_path: Path) -> None:
    code, said, complained = await piped(FastWan([]), tmp_path, "submit", "a star", "-o", "-", "--json")

    assert (2, "") == (code, complained)
    assert "both write to stdout" in json.loads(said)["error"]


@pytest.mark.parametrize("argv", [["jobs", "--json", "--limit", "1000"], ["download", JOB_ID, "-o", "-"]])
async def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, argv: list[str]) -> None:
    server = FastWan([COMPLETED], video=b"v" * 3_000_000, listed=LISTED * 2000)

    def run() -> tuple[int, str]:
        line = [sys.executable, "-m", "wanworker", *argv, "--url", server.url]
        env: Any = command_line.environment(tmp_path, None)
        process = subprocess.Popen(line, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        with process.stderr:
            complained = process.stderr.read().decode()
        return process.wait(60), complained

    async with serving(server):
        code, complained = await asyncio.to_thread(run)

    assert (141, "") == (code, complained)


@pytest.mark.parametrize("argv", [["fetch", "--list"], ["--help"], ["--version"]])
def test_a_page_without_a_reader_ends_quietly_too(tmp_path: Path, argv: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, "-m", "wanworker", *argv]
    env = command_line.environment(tmp_path, None)

    done = subprocess.run(line, cwd=tmp_path, env=env, stdout=writing, stderr=subprocess.PIPE, timeout=90)
    os.close(writing)

    assert (141, b"") == (done.returncode, done.stderr)
