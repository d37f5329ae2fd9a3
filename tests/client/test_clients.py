"""Both clients as a program uses them, against a FastWAN server and RunPod's control plane on loopback."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fakes.fastwan import JOB_ID, FastWan, serving
from fakes.runpod import Job, RunPod
from fakes.runpod_worker import StandInWorker
from wanworker.client import (
    AsyncClient,
    Busy,
    Client,
    JobCancelled,
    JobFailed,
    JobStatus,
    Plan,
    Refused,
    TargetFailed,
    Unauthorised,
    UnknownJob,
    WaitedTooLong,
)

SOURCE = Path(__file__).resolve().parents[2] / "src"
ANSWER = {
    "seed": 7,
    "warnings": ["frame_num 4 was changed to 5."],
    "engine": "mini",
    "video": {"width": 64, "height": 64},
    "result": {"filename": "x.mp4", "data": "data:video/mp4;base64,YW4gbXA0"},
}
COMPLETED = {"status": "completed", "progress": 100, "video_ready": True, "seed": 7, "video": {"size_bytes": 6}}
PROCESSING = {"status": "processing", "progress": 40, "stage": "sampling"}


@pytest.fixture(scope="module")
def plane() -> Iterator[RunPod]:
    with RunPod() as plane:
        yield plane


def endpoint(plane: RunPod, **more: Any) -> Client:
    return Client(endpoint=plane.url, key=plane.api_key, poll_s=0.01, **more)


def finishes(worker: StandInWorker, job: Job) -> None:
    worker.done(job, {"output": ANSWER})


def leaves(worker: StandInWorker, job: Job) -> None:
    worker.progress(job, {"stage": "sampling", "progress": 40})


def test_an_endpoint_renders_a_picture_to_a_file(plane: RunPod, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    with StandInWorker(plane, finishes), endpoint(plane) as client:
        result = client.render("a star", image=tmp_path / "a.png", seed=7, output=tmp_path / "my.mp4")

    assert {"task": "i2v-A14B", "prompt": "a star", "seed": 7, "reference_image_base64": "cGljdHVyZQ=="} == [
        *plane.jobs.values()
    ][-1].input
    assert (tmp_path / "my.mp4", b"an mp4", 7, "mini", {"width": 64, "height": 64}) == (
        result.path, result.content, result.seed, result.engine, result.video,
    )  # fmt: skip
    assert ("frame_num 4 was changed to 5.",) == result.warnings


async def test_a_server_renders_into_memory_and_tells_its_progress_in_the_callers_thread() -> None:
    said: list[tuple[str, float, threading.Thread]] = []

    def render(url: str) -> Any:
        with Client(url, poll_s=0.0) as client:
            on_progress = lambda status: said.append((status.stage, status.progress, threading.current_thread()))  # noqa: E731
            result = client.render("a star", size="640x384", on_progress=on_progress)
            return result, threading.current_thread()

    async with serving(FastWan([PROCESSING, COMPLETED])) as server:
        result, caller = await asyncio.to_thread(render, server.url)

    assert (b"an mp4", None, 7) == (result.content, result.path, result.seed)
    assert [("sampling", 40, caller)] == said
    assert {"prompt": "a star", "width": 640, "height": 384} == server.body


async def test_the_async_client_submits_waits_and_downloads(tmp_path: Path) -> None:
    async with (
        serving(FastWan([{"status": "queued"}, COMPLETED])) as server,
        AsyncClient(server.url, poll_s=0) as client,
    ):
        job_id = await client.submit("a star")
        status = await client.wait(job_id)
        result = await client.download(job_id, tmp_path)

    assert ("completed", 100) == (status.state, status.progress)
    assert (tmp_path / f"{JOB_ID}.mp4",) == result.paths


async def test_what_a_server_says_when_it_takes_a_job_comes_to_the_caller_or_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def taken() -> web.Response:
        return web.json_response({"job_id": JOB_ID, "status": "queued", "warnings": ["x was ignored."]})

    heard: list[str] = []
    async with (
        serving(FastWan([{**COMPLETED, "warnings": ["y"]}], generate=[taken(), taken(), taken()])) as server,
        AsyncClient(server.url) as client,
    ):
        await client.submit("a star", on_warning=heard.append)
        with Client(server.url) as waiting:
            await asyncio.to_thread(lambda: waiting.submit("a star", on_warning=heard.append))
        await client.submit("a star")
        status = await client.status(JOB_ID)

    assert ["x was ignored."] * 2 == heard
    assert [f"the job {JOB_ID}: x was ignored."] == caplog.messages
    assert ("y",) == status.warnings


async def test_a_server_lists_its_jobs() -> None:
    listed = [{**COMPLETED, "job_id": "b"}, {**PROCESSING, "job_id": "a"}]
    async with serving(FastWan([], listed=listed)) as server, AsyncClient(server.url) as client:
        page = await client.jobs(limit=1)

    assert ([("b", "completed")], 2, None) == (
        [(job.job_id, job.state) for job in page.jobs], page.total, page.next_cursor,
    )  # fmt: skip


async def test_the_first_frames_are_saved_beside_the_videos_of_a_server(tmp_path: Path) -> None:
    results = [{"output": number, "video_ready": number != 2} for number in (1, 2, 3)]
    fake = FastWan([{**COMPLETED, "results": results}])
    async with serving(fake) as server, AsyncClient(server.url, poll_s=0) as client:
        result = await client.render("a star", thumbnail=True, output=tmp_path / "my.mp4")
        plain = await client.download(JOB_ID, tmp_path)

    assert fake.body["thumbnail"]
    assert ([tmp_path / "my.jpg", tmp_path / "my-2.jpg"], (b"a jpeg",) * 2) == (
        [*result.thumbnail_paths], result.thumbnails,
    )  # fmt: skip
    assert [b"a jpeg"] * 2 == [path.read_bytes() for path in result.thumbnail_paths]
    assert [f"/thumbnail/{JOB_ID}?output={number}" for number in (1, 3)] == sorted(
        word.removeprefix("GET ") for word in fake.asked if "/thumbnail/" in word
    )
    assert () == plain.thumbnail_paths


def test_the_first_frames_of_an_endpoint_are_in_its_answer(plane: RunPod, tmp_path: Path) -> None:
    picture, second = (f"data:image/jpeg;base64,{base64.b64encode(text).decode()}" for text in (b"one", b"two"))
    video = {"filename": "x.2.mp4", "data": "YW4gbXA0", "thumbnail": second}
    answer = {**ANSWER, "thumbnail": picture, "results": [{"filename": "x.mp4"}, video]}
    with StandInWorker(plane, lambda worker, job: worker.done(job, {"output": answer})), endpoint(plane) as client:
        result = client.render("a star", thumbnail=True, output=tmp_path)

    assert {"x.mp4": b"an mp4", "x.jpg": b"one", "x.2.mp4": b"an mp4", "x.2.jpg": b"two"} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir()
    }
    assert (tmp_path / "x.jpg", tmp_path / "x.2.jpg") == result.thumbnail_paths


async def test_a_picture_that_does_not_come_costs_no_video_and_a_forced_one_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "my.mp4").write_text("old")
    (tmp_path / "my.jpg").write_text("never named")
    fake = FastWan([COMPLETED])
    async with serving(fake) as server, AsyncClient(server.url, patience_s=0) as client:
        with_one = await client.download(JOB_ID, tmp_path / "my.mp4", thumbnails=True, force=True)
        fake.thumbnails = [web.Response(status=500)]
        without = await client.download(JOB_ID, tmp_path / "other.mp4", thumbnails=True)

    assert ("never named", b"a jpeg") == ((tmp_path / "my.jpg").read_text(), (tmp_path / "my-2.jpg").read_bytes())
    assert (tmp_path / "my-2.jpg",) == with_one.thumbnail_paths
    assert ((tmp_path / "other.mp4",), (), ()) == (without.paths, without.thumbnail_paths, without.thumbnails)
    (line,) = without.warnings
    assert f"{JOB_ID}.jpg was left out: The file could not be downloaded" in line


def test_a_picture_belongs_to_its_own_video(plane: RunPod, tmp_path: Path) -> None:
    entries = [
        {"filename": "x.2.mp4", "data": "dHdv", "thumbnail": "Mg=="},
        {"filename": "x.3.mp4", "path": "/volume/x.3.mp4", "thumbnail": "Mw=="},
    ]
    answer = {**ANSWER, "results": [{"filename": "x.mp4"}, *entries]}
    with StandInWorker(plane, lambda worker, job: worker.done(job, {"output": answer})), endpoint(plane) as client:
        in_memory = client.render("a star", thumbnail=True)
        client.render(job={"input": {"prompt": "a star", "thumbnail": True}}, output=tmp_path / "my.mp4")

    assert {"my.mp4": b"an mp4", "my-2.mp4": b"two", "my-2.jpg": b"2", "my-3.jpg": b"3"} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir()
    }
    assert ((b"an mp4", b"two"), (b"", b"2", b"3")) == (in_memory.contents, in_memory.thumbnails)


def test_a_video_at_the_callers_own_url_is_no_lost_one(plane: RunPod, tmp_path: Path) -> None:
    put = {"how": "upload_url", "reason": "https://host took the file.", "size_bytes": 6}
    answer = {"result": {"filename": "x.mp4", "path": "/volume/x.mp4"}, "delivery": put}
    answer |= {"results": [{"filename": "x.mp4"}, {"filename": "x.2.mp4", "path": "/volume/x.2.mp4", "delivery": put}]}
    with StandInWorker(plane, lambda worker, job: worker.done(job, {"output": answer})), endpoint(plane) as client:
        result = client.render(
            "a star", output=tmp_path / "my.mp4", output_upload_urls=["https://host/a", "https://h/b"]
        )

    assert ((), (), ("x.mp4", "x.2.mp4")) == (result.paths, result.left_there, result.uploaded)
    assert [] == [*tmp_path.iterdir()]


PLAN = {
    "engine": "mini", "model": "mini-wan", "size": "64*64", "video": {"width": 64, "frames": 5}, "seed": None,
    "num_outputs": 2, "recipe": None, "placement": None, "warnings": ["a"], "unknown": [], "seconds": 3.5,
    "seconds_warm": 3.5, "seconds_cold": None, "like_jobs": 4, "cost": 0.01, "a newer key": 1,
}  # fmt: skip


def as_planned(plan: Plan) -> None:
    assert ("mini", "mini-wan", "64*64", 5, 2, ("a",), (), 3.5, None, 4, 0.01) == (
        plan.engine, plan.model, plan.size, plan.video["frames"], plan.num_outputs, plan.warnings, plan.unknown,
        plan.seconds, plan.seconds_cold, plan.like_jobs, plan.cost,
    )  # fmt: skip
    assert PLAN == plan.answer


async def test_a_server_plans_what_it_would_render(tmp_path: Path) -> None:
    refusal = web.json_response({"error": "No.", "code": "INVALID_REQUEST", "hint": "Else."}, status=422)
    plans = [web.json_response(PLAN), web.json_response("hello"), refusal]
    fake = FastWan([], plans=plans)
    async with serving(fake) as server, AsyncClient(server.url) as client:
        plan = await client.plan("a star", size="64x64", frames=5, image=b"picture", price_per_hour=2)
        sent = fake.body
        with pytest.raises(TargetFailed, match="The answer is not a plan: hello"):
            await client.plan("a star")
        with pytest.raises(Refused, match=r"answers 422: No\.") as caught:
            await client.plan(job={"prompt": "a star", "image": "data:image/png;base64,AA=="})
        with pytest.raises(Refused, match="does not take task"):
            await client.plan("a star", task="t2v-A14B")

    as_planned(plan)
    assert {
        "prompt": "a star", "width": 64, "height": 64, "length": 5, "price_per_hour": 2, "image": "cGljdHVyZQ==",
    } == sent  # fmt: skip
    assert {"prompt": "a star", "image": "data:image/png;base64,AA=="} == fake.body
    assert {"POST /plan?for=generate"} == {*fake.asked}
    assert ("INVALID_REQUEST", "Else.") == (caught.value.code, caught.value.hint)


def test_an_endpoint_plans_what_it_would_render(plane: RunPod) -> None:
    answers: list[Any] = [PLAN, {"ok": True}]
    planning = lambda worker, job: worker.done(job, {"output": answers.pop(0)})  # noqa: E731
    with StandInWorker(plane, planning), endpoint(plane) as client:
        plan = client.plan("a star", frames=5, price_per_hour=2)
        sent = [*plane.jobs.values()][-1].input
        with pytest.raises(TargetFailed, match="The answer is not a plan"):
            client.plan(job={"input": {"prompt": "a star", "action": "generate"}})

    as_planned(plan)
    assert {
        "prompt": "a star", "task": "t2v-A14B", "frame_num": 5, "price_per_hour": 2, "action": "plan"
    } == sent  # fmt: skip
    assert {"prompt": "a star", "action": "plan"} == [*plane.jobs.values()][-1].input


def test_a_plan_that_an_endpoint_refuses_has_the_workers_words(plane: RunPod) -> None:
    posted = {"error": "size must look like 832*480.", "output": {"code": "INVALID_REQUEST"}}
    refuse = lambda worker, job: worker.done(job, posted)  # noqa: E731
    with (
        StandInWorker(plane, refuse),
        endpoint(plane) as client,
        pytest.raises(JobFailed, match="size") as caught,
    ):
        client.plan("a star")

    assert "INVALID_REQUEST" == caught.value.code


async def test_a_plan_whose_worker_has_to_start_is_waited_for_or_cancelled() -> None:
    looks = [{"status": "IN_PROGRESS"}, {"status": "COMPLETED", "output": PLAN}, {"status": "IN_QUEUE"}]
    asked: list[str] = []
    cold = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path_qs}")
        if request.method == "POST":
            return web.json_response({"id": "sync-1", "status": "IN_QUEUE"})
        if len(looks) == 1:
            cold.set()
        return web.json_response({"id": "sync-1", **(looks.pop(0) if len(looks) > 1 else looks[0])})

    app = web.Application()
    app.add_routes([
        web.post("/v2/a/{call:runsync|cancel/sync-1}", answer), web.get("/v2/a/status/sync-1", answer),
    ])  # fmt: skip
    async with TestServer(app) as server, AsyncClient(endpoint=str(server.make_url("/v2/a")), poll_s=0) as client:
        as_planned(await client.plan("a star"))
        planning = asyncio.create_task(client.plan("a star"))
        await cold.wait()
        planning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await planning

    assert "POST /v2/a/runsync?wait=2000" == asked[0]
    assert "POST /v2/a/cancel/sync-1" == asked[-1]


def test_a_failure_of_the_job_has_the_workers_words(plane: RunPod) -> None:
    posted = {"error": "The GPU is full.", "output": {"hint": "Ask for less.", "code": "OUT_OF_MEMORY"}}
    with StandInWorker(plane, lambda worker, job: worker.done(job, posted)), endpoint(plane) as client:
        with pytest.raises(JobFailed, match=r"The GPU is full\.") as caught:
            client.render("a star")
        status = client.status(caught.value.job_id)

    assert ("OUT_OF_MEMORY", "Ask for less.") == (caught.value.code, caught.value.hint)
    assert ("failed", True) == (status.state, isinstance(status.error, JobFailed))


def test_an_interrupted_caller_has_the_job_cancelled(plane: RunPod) -> None:
    def interrupt(status: JobStatus) -> None:
        if status.progress:
            raise KeyboardInterrupt

    with StandInWorker(plane, leaves), endpoint(plane) as client, pytest.raises(KeyboardInterrupt):
        client.render("a star", on_progress=interrupt)

    assert "CANCELLED" == [*plane.jobs.values()][-1].status


@pytest.mark.parametrize("state", ["queued", "running", "done"])
def test_a_job_is_cancelled_in_each_state(plane: RunPod, state: str) -> None:
    with endpoint(plane) as client:
        job_id = client.submit("a star")
        assert "queued" == client.status(job_id).state
        if state != "queued":
            job = plane.next_job("w")
            assert job is not None
            assert "running" == client.status(job_id).state
        if state == "done":
            plane.take_result(job, "w", b'{"output": {"ok": true}}')
        cancelled = client.cancel(job_id)
        status = client.wait(job_id)

    assert ("completed" if state == "done" else "cancelled") == cancelled == status.state
    assert (state != "done") == isinstance(status.error, JobCancelled)


def test_a_caller_who_waits_too_long_is_told_and_the_job_is_stopped(plane: RunPod) -> None:
    with endpoint(plane) as client, pytest.raises(WaitedTooLong) as caught:
        client.run("a star", wait_timeout_s=0)

    assert "CANCELLED" == plane.jobs[caught.value.job_id].status


def test_a_wrong_key_is_refused_and_never_shown(plane: RunPod) -> None:
    with Client(endpoint=plane.url, key="stale-key-of-mine") as client, pytest.raises(Unauthorised) as caught:
        client.render("a star")

    assert "UNAUTHORISED" == caught.value.code
    assert "stale" not in f"{caught.value}{caught.value.hint}"


async def test_a_wrong_key_of_a_server_is_refused() -> None:
    async with serving(FastWan([COMPLETED], key="right")) as server, AsyncClient(server.url, key="wrong") as client:
        for call in (client.submit("a star"), client.status(JOB_ID), client.jobs(), client.download(JOB_ID)):
            with pytest.raises(Unauthorised):
                await call


async def test_a_full_server_is_waited_for_and_then_called_busy() -> None:
    def full() -> web.Response:
        return web.json_response({"error": "The queue is full.", "code": "QUEUE_FULL"}, status=429)

    async with serving(FastWan([COMPLETED], generate=[full()])) as server, AsyncClient(server.url) as client:
        assert JOB_ID == await client.submit("a star")
    fake = FastWan([COMPLETED], generate=[full()])
    async with serving(fake) as server, AsyncClient(server.url, patience_s=0) as client:
        with pytest.raises(Busy, match="The queue is full") as caught:
            await client.submit("a star")

    assert "QUEUE_FULL" == caught.value.code


def test_an_unknown_job_is_told_as_such(plane: RunPod) -> None:
    with endpoint(plane) as client:
        for call in (client.status, client.cancel, client.download, client.wait):
            with pytest.raises(UnknownJob):
                call("gone-1")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"url": "http://h", "endpoint": "abc"},
        {"url": "localhost:8189"},
        {"endpoint": "abc"},
        {"endpoint": "abc/../x", "key": "k"},
        {"url": "http://me:secret@h"},
    ],
)
def test_a_target_that_is_none_is_refused_at_once(given: dict[str, str]) -> None:
    with pytest.raises(Refused):
        Client(**given)


async def test_the_waiting_client_works_inside_a_running_loop() -> None:
    async with serving(FastWan([COMPLETED])) as server:
        finished = asyncio.Event()
        loop = asyncio.get_running_loop()

        def work() -> None:
            async def in_a_loop_of_its_own() -> None:
                with Client(server.url) as client:  # as in a notebook, whose thread has a loop
                    assert "completed" == client.status(JOB_ID).state

            asyncio.run(in_a_loop_of_its_own())
            loop.call_soon_threadsafe(finished.set)

        await asyncio.gather(asyncio.to_thread(work), finished.wait())


def test_a_closed_client_leaves_no_thread_and_works_again(plane: RunPod) -> None:
    client = endpoint(plane)
    for _ in range(2):
        before = set(threading.enumerate())
        job_id = client.submit("a star")
        # The plane answers in threads of its own, so that only the client's are counted.
        own = [each for each in set(threading.enumerate()) - before if each.name == "wanworker-client"]
        assert "cancelled" == client.cancel(job_id)
        client.close()

        assert [False] == [each.is_alive() for each in own]


def test_importing_the_client_loads_nothing_heavy() -> None:
    heavy = {"torch", "runpod", "pydantic", "aiohttp", "numpy", "PIL", "typer", "rich", "fastapi"}
    code = f"import sys, wanworker.client; print({heavy} & {{*sys.modules}})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(SOURCE)})

    assert "set()\n" == done.stdout, done.stderr
    assert (SOURCE / "wanworker" / "py.typed").is_file()
