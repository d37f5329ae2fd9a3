from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.other_workers import Clock, claimants, elsewhere, killed, on_another_host, request
from wanworker.errors import Interrupted, InvalidRequest, RequestIdReused, UnknownJob
from wanworker.jobs._owner import Owner
from wanworker.jobs.model import PROMPT_CHARS, Job, JobStatus
from wanworker.jobs.store.job_store import JobStore

ENDINGS = [JobStatus.ERROR, JobStatus.TIMEOUT, JobStatus.NO_OUTPUT, JobStatus.CANCELLED]


worker = on_another_host


def running(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "running").iterdir())


def test_a_new_id_starts_attempt_one_as_ours(tmp_path: Path) -> None:
    store = worker(tmp_path)
    claim = store.claim(request(runpod_id="rp-1", prompt="p" * 20_000, engine="mini", model="mini-wan", seed=7))

    assert claim.is_ours
    assert (
        claim.job.attempt,
        claim.job.status,
        claim.job.started_at,
        claim.job.created_at,
    ) == (1, JobStatus.RUNNING, Clock.now, Clock.now)
    assert (
        claim.job.runpod_id,
        claim.job.engine,
        claim.job.model,
        claim.job.seed,
        len(claim.job.prompt),
    ) == ("rp-1", "mini", "mini-wan", 7, PROMPT_CHARS)
    assert store.find("job-1") == claim.job
    assert running(tmp_path) == ["job-1.1"]


def test_a_queued_job_starts_later(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock=clock)
    queued = store.claim(request(), queued=True).job
    clock.now += 5
    started = store.update(queued, status=JobStatus.RUNNING)

    assert (queued.status, queued.started_at) == (JobStatus.QUEUED, None)
    assert queued.heartbeat_at == Clock.now + 24 * 3600, "workers of before there were marks judge by it alone"
    assert (started.status, started.started_at, started.created_at) == (JobStatus.RUNNING, clock.now, Clock.now)


def test_a_live_attempt_is_the_other_workers(tmp_path: Path) -> None:
    first = worker(tmp_path).claim(request())
    second = worker(tmp_path).claim(request())

    assert not second.is_ours
    assert second.job == first.job


def test_a_completed_job_is_answered_from_the_store(tmp_path: Path) -> None:
    store = worker(tmp_path)
    completed = store.update(store.claim(request()).job, status=JobStatus.COMPLETED)
    second = worker(tmp_path).claim(request())

    assert not second.is_ours
    assert second.job == completed
    assert running(tmp_path) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_attempt_without_a_result_is_followed_by_the_next(tmp_path: Path, ending: JobStatus) -> None:
    clock = Clock()
    first = worker(tmp_path).update(worker(tmp_path).claim(request()).job, status=ending)
    clock.now += 9
    second = worker(tmp_path, clock=clock).claim(request(runpod_id="rp-2"))

    assert second.is_ours
    assert (
        second.job.attempt,
        second.job.status,
        second.job.error,
        second.job.completed_at,
    ) == (2, JobStatus.RUNNING, None, None)
    assert (second.job.created_at, second.job.started_at) == (first.created_at, clock.now)
    assert worker(tmp_path).recent().total == 1


def test_an_interrupted_job_is_rendered_again_and_the_first_attempt_is_refused(tmp_path: Path) -> None:
    clock = Clock()
    first_worker, second_worker = worker(tmp_path), worker(tmp_path, clock=clock)
    first = first_worker.claim(request()).job
    second_worker.find("job-1")
    clock.now += 31
    second = second_worker.claim(request())

    assert (second.is_ours, second.job.attempt) == (True, 2)
    with pytest.raises(Interrupted, match="Attempt 1 of job job-1 was given up: attempt 2 has taken its place"):
        first_worker.update(first, status=JobStatus.COMPLETED)
    with pytest.raises(Interrupted):
        first_worker.heartbeat(first)
    assert second_worker.find("job-1") == second.job
    assert running(tmp_path) == ["job-1.2"]


@pytest.mark.parametrize("ending", [None, JobStatus.COMPLETED, *ENDINGS])
def test_another_request_under_a_used_id_is_refused_whatever_became_of_it(
    tmp_path: Path, ending: JobStatus | None
) -> None:
    store = worker(tmp_path)
    job = store.claim(request()).job
    if ending is not None:
        store.update(job, status=ending)

    with pytest.raises(RequestIdReused, match="'job-1' already names a different request"):
        store.claim(request(spec_hash="spec-b", runpod_id="rp-2"))

    with pytest.raises(UnknownJob):
        store.find("rp-2")


def test_every_runpod_id_of_a_request_finds_it(tmp_path: Path) -> None:
    store = worker(tmp_path)
    completed = store.update(store.claim(request(runpod_id="rp-1")).job, status=JobStatus.COMPLETED)
    store.claim(request(runpod_id="rp-2"))

    assert [store.find(any_id) for any_id in ("job-1", "rp-1", "rp-2")] == [completed] * 3


@pytest.mark.parametrize("bad", ["../x", "", "a/b", "x" * 65])
def test_a_bad_request_id_never_touches_the_disk(tmp_path: Path, bad: str) -> None:
    store = worker(tmp_path / "jobs")

    with pytest.raises(InvalidRequest):
        store.claim(request(bad))

    assert list(tmp_path.iterdir()) == []


def test_every_attempt_asks_anew_who_we_are(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    first = store.claim(request("job-1")).job
    second = store.claim(request("job-2")).job

    assert first.owner.pid == second.owner.pid
    assert first.owner.token != second.owner.token


def test_a_worker_that_died_between_mark_and_record_holds_nobody_up_for_ever(tmp_path: Path) -> None:
    pauses: list[float] = []
    (tmp_path / "running").mkdir()
    (tmp_path / "running/job-1.1").touch()
    claim = worker(tmp_path, pause=pauses.append).claim(request())

    assert (claim.is_ours, claim.job.attempt) == (True, 2)
    assert sum(pauses) == pytest.approx(5.0, abs=0.03)
    assert running(tmp_path) == ["job-1.2"]


@pytest.mark.parametrize(("owner", "waited_s"), [(killed, 0.0), (elsewhere, 60.0), (Owner.of_this_process, 60.0)])
def test_a_worker_named_by_its_mark_is_passed_over_once_it_has_died_or_after_a_minute(
    tmp_path: Path, owner: Callable[[], Owner], waited_s: float
) -> None:
    pauses: list[float] = []
    (tmp_path / "running").mkdir()
    (tmp_path / "running/job-1.1").write_bytes(owner().to_json())
    claim = worker(tmp_path, pause=pauses.append).claim(request())

    assert (claim.is_ours, claim.job.attempt) == (True, 2)
    assert sum(pauses) == pytest.approx(waited_s, abs=0.03)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_slow_worker_that_was_taken_for_dead_gives_way_to_the_next_attempt(tmp_path: Path, is_new: bool) -> None:
    """The other one has made its mark, and its record is not there yet: both would find the old record unchanged."""
    if not is_new:
        old = worker(tmp_path)
        old.update(old.claim(request()).job, status=JobStatus.ERROR)
    attempt = 1 if is_new else 2
    pauses: list[float] = []

    def slowly() -> Owner:
        (tmp_path / "running").mkdir(exist_ok=True)
        (tmp_path / f"running/job-1.{attempt + 1}").touch()
        return elsewhere()

    claim = worker(tmp_path, owner=slowly, pause=pauses.append).claim(request())

    assert (claim.is_ours, claim.job.attempt) == (True, attempt + 2), "that one died too, after its mark"
    assert len(pauses) >= 250


@pytest.mark.parametrize(
    ("mark", "slow_s"),
    [(b"", 0.0), (b"", 4.0), (elsewhere().to_json(), 50.0), (Owner.of_this_process().to_json(), 50.0)],
)
def test_a_record_that_shows_up_after_its_mark_is_waited_for(tmp_path: Path, mark: bytes, slow_s: float) -> None:
    """The mark of a worker on a slow disk is there and its record is not; the loser sees the record on a later look."""
    claims: list[Job] = []
    path = tmp_path / "running/job-1.1"
    path.parent.mkdir()
    path.write_bytes(mark)
    pauses: list[float] = []

    def pause(pause_s: float) -> None:
        pauses.append(pause_s)
        if sum(pauses) > slow_s and not claims:
            path.unlink()
            claims.append(worker(tmp_path).claim(request()).job)

    claim = worker(tmp_path, pause=pause).claim(request())

    assert not claim.is_ours
    assert claims == [claim.job]


def test_a_mark_that_came_free_again_is_not_taken_for_an_unclaimed_attempt(tmp_path: Path) -> None:
    """Between our first look and our mark another worker claims the job, completes it and takes its mark away."""

    def slowly() -> Owner:
        other = worker(tmp_path)
        other.update(other.claim(request()).job, status=JobStatus.COMPLETED)
        return elsewhere()

    claim = worker(tmp_path, owner=slowly, pause=lambda _: None).claim(request())

    assert (claim.is_ours, claim.job.status, claim.job.attempt) == (False, JobStatus.COMPLETED, 1)
    assert running(tmp_path) == []
    assert worker(tmp_path).recent().total == 1


def test_of_eight_processes_that_claim_at_once_exactly_one_gets_each_job(tmp_path: Path) -> None:
    ids = [f"job-{number}" for number in range(25)]
    with claimants(tmp_path, ids, 8) as processes:
        for process in processes:
            process.go()
        answers = [process.claims() for process in processes]

        winners = Counter(position for claims in answers for position, (_, is_ours) in enumerate(claims) if is_ours)
        listed = JobStore(tmp_path).recent(100)

    assert winners == dict.fromkeys(range(25), 1)
    assert {attempt for claims in answers for attempt, _ in claims} == {1}
    assert (listed.total, sorted(job.request_id for job in listed.jobs)) == (25, sorted(ids))


def test_of_eight_processes_that_find_a_job_interrupted_exactly_one_renders_it_again(tmp_path: Path) -> None:
    ids = [f"job-{number}" for number in range(25)]
    gone = worker(tmp_path, owner=killed)
    for request_id in ids:
        gone.claim(request(request_id))
    with claimants(tmp_path, ids, 8) as processes:
        for process in processes:
            process.go()
        answers = [process.claims() for process in processes]

    winners = Counter(position for claims in answers for position, (_, is_ours) in enumerate(claims) if is_ours)

    assert winners == dict.fromkeys(range(25), 1)
    assert {attempt for claims in answers for attempt, _ in claims} == {2}
