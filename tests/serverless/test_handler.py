"""One job in, one answer out, whatever the worker does."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from wanworker import logs
from wanworker.errors import EngineTimeout
from wanworker.progress import Progress
from wanworker.serverless.handler import JobHandler, handle

JOB_ID = "3933ab49-0000-4000-8000-000000000000-e2"


@dataclass
class Call:
    """What the worker is told, under the names of wanworker.actions.base.Call."""

    request_id: str
    runpod_id: str | None
    report: Callable[[Progress], None]
    answer_limit_bytes: int
    s3_config: object = None


class StandIn:
    """A worker whose every job does one thing."""

    def __init__(self, act: Callable[[Any, Call], Awaitable[dict[str, Any]]]) -> None:
        self._act = act
        self.calls: list[Call] = []
        self.is_closed = False
        self.begun: list[str] = []
        self.cards = 1

    def note_ready(self) -> None:
        self.begun.append("ready")

    def warm_up(self) -> None:
        self.begun.append("warming")

    async def perform(self, payload: object, call: Call) -> dict[str, Any]:
        self.calls.append(call)
        return await self._act(payload, call)

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.is_closed = True


class Sdk:
    """Stand in for `progress_update`, with threads as it has them."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []

    def __call__(self, job: dict[str, Any], shown: dict[str, Any]) -> None:
        threading.Thread(target=self.posts.append, args=(shown,), daemon=True).start()


async def echo(payload: Any, call: Call) -> dict[str, Any]:
    return {"request_id": call.request_id, "got": payload}


def raises(error: BaseException) -> StandIn:
    async def act(payload: Any, call: Call) -> dict[str, Any]:
        raise error

    return StandIn(act)


def job(**fields: Any) -> dict[str, Any]:
    return {"id": JOB_ID, "input": {"prompt": "a star"}, **fields}


async def answer_of(worker: StandIn, sent: dict[str, Any], **more: Any) -> dict[str, Any]:
    settled: dict[str, Any] = {"send": Sdk(), "in_worker": False, **more}
    return await handle(sent, worker=worker, make_call=Call, **settled)


async def test_an_answer_comes_back_as_strict_json() -> None:
    async def act(payload: Any, call: Call) -> dict[str, Any]:
        return {"fps": float("nan"), "prompt": "\ud800"}

    assert {"fps": None, "prompt": "\ufffd"} == await answer_of(StandIn(act), job())


async def test_runpods_id_names_the_request() -> None:
    worker = StandIn(echo)

    await answer_of(worker, job())

    assert (JOB_ID, JOB_ID) == (worker.calls[0].request_id, worker.calls[0].runpod_id)


@pytest.mark.parametrize("job_id", ["local_test", "../../etc/passwd", "x" * 65, "", 7, "a b"])
async def test_an_id_that_can_name_no_request_is_replaced_by_a_fresh_one(job_id: object) -> None:
    worker = StandIn(echo)

    await answer_of(worker, job(id=job_id))
    await answer_of(worker, job(id=job_id))

    first, second = worker.calls
    assert first.request_id == str(uuid.UUID(first.request_id))
    assert first.request_id != second.request_id
    assert first.runpod_id is None


async def test_the_request_id_is_on_every_line_of_the_log_while_the_job_runs() -> None:
    async def act(payload: Any, call: Call) -> dict[str, Any]:
        return {"seen": logs.request_id.get()}

    answer = await answer_of(StandIn(act), job())

    assert JOB_ID == answer["seen"]
    assert "-" == logs.request_id.get()


@pytest.mark.parametrize(
    ("job_id", "override", "limit"),
    [("sync-1-u1", None, 19_999_000), ("1-u1", None, 9_999_000), ("1-u1", 150_000, 150_000)],
)
async def test_the_worker_is_told_how_large_its_answer_may_be(job_id: str, override: int | None, limit: int) -> None:
    worker = StandIn(echo)

    await answer_of(worker, job(id=job_id), max_answer_bytes=override)

    assert limit == worker.calls[0].answer_limit_bytes


async def test_the_jobs_own_bucket_is_handed_on_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    worker = raises(RuntimeError("boom"))
    config = {"accessId": "id", "accessSecret": "hush-hush", "bucketName": "b", "endpointUrl": "https://s3.test"}

    with caplog.at_level(logging.DEBUG):
        answer = await answer_of(worker, job(s3Config=config))

    assert config == worker.calls[0].s3_config
    assert "hush-hush" not in caplog.text + json.dumps(answer)


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "null"), ("a star", "a string"), ([1], "a list"), (True, "a boolean"), (1.5, "a number")],
)
async def test_an_input_that_is_no_object_is_refused(given: object, said: str) -> None:
    worker = StandIn(echo)

    answer = await answer_of(worker, job(input=given))

    assert f"`input` must be a JSON object; got {said}." == answer["error"]
    assert ("INVALID_REQUEST", "ERROR", JOB_ID) == (answer["code"], answer["status"], answer["request_id"])
    assert [] == worker.calls


async def test_a_failure_is_rendered_with_its_status_and_code() -> None:
    answer = await answer_of(raises(EngineTimeout("Execution did not complete within 5s")), job())

    assert "Execution did not complete within 5s" == answer["error"]
    assert ("TIMEOUT", "ENGINE_TIMEOUT") == (answer["status"], answer["code"])


async def test_a_failure_names_the_request_by_the_callers_own_id_once_the_core_has_read_it() -> None:
    async def act(payload: Any, call: Call) -> dict[str, Any]:
        logs.request_id.set("my-job-7")
        raise EngineTimeout("too late")

    answer = await answer_of(StandIn(act), job())

    assert "my-job-7" == answer["request_id"]
    assert "-" == logs.request_id.get()


async def test_an_unforeseen_failure_is_logged_in_full_and_answered_without_detail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = await answer_of(raises(ZeroDivisionError("token=abc")), job())

    assert f"Internal error; see the worker's log for request {JOB_ID}." == answer["error"]
    assert "INTERNAL" == answer["code"]
    assert "Traceback" not in json.dumps(answer)
    assert "ZeroDivisionError" in caplog.text


async def test_an_answer_that_runpod_would_drop_becomes_a_failure_that_says_so() -> None:
    async def act(payload: Any, call: Call) -> dict[str, Any]:
        return {"data": "x" * 200_000}

    answer = await answer_of(StandIn(act), job(), max_answer_bytes=100_000)

    assert "at most 100,000 can be returned" in answer["error"]


async def test_an_answer_too_deep_to_write_is_a_failure() -> None:
    async def act(payload: Any, call: Call) -> dict[str, Any]:
        deep: dict[str, Any] = {}
        for _ in range(5000):
            deep = {"deeper": deep}
        return deep

    answer = await answer_of(StandIn(act), job())

    assert "INTERNAL" == answer["code"]


async def test_progress_is_posted_with_the_callers_id_and_drained_before_the_answer() -> None:
    sdk = Sdk()
    has_posted = asyncio.Event()

    def send(sent: dict[str, Any], shown: dict[str, Any]) -> None:
        sdk(sent, shown)
        has_posted.set()

    async def act(payload: Any, call: Call) -> dict[str, Any]:
        logs.request_id.set("my-job-7")
        call.report(Progress("sampling", 0.5, eta_s=float("nan")))
        await has_posted.wait()
        return {}

    await answer_of(StandIn(act), job(), send=send, in_worker=True)
    posted = list(sdk.posts)

    assert [("my-job-7", 50.0, None)] == [(post["request_id"], post["progress"], post["eta_s"]) for post in posted]


@pytest.mark.parametrize(("job_id", "in_worker"), [(JOB_ID, False), ("local_test", True)])
async def test_a_local_run_posts_no_progress(job_id: str, in_worker: bool) -> None:
    sdk = Sdk()

    async def act(payload: Any, call: Call) -> dict[str, Any]:
        call.report(Progress("sampling", 0.5))
        await asyncio.sleep(0.06)  # longer than the grace of a first post
        return {}

    await answer_of(StandIn(act), job(id=job_id), send=sdk, in_worker=in_worker)

    assert [] == sdk.posts


@pytest.mark.parametrize(("job_id", "in_worker"), [(JOB_ID, True), (JOB_ID, False), ("local_test", True)])
async def test_only_a_local_run_prints_its_answer_whole(job_id: str, in_worker: bool) -> None:
    async def act(payload: Any, call: Call) -> dict[str, Any]:
        return {"data": "A" * 100_000}

    answer = await answer_of(StandIn(act), job(id=job_id), in_worker=in_worker)
    is_local = not in_worker or job_id == "local_test"

    assert {"data": "A" * 100_000} == answer
    assert is_local == (len(repr(answer)) > 100_000)


async def test_a_cancelled_job_passes_the_cancellation_on_after_the_worker_has_stopped() -> None:
    order: list[str] = []
    is_running = asyncio.Event()

    async def act(payload: Any, call: Call) -> dict[str, Any]:
        is_running.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("stopped")
        return {}

    task = asyncio.create_task(answer_of(StandIn(act), job()))
    await is_running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    order.append("passed on")

    assert ["stopped", "passed on"] == order


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_swallowed(end: type[BaseException]) -> None:
    with pytest.raises(end):
        asyncio.run(answer_of(raises(end()), job()))


def door_of(worker: StandIn) -> JobHandler:
    return JobHandler(worker, Call, send=Sdk(), in_worker=False)


def test_the_worker_is_closed_when_the_sdks_loop_ends() -> None:
    worker = StandIn(echo)

    async def sdk(door: JobHandler) -> list[bool]:
        await door(job())
        await door(job())
        return [worker.is_closed]

    closed_early = asyncio.run(sdk(door_of(worker)))

    assert [False] == closed_early
    assert worker.is_closed


def test_the_worker_warms_up_once_before_the_first_job_and_is_closed_without_one() -> None:
    worker = StandIn(echo)

    async def sdk(door: JobHandler) -> list[int]:
        return [door.begin(1), door.begin(1)]

    concurrency = asyncio.run(sdk(door_of(worker)))

    assert [1, 1] == concurrency
    assert ["ready", "warming"] == worker.begun
    assert worker.is_closed


@pytest.mark.parametrize(("cards", "asked", "taken"), [(1, 1, 1), (1, 3, 3), (4, 1, 4)])
def test_as_many_jobs_are_taken_as_the_worker_has_cards(cards: int, asked: int, taken: int) -> None:
    worker = StandIn(echo)
    worker.cards = cards

    async def sdk(door: JobHandler) -> int:
        return door.begin(asked)

    assert taken == asyncio.run(sdk(door_of(worker)))


def test_a_local_run_warms_nothing_up() -> None:
    worker = StandIn(echo)

    asyncio.run(door_of(worker)(job()))

    assert ["ready"] == worker.begun


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_local_run_stops_its_work_and_exits_as_a_shell_expects(
    number: signal.Signals, code: int
) -> None:
    order: list[str] = []

    async def act(payload: Any, call: Call) -> dict[str, Any]:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("stopped")
        return {}

    worker = StandIn(act)

    async def sdk(door: JobHandler) -> None:
        await door(job(id="local_test"))

    with pytest.raises(SystemExit) as caught:
        asyncio.run(sdk(door_of(worker)))

    assert code == caught.value.code
    assert ["stopped"] == order
    assert worker.is_closed


def test_the_worker_is_closed_when_a_local_run_ends_by_exit() -> None:
    worker = StandIn(echo)

    async def sdk(door: JobHandler) -> None:
        await door(job())
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        asyncio.run(sdk(door_of(worker)))

    assert worker.is_closed
