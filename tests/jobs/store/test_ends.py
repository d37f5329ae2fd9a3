"""An end that the disk does not take is told at once by its own process, and written when that is possible."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fakes.other_workers import Beats, Clock, on_another_host, request
from fakes.volumes import CALLS, Refusals, Volume
from wanworker.errors import DiskFull, Interrupted, UnknownJob
from wanworker.jobs.model import JobError, JobStatus

ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS]
FAILED = JobError("ENGINE_FAILED", "It failed.", "See the log.")


@pytest.fixture
def volume() -> Refusals:
    return Refusals()


@pytest.mark.parametrize("error_number", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_the_end_is_known_here_at_once_and_everywhere_later(
    tmp_path: Path, volume: Refusals, call: str, error_number: int
) -> None:
    beats = Beats()
    store = on_another_host(tmp_path, files=Volume(volume), in_background=beats)
    elsewhere = on_another_host(tmp_path)
    job = store.claim(request(runpod_id="rp-1")).job
    volume.refuse(error_number, call)

    ended = store.update(job, status=JobStatus.COMPLETED, warnings=("w",))
    told = [store.find("job-1"), store.find("rp-1"), *store.recent().jobs]
    volume.refuse(0)
    beats.beat()

    assert (ended.status, ended.warnings, ended.completed_at) == (JobStatus.COMPLETED, ("w",), told[0].completed_at)
    assert told == [ended] * 3
    assert elsewhere.find("job-1") == ended
    # What cannot be unmarked while the disk is read-only goes at the next start.
    assert [path.name for path in (tmp_path / "running").iterdir()] == (["job-1.1"] if call == "unlink" else [])
    assert not beats.beat()


@pytest.mark.parametrize("error_number", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_a_claim_that_the_disk_refuses_leaves_the_id_free(
    tmp_path: Path, volume: Refusals, call: str, error_number: int
) -> None:
    clock = Clock()
    store = on_another_host(tmp_path, clock, files=Volume(volume), pause=lambda _s: None)
    volume.refuse(error_number, call)
    try:
        store.claim(request())
        was_refused = False
    except DiskFull:
        was_refused = True
    volume.refuse(0)
    clock.now += 1

    # What cannot be removed while the disk is read-only is not needed for a claim.
    assert was_refused is (call != "unlink")
    assert store.claim(request()).is_ours is was_refused
    assert [job.request_id for job in store.recent().jobs] == ["job-1"]


def test_an_end_that_waits_does_not_stop_the_next_attempt(tmp_path: Path, volume: Refusals) -> None:
    store = on_another_host(tmp_path, files=Volume(volume))
    volume_was_full = store.claim(request()).job
    volume.refuse(errno.ENOSPC, "write")
    store.update(volume_was_full, status=JobStatus.ERROR, error=FAILED)
    with pytest.raises(DiskFull):
        store.claim(request())
    volume.refuse(0)

    again = store.claim(request())

    assert (again.is_ours, again.job.attempt) == (True, 2)
    assert store.find("job-1") == again.job


def test_an_end_that_waits_may_be_amended_and_a_late_beat_changes_nothing(tmp_path: Path, volume: Refusals) -> None:
    beats = Beats()
    store = on_another_host(tmp_path, files=Volume(volume), in_background=beats)
    job = store.claim(request()).job
    volume.refuse(errno.ENOSPC, "write")
    ended = store.update(job, status=JobStatus.COMPLETED)

    assert store.heartbeat(job, {"progress": 1.0}) == ended
    amended = store.update(ended, delivery={"how": "none"})
    volume.refuse(0)
    beats.beat()

    assert on_another_host(tmp_path).find("job-1") == amended
    assert amended.delivery == {"how": "none"}


def test_progress_that_the_disk_does_not_take_is_told_to_the_writer(tmp_path: Path, volume: Refusals) -> None:
    store = on_another_host(tmp_path, files=Volume(volume))
    job = store.claim(request(), queued=True).job
    volume.refuse(errno.ENOSPC, "write")

    with pytest.raises(DiskFull):
        store.heartbeat(job)
    with pytest.raises(DiskFull):
        store.update(job, status=JobStatus.RUNNING)


def test_an_end_that_waits_gives_way_to_a_deletion_and_to_another_attempt(tmp_path: Path, volume: Refusals) -> None:
    beats = Beats()
    store, other = on_another_host(tmp_path, files=Volume(volume), in_background=beats), on_another_host(tmp_path)
    jobs = [store.claim(request(name)).job for name in ("deleted", "again")]
    volume.refuse(errno.EROFS, "write")
    for job in jobs:
        store.update(job, status=JobStatus.COMPLETED)
    for name in ("deleted", "again"):
        other.delete(name)
    second = other.claim(request("again")).job
    volume.refuse(0)
    beats.beat()

    with pytest.raises(UnknownJob):
        store.find("deleted")
    assert store.find("again") == second
    with pytest.raises(Interrupted):
        store.update(jobs[1], status=JobStatus.COMPLETED)


def test_a_job_is_deleted_though_the_index_cannot_be_told(
    tmp_path: Path, volume: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    """Deleting is what frees a full disk."""
    store = on_another_host(tmp_path, files=Volume(volume))
    store.claim(request())
    volume.refuse(errno.ENOSPC, "append", "write", "make")

    store.delete("job-1")

    with pytest.raises(UnknownJob):
        store.find("job-1")
    assert store.recent().jobs == ()
    assert caplog.messages[-1].startswith("the index still lists job job-1, which was deleted: No space left")


def test_an_end_that_waits_has_what_was_recorded_before_and_its_process_shows_that_it_lives(
    tmp_path: Path, volume: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    beats = Beats()
    store = on_another_host(tmp_path, files=Volume(volume), in_background=beats)
    job = store.claim(request()).job
    store.update(job, warnings=("w",))
    volume.refuse(errno.ENOSPC, "write")

    ended = store.update(job, status=JobStatus.COMPLETED)

    assert (ended.status, ended.warnings, store.find("job-1")) == (JobStatus.COMPLETED, ("w",), ended)
    assert caplog.messages[0].startswith("the end of job job-1 (COMPLETED) is kept in memory: No space left")
    assert beats.beat()
    assert beats.beat()


def test_an_end_is_kept_though_the_volume_cannot_even_be_read(tmp_path: Path) -> None:
    clock, beats = Clock(), Beats()
    root, away = tmp_path / "jobs", tmp_path / "away"
    store = on_another_host(root, clock, in_background=beats)
    job = store.claim(request()).job
    clock.now += 7
    root.rename(away)
    root.write_text("in the way")

    ended = store.update(job, status=JobStatus.ERROR, error=FAILED)
    root.unlink()
    away.rename(root)
    beats.beat()

    assert (ended.status, ended.error, ended.completed_at) == (JobStatus.ERROR, FAILED, clock.now)
    assert on_another_host(root).find("job-1") == ended
