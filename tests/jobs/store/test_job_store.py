from __future__ import annotations

import errno
import hashlib
import runpy
import threading
from pathlib import Path

import pytest

from fakes.other_workers import Clock, claimants, elsewhere, on_another_host, request
from fakes.volumes import Refusals, Volume
from wanworker.errors import DiskFull, EngineUnavailable, Interrupted, InvalidRequest, UnknownJob
from wanworker.jobs.model import Job, JobError, JobStatus, Output
from wanworker.jobs.store.job_store import PAGE_LIMIT, JobStore

OUTPUT = Output("/out/job-1.mp4", "video", "video/mp4", 7, "ab", 64, 48, 16.0, 17, 1.06, "h264")
BENCH = Path(__file__).parents[3] / "bench" / "store.py"


worker = on_another_host


def fill(store: JobStore, clock: Clock, count: int) -> list[str]:
    """Make *count* COMPLETED jobs, some hours apart, and return their ids, newest first."""
    ids = [f"job-{number}" for number in range(count)]
    for request_id in ids:
        clock.now += 5 * 3600
        store.update(store.claim(request(request_id)).job, status=JobStatus.COMPLETED)
    return ids[::-1]


def test_a_second_worker_sees_a_job_from_its_first_moment_to_its_last(tmp_path: Path) -> None:
    clock = Clock()
    renders, looks = worker(tmp_path, clock), worker(tmp_path, clock)
    job = renders.claim(request(runpod_id="rp-1")).job
    seen = [looks.find("rp-1")]
    clock.now += 5
    renders.heartbeat(job, {"progress": 42.0, "stage": "sampling", "step": 4, "steps": 10, "eta_s": 9.0})
    seen.append(looks.find("job-1"))
    clock.now += 5
    renders.update(job, status=JobStatus.COMPLETED, outputs=(OUTPUT,), warnings=("w",), seed=3, timings={"a": 1.0})
    seen.append(looks.find("rp-1"))

    assert [look.status.value for look in seen] == ["RUNNING", "RUNNING", "COMPLETED"]
    assert [look.progress["progress"] for look in seen[:2]] == [0.0, 42.0]
    assert (
        seen[2].completed_at,
        seen[2].outputs,
        seen[2].warnings,
        seen[2].seed,
        seen[2].timings,
    ) == (clock.now, (OUTPUT,), ("w",), 3, {"a": 1.0})


@pytest.mark.parametrize("any_id", ["nobody", "../x", "", "x" * 65, "a/b", "\ud800"])
def test_an_unknown_id_is_unknown_and_nothing_is_made(tmp_path: Path, any_id: str) -> None:
    with pytest.raises(UnknownJob, match="is known here"):
        worker(tmp_path / "jobs").find(any_id)

    assert list(tmp_path.iterdir()) == []


def test_an_id_with_dots_reads_no_file_outside(tmp_path: Path) -> None:
    store = worker(tmp_path / "jobs")
    job = store.claim(request("x")).job
    (tmp_path / "x.json").write_bytes(job.to_json())
    folder = hashlib.sha256(b"../../x").hexdigest()[:2]
    (tmp_path / "jobs" / folder).mkdir(exist_ok=True)

    for ask in (store.find, store.delete):
        with pytest.raises(UnknownJob):
            ask("../../x")
    assert (tmp_path / "x.json").exists()


def test_an_unknown_id_is_quoted_up_to_its_eightieth_character(tmp_path: Path) -> None:
    store = worker(tmp_path)

    for ask in (store.find, store.delete):
        with pytest.raises(UnknownJob, match=f"^No job '{'x' * 80}' is known here.$"):
            ask("x" * 100)


def test_the_job_of_a_killed_process_is_interrupted_at_once_on_its_host(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    with claimants(tmp_path, ["job-1"], 1) as [process]:
        process.go()
        assert process.claims() == [(1, True)]
        assert store.find("job-1").status is JobStatus.RUNNING

        process.kill()
        found = store.find("job-1")

    assert (found.status, found.error and found.error.code) == (JobStatus.ERROR, "INTERRUPTED")
    assert store.find("job-1") == found
    assert (store.claim(request()).is_ours, store.find("job-1").attempt) == (True, 2)


def test_a_restarted_door_marks_its_own_dead_jobs_at_once(tmp_path: Path) -> None:
    with claimants(tmp_path, ["job-1", "job-2"], 1) as [process]:
        process.go()
        process.claims()
        process.kill()
    JobStore(tmp_path, owner=elsewhere).claim(request("job-3"))
    restarted = JobStore(tmp_path)

    died = restarted.recover()

    assert sorted(job.request_id for job in died) == ["job-1", "job-2"]
    assert [job.error.code for job in died if job.error] == ["INTERRUPTED", "INTERRUPTED"]
    assert {path.name for path in (tmp_path / "running").iterdir()} == {"job-3.1"}
    assert restarted.recover() == []
    assert restarted.find("job-1").status is JobStatus.ERROR


def test_a_start_takes_marks_away_that_a_crash_left_behind(tmp_path: Path) -> None:
    """A worker may die between the last write of a record and the removal of its mark."""
    store = worker(tmp_path)
    store.update(store.claim(request()).job, status=JobStatus.COMPLETED)
    (tmp_path / "running/job-1.1").touch()
    claimed = {f"claimed-just-now-{number}.1" for number in range(20)}
    for name in claimed:
        (tmp_path / "running" / name).touch()

    assert store.recover() == []
    assert {path.name for path in (tmp_path / "running").iterdir()} == claimed


def test_the_job_of_a_worker_elsewhere_is_interrupted_after_thirty_seconds(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    store.claim(request())
    store.find("job-1")
    clock.now += 30
    assert store.find("job-1").status is JobStatus.RUNNING

    clock.now += 1
    found = store.find("job-1")

    assert (found.status, found.completed_at) == (JobStatus.ERROR, clock.now)
    assert found.error is not None
    assert (
        found.error.code,
        found.error.text,
    ) == ("INTERRUPTED", "interrupted: the worker that rendered it ended before the job did.")
    assert list((tmp_path / "running").iterdir()) == []


def test_a_heartbeat_keeps_a_job_alive(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    job = store.claim(request()).job
    looks = worker(tmp_path, clock)
    for _ in range(20):
        clock.now += 25
        job = store.heartbeat(job)
        assert looks.find("job-1").status is JobStatus.RUNNING


def test_a_heartbeat_without_progress_keeps_the_last_one(tmp_path: Path) -> None:
    store = worker(tmp_path)
    job = store.claim(request()).job
    store.heartbeat(job, {"progress": 42.0, "stage": "sampling"})
    store.heartbeat(job)

    assert store.find("job-1").progress == {"progress": 42.0, "stage": "sampling"}


def test_a_heartbeat_after_the_end_changes_nothing(tmp_path: Path) -> None:
    store = worker(tmp_path)
    job = store.claim(request()).job
    completed = store.update(job, status=JobStatus.COMPLETED)

    assert store.heartbeat(job, {"progress": 42.0}) == completed
    assert store.find("job-1") == completed


def test_a_worker_that_was_given_up_learns_it_at_its_next_write(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    job = store.claim(request()).job
    other = worker(tmp_path, clock)
    other.find("job-1")
    clock.now += 31
    interrupted = other.find("job-1")

    with pytest.raises(Interrupted, match="it had sent no heartbeat for 30 s"):
        store.heartbeat(job)
    with pytest.raises(Interrupted, match="Attempt 1 of job job-1 was given up"):
        store.update(job, status=JobStatus.COMPLETED)
    assert store.find("job-1") == interrupted


def test_an_attempt_of_the_same_number_by_another_owner_is_refused(tmp_path: Path) -> None:
    store = worker(tmp_path)
    job = store.claim(request()).job
    store.delete("job-1")
    again = store.claim(request()).job

    with pytest.raises(Interrupted):
        store.update(job, status=JobStatus.COMPLETED)
    assert store.find("job-1") == again


def test_an_ended_job_cannot_run_on(tmp_path: Path) -> None:
    store = worker(tmp_path)
    job = store.update(store.claim(request()).job, status=JobStatus.COMPLETED)

    with pytest.raises(ValueError, match="is COMPLETED and cannot become RUNNING"):
        store.update(job, status=JobStatus.RUNNING)


def test_an_ended_job_may_still_be_amended(tmp_path: Path) -> None:
    store = worker(tmp_path)
    error = JobError("ENGINE_FAILED", "It failed.", "See the log.")
    store.update(store.claim(request()).job, status=JobStatus.ERROR, error=error)
    store.update(store.find("job-1"), delivery={"how": "none"})

    assert (store.find("job-1").error, store.find("job-1").delivery) == (error, {"how": "none"})


def test_writes_of_two_threads_are_both_kept(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    job = store.claim(request()).job
    beating = threading.Thread(target=lambda: [store.heartbeat(job, {"progress": n}) for n in range(100)])
    beating.start()
    for number in range(100):
        store.update(job, warnings=(str(number),))
    beating.join()

    assert (store.find("job-1").warnings, store.find("job-1").progress) == (("99",), {"progress": 99})


def test_pages_follow_one_another_while_new_jobs_come(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    ids = fill(store, clock, 23)
    seen: list[str] = []
    totals: list[int] = []
    cursor = None
    for number in range(5):
        page = store.recent(5, cursor)
        seen += [job.request_id for job in page.jobs]
        totals.append(page.total)
        cursor = page.next_cursor
        store.claim(request(f"new-{number}"))

    assert seen == ids
    assert totals == [23, 24, 25, 26, 27]
    assert cursor is None


def test_the_last_page_has_no_cursor_even_when_it_is_full(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    fill(store, clock, 4)

    assert store.recent(4).next_cursor is None
    assert store.recent(3).next_cursor is not None


def test_a_page_has_fifty_jobs_unless_another_number_is_asked_for(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    ids = fill(store, clock, 52)

    assert [job.request_id for job in store.recent().jobs] == ids[:50]
    assert [job.request_id for job in store.recent(1).jobs] == ids[:1]
    assert len(store.recent(PAGE_LIMIT).jobs) == 52


def test_the_waiting_jobs_that_another_process_deleted_or_took_are_lost(tmp_path: Path) -> None:
    store, other = worker(tmp_path), worker(tmp_path)
    waiting = {name: store.claim(request(name), queued=True).job for name in ("kept", "unmarked", "deleted", "again")}
    (tmp_path / "running/unmarked.1").unlink()
    for name in ("deleted", "again"):
        other.delete(name)
    other.update(other.claim(request("again")).job, status=JobStatus.COMPLETED)

    assert store.lost(waiting.values()) == [waiting["deleted"], waiting["again"]]


def test_a_listing_tells_though_what_is_on_its_way_cannot_be_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, other = worker(tmp_path), worker(tmp_path)
    kept = store.claim(request("kept")).job
    for number in range(20):
        store.claim(request(f"gone-{number}"))
        other.delete(f"gone-{number}")
    (tmp_path / "running").rename(tmp_path / "away")
    (tmp_path / "running").write_text("in the way")

    assert worker(tmp_path).recent().jobs == (kept,)
    assert caplog.messages[0].startswith("the index could not be compacted: The job records in ")


def test_an_empty_store_lists_nothing(tmp_path: Path) -> None:
    page = worker(tmp_path / "jobs").recent()

    assert (page.jobs, page.next_cursor, page.total) == ((), None, 0)
    assert worker(tmp_path / "jobs").recover() == []
    assert not (tmp_path / "jobs").exists()


def test_a_listing_shows_a_dead_job_as_interrupted(tmp_path: Path) -> None:
    clock = Clock()
    worker(tmp_path, clock).claim(request())
    looks = worker(tmp_path, clock)
    looks.recent()
    clock.now += 31

    assert [job.status for job in looks.recent().jobs] == [JobStatus.ERROR]


def test_damaged_records_and_torn_lines_do_not_break_a_listing(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    ids = fill(store, clock, 3)
    [record] = tmp_path.glob("*/job-1.json")
    record.write_bytes(b'{"request_id":')
    record.with_name("job-9.json.0123.tmp").write_bytes(b"half")
    newest = max((tmp_path / "index").iterdir())
    newest.write_bytes(newest.read_bytes() + b'\n{"created_at":17')

    assert [job.request_id for job in store.recent().jobs] == [ids[0], ids[2]]


@pytest.mark.parametrize("limit", [0, -1, PAGE_LIMIT + 1])
def test_a_limit_out_of_range_is_refused(tmp_path: Path, limit: int) -> None:
    with pytest.raises(InvalidRequest, match="limit must be between 1 and 1000") as caught:
        worker(tmp_path).recent(limit)

    assert caught.value.field == "limit"


def test_a_deleted_job_is_gone_from_everywhere(tmp_path: Path) -> None:
    store = worker(tmp_path)
    kept = store.claim(request("kept")).job
    job = store.claim(request(runpod_id="rp-1")).job
    store.delete("job-1")

    for any_id in ("job-1", "rp-1"):
        with pytest.raises(UnknownJob):
            store.find(any_id)
    assert (store.recent().jobs, store.recent().total) == ((kept,), 1)
    assert [path.name for path in (tmp_path / "running").iterdir()] == ["kept.1"]
    why = r"^Attempt 1 of job job-1 has no record any more: the job was deleted\.$"
    with pytest.raises(Interrupted, match=why):
        store.update(job, status=JobStatus.COMPLETED)


def test_a_job_is_deleted_once(tmp_path: Path) -> None:
    store = worker(tmp_path)
    store.claim(request())
    store.delete("job-1")

    for any_id in ("job-1", "../x"):
        with pytest.raises(UnknownJob):
            store.delete(any_id)
    assert store.recent().total == 0


def test_an_id_that_is_used_again_after_its_deletion_is_listed_once(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    store.claim(request())
    store.delete("job-1")
    clock.now += 1
    again = store.claim(request(spec_hash="spec-b")).job

    assert (store.recent().jobs, store.recent().total) == ((again,), 1)


def test_a_listing_passes_over_what_another_process_deleted_but_not_over_claims_on_their_way(tmp_path: Path) -> None:
    """Entries without a record are looked for once; that of a claim on its way has a mark."""
    clock = Clock()
    store, other = worker(tmp_path, clock), worker(tmp_path, clock)
    ids = fill(store, clock, 3)
    clock.now += 100
    for number in range(100):
        store.claim(request(f"gone-{number}"))
    late = store.claim(request("late")).job
    [record] = tmp_path.glob("*/late.json")
    hidden = record.rename(tmp_path / "late")
    for number in range(100):
        other.delete(f"gone-{number}")
    fresh = worker(tmp_path, clock)
    fresh.recent()
    hidden.rename(record)

    assert [job.request_id for job in fresh.recent().jobs] == [late.request_id, *ids]
    assert [entry.request_id for entry in fresh._index.listing()[1]] == [late.request_id, *ids]


def test_a_full_disk_refuses_a_claim_and_leaves_the_id_free(tmp_path: Path) -> None:
    volume = Refusals()
    volume.refuse(errno.ENOSPC, "write")
    with pytest.raises(DiskFull, match="No space left for the job records"):
        worker(tmp_path, files=Volume(volume)).claim(request())

    assert list((tmp_path / "running").iterdir()) == []
    assert (worker(tmp_path).claim(request()).is_ours, worker(tmp_path).find("job-1").attempt) == (True, 1)


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file in the way")
    store = worker(tmp_path / "jobs")

    for operation in (lambda: store.claim(request()), lambda: store.find("job-1"), store.recent, store.recover):
        with pytest.raises(EngineUnavailable, match="cannot be read or written"):
            operation()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_thousand_finished_jobs_slow_nothing_down(tmp_path: Path) -> None:
    table: dict[str, tuple[float, float]] = runpy.run_path(str(BENCH))["measure"](tmp_path, 100_000, 41)

    for name, (few_ms, many_ms) in table.items():
        assert many_ms <= 3 * few_ms + 0.5, name
        assert many_ms <= 50, name


def test_records_of_the_benchmark_are_those_of_the_store(tmp_path: Path) -> None:
    """The benchmark writes its 100,000 records past the store: they have to be what the store would have written."""
    runpy.run_path(str(BENCH))["fill"](tmp_path, 12)
    store = JobStore(tmp_path)
    page = store.recent(5)
    jobs: tuple[Job, ...] = page.jobs + store.recent(10, page.next_cursor).jobs

    assert [job.request_id for job in jobs] == [f"job-{number}" for number in reversed(range(12))]
    assert page.total == 12
    assert store.find("job-11") == jobs[0]


def test_a_record_that_arrives_during_a_listing_is_in_the_next_one(tmp_path: Path) -> None:
    clock = Clock()
    store, other = worker(tmp_path, clock), worker(tmp_path, clock)
    for number in range(20):
        store.claim(request(f"gone-{number}"))
        other.delete(f"gone-{number}")
    [late] = fill(store, clock, 1)
    [record] = tmp_path.glob(f"*/{late}.json")
    hidden = record.rename(tmp_path / "hidden")
    looks = 0

    def elapsed() -> float:
        nonlocal looks
        looks += 1
        if looks == 3:  # the first record costs two
            hidden.rename(record)
        return 0.0

    fresh = worker(tmp_path, clock, elapsed=elapsed)

    assert fresh.recent().jobs == ()
    assert [job.request_id for job in fresh.recent().jobs] == [late]


def test_a_job_that_is_deleted_while_a_door_starts_is_passed_over(tmp_path: Path) -> None:
    worker(tmp_path).claim(request())
    [record] = tmp_path.glob("*/job-1.json")

    def elapsed() -> float:
        record.unlink(missing_ok=True)
        return 0.0

    assert worker(tmp_path, elapsed=elapsed).recover() == []


def test_a_page_follows_a_job_in_either_order(tmp_path: Path) -> None:
    clock = Clock()
    store = worker(tmp_path, clock)
    newest = fill(store, clock, 5)

    def ids(limit: int, after: str | None, *, oldest_first: bool) -> tuple[list[str], bool]:
        page = store.after(limit, after, oldest_first=oldest_first)
        return [job.request_id for job in page.jobs], page.next_cursor is not None

    assert ids(2, None, oldest_first=False) == (newest[:2], True)
    assert ids(2, newest[1], oldest_first=False) == (newest[2:4], True)
    assert ids(2, newest[3], oldest_first=False) == (newest[4:], False)
    assert ids(3, None, oldest_first=True) == (newest[::-1][:3], True)
    assert ids(3, newest[2], oldest_first=True) == (newest[::-1][3:], False)
    with pytest.raises(UnknownJob):
        ids(1, "nobody", oldest_first=False)


def test_what_was_asked_stays_with_the_next_attempt(tmp_path: Path) -> None:
    store = worker(tmp_path)
    asked = {"model": "t2v-A14B", "size": "64x64", "seconds": "1"}
    job = store.claim(request(asked=asked)).job
    store.update(job, status=JobStatus.CANCELLED)

    assert asked == store.claim(request()).job.asked == store.find("job-1").asked
