"""Whatever RunPod hands out or answers, the worker lives and takes the next job: the real SDK in a real process."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from fakes.runpod import Fault, Job, RunPod
from fakes.worker_process import WorkerProcess

HEALTH = '{"health": true}'

#: What job-take answers, and what the log says of it; no answer is possible.
DROPPED = {
    "no id": (f'{{"input": {HEALTH}}}', "missing field"),
    "no input": ('{"id": "no-input"}', "missing field"),
    "null as id": (f'{{"id": null, "input": {HEALTH}}}', "under the id None"),
    "true as id": (f'{{"id": true, "input": {HEALTH}}}', "under the id True"),
    "a fraction as id": (f'{{"id": 1.5, "input": {HEALTH}}}', "under the id 1.5"),
    "a list as id": (f'{{"id": ["x"], "input": {HEALTH}}}', "under the id ['x']"),
    "an object as id": (f'{{"id": {{"a": 1}}, "input": {HEALTH}}}', "under the id {'a': 1}"),
    "nothing as id": (f'{{"id": "", "input": {HEALTH}}}', "under the id ''"),
    "a path as id": (f'{{"id": "../../etc/passwd", "input": {HEALTH}}}', "under the id '../../etc/passwd'"),
    "dots as id": (f'{{"id": "..", "input": {HEALTH}}}', "under the id '..'"),
    "an address as id": (f'{{"id": "x?a=b#c", "input": {HEALTH}}}', "under the id 'x?a=b#c'"),
    "two lines as id": (f'{{"id": "x\\ny: z", "input": {HEALTH}}}', "under the id 'x\\ny: z'"),
    "half a character as id": (f'{{"id": "\\ud800", "input": {HEALTH}}}', "under the id '\\ud800'"),
    "a very long id": (f'{{"id": "{"x" * 300}", "input": {HEALTH}}}', f"under the id '{'x' * 79}."),
    "numbers": ("[1, 2, 3]", "it must be an object, but is int"),
    "nulls": ("[null, null]", "it must be an object, but is NoneType"),
    "lists": ("[[], [[1]]]", "it must be an object, but is list"),
    "a text in a list": ('["x"]', "it must be an object, but is str"),
    "an empty list": ("[]", ""),
    "a text": ('"a text"', ""),
    "a number": ("17", ""),
    "null": ("null", ""),
    "NaN": ("NaN", ""),
    "half of JSON": ('{"id": "half", "input": ', ""),
    "nothing": (" ", ""),
    "nested beyond reading": (f'{{"id": "deep", "input": {"[" * 100_000}{"]" * 100_000}}}', "RecursionError"),
    "a number of 5,000 digits": (f'{{"id": {"9" * 5000}, "input": {HEALTH}}}', ""),
}

#: What job-take answers, the id that it is answered under, and what the answer says (nothing: it succeeds).
ANSWERED = {
    "a number as id": (f'{{"id": 17, "input": {HEALTH}}}', "17", ""),
    "a negative number as id": (f'{{"id": -5, "input": {HEALTH}}}', "-5", ""),
    "null as input": ('{"id": "null-input", "input": null}', "null-input", "got null"),
    "a text as input": ('{"id": "text-input", "input": "a fox"}', "text-input", "got a string"),
    "a list as input": ('{"id": "list-input", "input": [1, 2]}', "list-input", "got a list"),
    "NaN as input": ('{"id": "nan-input", "input": NaN}', "nan-input", "got a number"),
    "NaN as a field": ('{"id": "nan", "input": {"prompt": "x", "task": "t2v-A14B", "steps": NaN}}', "nan", "steps"),
    "no input, in a list": ('[{"id": "listed"}]', "listed", "got null"),
    "names that the SDK uses": (
        f'{{"id": "names", "self": 1, "__class__": 2, "_x": 3, "batchId": {{"a": []}}, "input": {HEALTH}}}',
        "names",
        "",
    ),
    "nested deeply": (f'{{"id": "nested", "input": {{"prompt": {"[" * 900}{"]" * 900}}}}}', "nested", "prompt"),
    "two where one was asked for": (f'[{{"id": "one", "input": {HEALTH}}}, 2]', "one", ""),
}


@pytest.fixture(scope="module")
def plane() -> Iterator[RunPod]:
    with RunPod() as made:
        yield made


@pytest.fixture(scope="module")
def worker(plane: RunPod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with WorkerProcess(plane, tmp_path_factory.mktemp("malformed")) as made:
        yield made


def next_job(plane: RunPod, worker: WorkerProcess) -> Job:
    """Return a good job that came after, once it is over."""
    job_id = plane.submit({"health": True})
    plane.wait_until(lambda: plane.jobs[job_id].is_over or worker.returncode is not None, what="the next job")
    assert worker.returncode is None, worker.log[-2000:]
    return plane.jobs[job_id]


@pytest.mark.parametrize(("body", "said"), DROPPED.values(), ids=DROPPED.keys())
def test_what_cannot_be_answered_is_dropped_and_the_next_job_is_done(
    plane: RunPod, worker: WorkerProcess, body: str, said: str
) -> None:
    before = len(worker.log)
    plane.hand_out(body)

    assert "COMPLETED" == next_job(plane, worker).status
    assert said in worker.log[before:]


@pytest.mark.parametrize(("body", "job_id", "said"), ANSWERED.values(), ids=ANSWERED.keys())
def test_what_can_be_answered_is_and_the_next_job_is_done(
    plane: RunPod, worker: WorkerProcess, body: str, job_id: str, said: str
) -> None:
    plane.hand_out(body, job_id=job_id)

    assert "COMPLETED" == next_job(plane, worker).status
    job = plane.wait_for_job(job_id)
    assert ("FAILED" if said else "COMPLETED") == job.status
    assert said in str(job.error)


#: What RunPod does to the posts of one result, in turn.
PASSING: dict[str, list[Fault]] = {
    "429": [429],
    "429 twice": [429, 429],
    "408": [408],
    "500": [500],
    "cut before it counts": ["reset"],
    "cut once it counts": ["reset after"],
    "429, then cut": [429, "reset"],
}


@pytest.mark.parametrize(
    "faults",
    [
        *(pytest.param(faults, id=name) for name, faults in PASSING.items()),
        pytest.param([500, 500, 500], id="500 more often than the SDK tries", marks=pytest.mark.slow),
    ],
)
def test_a_result_that_is_not_taken_is_posted_again(plane: RunPod, worker: WorkerProcess, faults: list[Fault]) -> None:
    plane.knobs.result_faults.extend(faults)
    job_id = f"job-{uuid.uuid4()}"

    plane.submit({"health": True}, job_id=job_id)
    plane.wait_until(lambda: not plane.knobs.result_faults and plane.jobs[job_id].is_over, what=job_id)

    assert "COMPLETED" == next_job(plane, worker).status
    job = plane.jobs[job_id]
    assert ("COMPLETED", True) == (job.status, bool(job.output))
    assert faults == [event.detail for event in plane.events_of("fault", job_id=job_id)]
    assert ("reset after" in faults) == bool(plane.events_of("late_done", job_id=job_id))


def test_the_wait_that_runpod_asks_for_is_kept(plane: RunPod, worker: WorkerProcess) -> None:
    plane.knobs.result_faults.append(429)
    plane.knobs.retry_after = "1"

    job_id = plane.submit({"health": True})
    plane.wait_for_job(job_id)
    plane.knobs.retry_after = ""

    (refused,), (done,) = plane.events_of("fault", job_id=job_id), plane.events_of("done", job_id=job_id)
    assert done.at_s - refused.at_s >= 1.0


@pytest.mark.parametrize("status", [400, 401, 404, 413])
def test_a_result_that_is_refused_for_good_is_posted_once(plane: RunPod, worker: WorkerProcess, status: int) -> None:
    plane.knobs.result_faults.append(status)

    job_id = plane.submit({"health": True})
    plane.wait_for_event("fault", job_id=job_id)

    assert "COMPLETED" == next_job(plane, worker).status
    assert "IN_PROGRESS" == plane.jobs[job_id].status
    assert json.dumps(status) in worker.log
