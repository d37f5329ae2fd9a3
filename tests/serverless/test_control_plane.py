"""The control plane shows what the real SDK does to a careless handler: each hazard that ours has to avoid."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from fakes.runpod import RunPod
from fakes.worker_process import WorkerProcess

CARELESS = """
import runpod

def handler(job):
    what = job["input"]["what"]
    if what == "late progress":
        runpod.serverless.progress_update(job, {"percent": 50})
        return {"done": True}
    if what == "not a number":
        return {"fps": float("nan")}
    if what == "too large":
        return {"data": "x" * 1_000_000}
    if what == "raise":
        raise ValueError("secret-token")
    return {"saw": job.get("s3Config")}

if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunPod]:
    folder = tmp_path_factory.mktemp("careless")
    script = folder / "careless.py"
    script.write_text(CARELESS)
    switches = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}
    with RunPod() as plane, WorkerProcess(plane, folder, argv=[str(script)], environment=switches):
        yield plane


@pytest.fixture(autouse=True)
def no_faults(plane: RunPod) -> Iterator[None]:
    """Turn every knob back after each test."""
    before = dict(vars(plane.knobs))
    yield
    vars(plane.knobs).update(before)


def ask(plane: RunPod, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, Any]:
    """Send one request as a client does; the key is the plane's own where none is given."""
    address = urlsplit(plane.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {plane.api_key if key is None else key}"}
        connection.request(method, f"{address.path}/{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()


def test_progress_that_arrives_after_the_result_reopens_the_job(plane: RunPod) -> None:
    plane.knobs.result_overtakes_progress = True

    job_id = plane.submit({"what": "late progress"})
    plane.wait_for_event("late_progress", job_id=job_id)

    assert plane.jobs[job_id].status == "IN_PROGRESS"
    assert plane.jobs[job_id].for_client()["output"] == {"percent": 50}


def test_a_result_that_is_not_json_is_lost(plane: RunPod) -> None:
    job_id = plane.submit({"what": "not a number"})
    plane.wait_for_event("bad_json", job_id=job_id)

    assert plane.jobs[job_id].status == "IN_PROGRESS"


def test_a_result_that_is_too_large_is_completed_without_output(plane: RunPod) -> None:
    plane.knobs.max_result_bytes = 1_000_000

    job_id = plane.submit({"what": "too large"})
    plane.wait_for_event("too_large", job_id=job_id)

    assert plane.jobs[job_id].for_client() == {"id": job_id, "status": "COMPLETED"}


def test_a_handler_that_raises_shows_its_traceback_to_the_client(plane: RunPod) -> None:
    job = plane.wait_for_job(plane.submit({"what": "raise"}))

    assert job.status == "FAILED"
    assert "secret-token" in job.error
    assert "Traceback" in job.error


def test_a_result_refused_with_500_is_sent_again(plane: RunPod) -> None:
    plane.knobs.result_faults.append(500)

    job_id = plane.submit({"what": "nothing"})
    job = plane.wait_for_job(job_id)

    assert [500] == [event.detail for event in plane.events_of("fault", job_id=job_id)]
    assert job.status == "COMPLETED"


def test_a_client_runs_a_job_and_reads_its_output(plane: RunPod) -> None:
    bucket = {"bucketName": "b"}
    status, answer = ask(plane, "POST", "runsync?wait=20000", {"input": {"what": "nothing"}, "s3Config": bucket})

    assert status == 200
    assert answer["id"].startswith("sync-")
    assert answer["status"] == "COMPLETED"
    assert answer["output"] == {"saw": bucket}
    assert ask(plane, "GET", f"status/{answer['id']}") == (200, answer)


@pytest.mark.parametrize(
    ("method", "path", "body", "key", "expected"),
    [
        ("POST", "run", {"input": {}}, "another", 401),
        ("GET", "status/unknown", None, None, 404),
        ("POST", "run", {"prompt": "no input"}, None, 400),
        ("POST", "run", {"input": float("nan")}, None, 400),
        ("POST", "run", {"input": "x" * 10_000_001}, None, 400),
    ],
    ids=["wrong key", "unknown job", "no input", "not JSON", "too large"],
)
def test_a_client_is_refused(
    plane: RunPod, method: str, path: str, body: object, key: str | None, expected: int
) -> None:
    assert ask(plane, method, path, body, key)[0] == expected


def test_a_job_cancelled_before_it_is_taken_leaves_the_queue() -> None:
    with RunPod() as idle:
        job_id = idle.submit({"what": "nothing"})
        _, answer = ask(idle, "POST", f"cancel/{job_id}")
        taken = idle.next_job("worker-1")

    assert answer == {"id": job_id, "status": "CANCELLED"}
    assert taken is None
