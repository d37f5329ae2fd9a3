from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from fakes.other_workers import Clock, elsewhere, killed
from fakes.volumes import CALLS, Refusals, Volume
from wanworker.jobs._owner import Owner
from wanworker.jobs.model import Job, JobStatus
from wanworker.jobs.store._pulse import Observer
from wanworker.jobs.store._records import Records
from wanworker.jobs.store.disk import LEFTOVER_AFTER_S, Disk
from wanworker.jobs.store.file_calls import FileCalls


def records(root: Path, clock: Clock | None = None, files: FileCalls | None = None) -> Records:
    clock = clock or Clock()
    disk = Disk(root, files=files)
    return Records(disk, Observer(disk, dead_after_s=30.0, elapsed=clock), clock=clock)


def job(request_id: str = "job-1", at: float = Clock.now) -> Job:
    return Job(request_id, "generate", "spec-a", 1, elsewhere(), JobStatus.RUNNING, at, at)


def place(root: Path, any_id: str, ending: str) -> Path:
    return root / hashlib.sha256(any_id.encode()).hexdigest()[:2] / f"{any_id}.{ending}"


def test_a_record_lies_where_the_layout_says(tmp_path: Path) -> None:
    assert records(tmp_path).swap(None, job())

    assert json.loads(place(tmp_path, "job-1", "json").read_bytes())["request_id"] == job().request_id


def test_a_writer_that_saw_an_older_record_is_refused(tmp_path: Path) -> None:
    one, other = job(), dataclasses.replace(job(), attempt=2)

    assert records(tmp_path).swap(None, one)
    assert not records(tmp_path).swap(None, other)
    assert records(tmp_path).swap(one, other)
    assert not records(tmp_path).swap(one, one)
    assert records(tmp_path).read("job-1") == other


@pytest.mark.parametrize("data", [b"", b'{"request_id":"job-1"', b"\0" * 4096])
def test_a_damaged_record_counts_as_none_and_is_logged(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    records(tmp_path).swap(None, job())
    place(tmp_path, "job-1", "json").write_bytes(data)

    assert records(tmp_path).read("job-1") is None
    assert caplog.messages[0].startswith("the record of job job-1 is ignored: No record of a job: ")
    assert records(tmp_path).swap(None, job())


def test_a_half_written_file_beside_a_record_is_nothing(tmp_path: Path) -> None:
    records(tmp_path).swap(None, job())
    path = place(tmp_path, "job-1", "json")
    path.with_name(f"{path.name}.0123456789abcdef.tmp").write_bytes(b'{"request_id"')

    assert getattr(records(tmp_path).read("job-1"), "request_id", None) == "job-1"


def test_an_alias_stands_for_a_request_id_until_the_job_goes(tmp_path: Path) -> None:
    kept = dataclasses.replace(job(), runpod_id="sync-7-u1")
    records(tmp_path).swap(None, kept)
    records(tmp_path).alias("sync-7-u1", "job-1")
    assert records(tmp_path).aliased("sync-7-u1") == "job-1"

    assert records(tmp_path).remove(kept)

    assert records(tmp_path).aliased("sync-7-u1") is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_alias_that_meanwhile_stands_for_another_job_stays(tmp_path: Path) -> None:
    kept = dataclasses.replace(job(), runpod_id="local_test")
    records(tmp_path).swap(None, kept)
    records(tmp_path).alias("local_test", "job-1")
    records(tmp_path).alias("local_test", "job-2")
    records(tmp_path).remove(kept)

    assert records(tmp_path).aliased("local_test") == "job-2"


@pytest.mark.parametrize("text", [b"", b"../../../etc/passwd", b"\xff"])
def test_a_damaged_alias_stands_for_nothing(tmp_path: Path, text: bytes) -> None:
    records(tmp_path).alias("sync-7-u1", "job-1")
    place(tmp_path, "sync-7-u1", "alias").write_bytes(text)

    assert records(tmp_path).aliased("sync-7-u1") is None


def test_a_runpod_id_that_is_no_file_name_makes_no_alias(tmp_path: Path) -> None:
    records(tmp_path).alias("../../x", "job-1")

    assert list(tmp_path.iterdir()) == []
    assert records(tmp_path).aliased("../../x") is None


def test_an_id_with_dots_reads_no_alias_outside(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    outside = place(root, "../../x", "alias")
    outside.parents[2].mkdir(parents=True)
    outside.write_text("job-1")

    assert records(root).aliased("../../x") is None


def test_marks_tell_what_runs_and_strange_files_do_not(tmp_path: Path) -> None:
    second = dataclasses.replace(job(), attempt=2)

    assert records(tmp_path).marked("job-1", 2) is None
    assert records(tmp_path).mark(second)
    assert not records(tmp_path).mark(dataclasses.replace(second, owner=elsewhere()))
    assert Owner.named_in(records(tmp_path).marked("job-1", 2)) == second.owner
    for name in ("x", "x.y", ".DS_Store", "a b.1", "job-2.\u0661"):
        (tmp_path / "running" / name).touch()

    assert list(records(tmp_path).marks()) == [("job-1", 2)]


def test_a_heartbeat_counts_for_thirty_seconds(tmp_path: Path) -> None:
    clock = Clock()
    looks = records(tmp_path, clock)
    looks.swap(None, job())
    looks.current("job-1")
    clock.now += 30.0
    assert getattr(looks.current("job-1"), "status", None) is JobStatus.RUNNING

    clock.now += 0.5
    interrupted = looks.current("job-1")

    assert interrupted is not None
    assert interrupted.was_interrupted
    assert records(tmp_path).read("job-1") == interrupted


def test_a_dead_job_is_called_dead_though_the_disk_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, volume = Clock(), Refusals()
    records(tmp_path).swap(None, job())
    volume.refuse(errno.ENOSPC, *CALLS)
    full = records(tmp_path, clock, Volume(volume))
    full.current("job-1")
    clock.now += 31.0

    interrupted = full.current("job-1")

    assert interrupted is not None
    assert interrupted.was_interrupted
    assert caplog.messages[0].startswith(
        "job job-1 was interrupted, and that could not be recorded: No space left for the job records in "
    )


def test_an_owner_that_finishes_while_it_is_given_up_wins(tmp_path: Path) -> None:
    clock = Clock()
    records(tmp_path).swap(None, job())
    stored = records(tmp_path).read("job-1")
    assert stored is not None
    finished = stored.changed(clock(), status=JobStatus.COMPLETED)

    def finish(call: str) -> None:
        if call == "write":
            records(tmp_path).swap(stored, finished)

    late = records(tmp_path, clock, Volume(finish))
    late.current("job-1")
    clock.now += 31.0

    assert late.current("job-1") == finished
    assert records(tmp_path).read("job-1") == finished


def test_what_was_left_half_done_goes_when_it_is_old_and_a_claim_on_its_way_stays(tmp_path: Path) -> None:
    kept = records(tmp_path)
    kept.swap(None, job("with-record"))
    for request_id in ("with-record", "left", "on-its-way"):
        kept.mark(job(request_id))
    for attempt in (2, 3):
        kept.mark(dataclasses.replace(job("with-record"), attempt=attempt))
    unfinished, locks = tmp_path / "unfinished", tmp_path / "locks"
    locks.mkdir()
    for name in ("old", "young"):
        (unfinished / name).touch()
        (locks / name).write_bytes(killed().to_json())
    for path in (
        tmp_path / "running" / "left.1",
        tmp_path / "running" / "with-record.1",
        tmp_path / "running" / "with-record.2",
        unfinished / "old",
        locks / "old",
    ):
        at = path.stat().st_mtime - LEFTOVER_AFTER_S - 1
        os.utime(path, (at, at))

    kept.remove_leftovers()

    assert {("with-record", 1), ("with-record", 3), ("on-its-way", 1)} == set(kept.marks())
    assert ["young"] == [path.name for path in unfinished.iterdir()]
    assert ["young"] == [path.name for path in locks.iterdir()]


def ended(request_id: str = "job-1") -> tuple[Job, Job]:
    """Return a running job and its end."""
    running = job(request_id)
    return running, running.changed(Clock.now, status=JobStatus.COMPLETED)


def test_an_end_that_was_written_is_kept_no_longer(tmp_path: Path) -> None:
    kept, (running, end) = records(tmp_path), ended()
    kept.swap(None, running)
    kept.mark(job())
    kept.keep_end(end)

    assert kept.write_ends() == [end]
    assert kept.write_ends() == []
    assert (kept.read("job-1"), list(kept.marks())) == (end, [])


def test_the_end_of_a_job_that_is_removed_is_kept_no_longer(tmp_path: Path) -> None:
    kept, (running, end) = records(tmp_path), ended()
    kept.swap(None, running)
    kept.keep_end(end)
    kept.remove(running)

    assert kept.write_ends() == []


def test_an_end_is_written_though_another_thread_writes_progress_meanwhile(tmp_path: Path) -> None:
    running, end = ended()
    records(tmp_path).swap(None, running)
    later = running.changed(Clock.now + 5, progress={"progress": 7.0})

    def beat(call: str) -> None:
        if call == "write":
            records(tmp_path).swap(running, later)

    kept = records(tmp_path, files=Volume(beat))
    kept.keep_end(end)

    assert kept.write_ends() == [end]
    assert records(tmp_path).read("job-1") == end


def test_an_end_that_still_waits_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volume, (running, end) = Refusals(), ended()
    records(tmp_path).swap(None, running)
    volume.refuse(errno.ENOSPC, "write")
    kept = records(tmp_path, files=Volume(volume))
    kept.keep_end(end)

    assert kept.write_ends() == []
    assert caplog.messages[0].startswith(
        "the end of job job-1 (COMPLETED) is still not recorded: No space left for the job records in "
    )


def test_a_mark_that_cannot_be_removed_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volume = Refusals()
    volume.refuse(errno.EROFS, "unlink")

    records(tmp_path, files=Volume(volume)).unmark("job-1", 1)

    assert caplog.messages[0].startswith("the mark of job job-1 could not be removed: Cannot write the job records in ")
