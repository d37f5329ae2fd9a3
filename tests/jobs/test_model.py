from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pytest

from fakes.other_workers import elsewhere
from wanworker.errors import InvalidRequest
from wanworker.jobs.model import TRANSITIONS, Job, JobError, JobStatus, Output, check_request_id, spec_hash

ALLOWED = {
    ("QUEUED", "RUNNING"),
    ("QUEUED", "ERROR"),
    ("QUEUED", "TIMEOUT"),
    ("QUEUED", "CANCELLED"),
    ("RUNNING", "COMPLETED"),
    ("RUNNING", "ERROR"),
    ("RUNNING", "TIMEOUT"),
    ("RUNNING", "NO_OUTPUT"),
    ("RUNNING", "CANCELLED"),
}


OWNER = elsewhere()


def job(status: JobStatus = JobStatus.RUNNING) -> Job:
    return Job(
        request_id="job-1",
        action="generate",
        spec_hash="spec-a",
        attempt=1,
        owner=OWNER,
        status=status,
        created_at=100.0,
        heartbeat_at=100.0,
    )


def full_job() -> Job:
    return dataclasses.replace(
        job(JobStatus.COMPLETED),
        runpod_id="sync-1-u1",
        warnings=("frames: 16 became 17",),
        delivery={"how": "base64"},
        error=JobError("ENGINE_FAILED", "It failed.", "See the log."),
        outputs=(Output("/out/job-1.mp4", "video", "video/mp4", 7, "ab", 64, 48, 16.0, 17, 1.06, "h264", True),),
        seed=2**64 - 1,
        timings={"load_s": 1.5},
        prompt="a red star \u2605",
    )


@pytest.mark.parametrize(("before", "after"), list(itertools.product(JobStatus, JobStatus)))
def test_every_change_of_status_follows_the_table(before: JobStatus, after: JobStatus) -> None:
    if before is after or (before.value, after.value) in ALLOWED:
        assert job(before).changed(200.0, status=after).status is after
        return

    with pytest.raises(ValueError, match=f"is {before.value} and cannot become {after.value}"):
        job(before).changed(200.0, status=after)


def test_a_status_is_terminal_when_nothing_follows_it() -> None:
    terminal = {status.value for status in JobStatus if status.is_terminal}

    assert terminal == {"COMPLETED", "ERROR", "TIMEOUT", "NO_OUTPUT", "CANCELLED"}
    assert set(TRANSITIONS) == set(JobStatus)


def test_only_an_attempt_that_ended_without_a_result_may_run_again() -> None:
    again = {status.value for status in JobStatus if status.may_run_again}

    assert again == {"ERROR", "TIMEOUT", "NO_OUTPUT", "CANCELLED"}


def test_start_beat_and_end_are_stamped() -> None:
    started = job(JobStatus.QUEUED).changed(200.0, status=JobStatus.RUNNING)
    beaten = started.changed(205.0)
    ended = beaten.changed(210.0, status=JobStatus.COMPLETED)
    amended = ended.changed(300.0, delivery={"how": "bucket"})

    assert (started.started_at, started.heartbeat_at, started.completed_at) == (200.0, 200.0, None)
    assert (beaten.started_at, beaten.heartbeat_at, beaten.completed_at) == (200.0, 205.0, None)
    assert (ended.started_at, ended.heartbeat_at, ended.completed_at) == (200.0, 210.0, 210.0)
    assert amended == dataclasses.replace(ended, delivery={"how": "bucket"})


def test_a_waiting_job_names_a_heartbeat_a_day_ahead() -> None:
    """Workers of before there were marks judge by it alone, and a queue may be long."""
    assert job(JobStatus.QUEUED).changed(200.0).heartbeat_at == 200.0 + 24 * 3600


def test_an_interrupted_job_says_so_with_its_code() -> None:
    interrupted = job().interrupted(300.0)

    assert interrupted.was_interrupted
    assert interrupted.error is not None
    assert (
        interrupted.error.code,
        interrupted.status,
        interrupted.completed_at,
    ) == ("INTERRUPTED", JobStatus.ERROR, 300.0)
    assert interrupted.error.text.startswith("interrupted: the worker that rendered it ended")


def test_a_record_survives_its_json() -> None:
    assert Job.from_json(full_job().to_json()) == full_job()


def test_a_record_is_flat_json_with_upper_case_status() -> None:
    record = json.loads(full_job().to_json())

    assert (record["status"], record["schema"], record["prompt"]) == ("COMPLETED", 1, "a red star \u2605")
    assert set(record["owner"]) == {"token", "host", "pid_namespace", "pid", "process_start"}


def test_keys_of_a_later_schema_are_ignored() -> None:
    record = json.loads(full_job().to_json())
    record |= {"schema": 2, "priority": "high"}
    record["outputs"][0]["hdr"] = True

    assert Job.from_json(json.dumps(record).encode()) == dataclasses.replace(full_job(), schema=2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attempt", "1"),
        ("attempt", True),
        ("status", "running"),
        ("created_at", "now"),
        ("warnings", "one"),
        ("outputs", [{"path": "x"}]),
        ("owner", None),
        ("prompt", 3),
    ],
)
def test_a_record_of_wrong_types_is_refused_with_the_key(key: str, value: object) -> None:
    record = {**json.loads(full_job().to_json()), key: value}

    with pytest.raises(ValueError, match=key):
        Job.from_json(json.dumps(record).encode())


def test_every_wrong_place_of_a_record_is_named() -> None:
    record = {
        **json.loads(full_job().to_json()),
        "attempt": "1",
        "outputs": [{**dataclasses.asdict(full_job().outputs[0]), "mime": 3}],
    }

    with pytest.raises(ValueError, match=r"^No record of a job: attempt, outputs\.0\.mime\.$"):
        Job.from_json(json.dumps(record).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"\0" * 100])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="No record of a job"):
        Job.from_json(data)


def test_a_lone_surrogate_in_a_prompt_does_not_break_the_record() -> None:
    broken = dataclasses.replace(job(), prompt="a \ud800 star", warnings=("Unknown field '\udfff'.",))

    assert Job.from_json(broken.to_json()).prompt == "a ? star"


def test_a_number_that_is_none_does_not_break_the_record() -> None:
    odd = dataclasses.replace(job(), timings={"load_s": math.nan})

    assert math.isnan(Job.from_json(odd.to_json()).timings["load_s"])


def test_the_spec_hash_ignores_the_order_of_keys_and_nothing_else() -> None:
    one = spec_hash({"prompt": "x", "size": {"width": 1, "height": 2}})

    assert spec_hash({"size": {"height": 2, "width": 1}, "prompt": "x"}) == one
    assert one != spec_hash({"prompt": "x", "size": {"width": 1, "height": 3}})
    assert len(one) == 64


def test_the_spec_hash_refuses_what_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        spec_hash({"fps": math.nan})
    with pytest.raises(TypeError):
        spec_hash({"image": object()})


@pytest.mark.parametrize("good", ["a", "A-b_9", "x" * 64, "sync-3f2a-u1"])
def test_a_good_request_id_passes(good: str) -> None:
    assert check_request_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", "x" * 65, "x" * 100, "../x", "a/b", "a.b", "a b", "a\n", "\u00e9", "\u0661", "a\0", 7, None]
)
def test_a_bad_request_id_is_refused(bad: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_request_id(bad)

    assert str(caught.value) == f"request_id must be 1 to 64 of A-Z a-z 0-9 _ and -; got {str(bad)[:80]!r}."
    assert caught.value.field == "request_id"


def test_the_spec_hash_is_that_of_earlier_versions() -> None:
    """Records live on the volume: a request sent again after an update must still be the same request."""
    known = spec_hash({"prompt": "a caf\u00e9", "size": {"width": 1280, "height": 720}, "loras": []})

    assert known == "73e48697c06bec97fc630814089441adb017e331e20d0129a78a66d7e7a22f71"
