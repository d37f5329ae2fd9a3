"""Whether an owner lives: its process tells on this host, its mark elsewhere. No clock, disk or queue kills."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.other_workers import Beats, Clock, elsewhere, killed, on_another_host, request
from fakes.volumes import Refusals, Volume
from wanworker.jobs._owner import Owner
from wanworker.jobs.model import Job, JobStatus
from wanworker.jobs.store._pulse import Observer, in_thread
from wanworker.jobs.store.disk import Disk
from wanworker.jobs.store.job_store import JobStore

HERE = Owner.of_this_process()


def is_dead_to_an_old_worker(job: Job, now: float) -> bool:
    """Judge as workers did before there were marks, of a process that they cannot see."""
    return now - job.heartbeat_at > 30.0


def statuses(store: JobStore, limit: int = 1000) -> set[JobStatus]:
    return {job.status for job in store.recent(limit).jobs}


def test_an_owner_that_lives_on_this_host_is_never_called_dead(tmp_path: Path) -> None:
    clock = Clock()
    looks = on_another_host(tmp_path, clock)
    on_another_host(tmp_path, owner=lambda: HERE).claim(request(), queued=True)
    for _ in range(3):
        clock.now += 3600
        assert looks.find("job-1").status is JobStatus.QUEUED


def test_a_process_that_was_killed_on_this_host_is_found_at_the_first_look(tmp_path: Path) -> None:
    on_another_host(tmp_path, owner=killed).claim(request(), queued=True)
    looks = on_another_host(tmp_path)

    assert [job.was_interrupted for job in looks.recover()] == [True]
    assert list((tmp_path / "owners").iterdir()) == []


def test_the_marks_that_killed_processes_left_without_a_job_go_at_the_next_start(tmp_path: Path) -> None:
    gone = on_another_host(tmp_path, owner=killed)
    gone.update(gone.claim(request()).job, status=JobStatus.COMPLETED)
    assert len(list((tmp_path / "owners").iterdir())) == 1
    (tmp_path / "owners/half-written").write_bytes(b'{"beat": "0')
    on_another_host(tmp_path, owner=lambda: HERE).claim(request("lives"))
    on_another_host(tmp_path).claim(request("elsewhere"))

    JobStore(tmp_path).recover()

    left = {path.name for path in (tmp_path / "owners").iterdir()}
    assert left == {"half-written", HERE.process, elsewhere().process}


def test_a_worker_whose_clock_is_ahead_kills_no_render_by_asking_for_it(tmp_path: Path) -> None:
    on_another_host(tmp_path).claim(request())
    ahead = Clock(now=Clock.now + 40)

    for _ in range(3):
        assert JobStore(tmp_path, clock=ahead).find("job-1").status is JobStatus.RUNNING


def test_a_mark_that_changes_between_two_looks_keeps_every_job_of_its_process(tmp_path: Path) -> None:
    clock, beats = Clock(), Beats()
    owner = on_another_host(tmp_path, in_background=beats)
    for number in range(5):
        owner.claim(request(f"job-{number}"), queued=True)
    looks = JobStore(tmp_path, elapsed=clock)
    for _ in range(5):
        assert statuses(looks) == {JobStatus.QUEUED}
        clock.now += 29
        beats.beat()
    assert len(list((tmp_path / "owners").iterdir())) == 1

    statuses(looks)
    clock.now += 31

    assert statuses(looks) == {JobStatus.ERROR}
    assert list((tmp_path / "owners").iterdir()) == []


def test_a_full_queue_on_a_slow_disk_loses_no_job(tmp_path: Path) -> None:
    """Every write takes 0.3 s: beating 120 records took longer than the 30 s after which they counted as dead."""
    clock, beats = Clock(), Beats()

    def slowly(_call: str) -> None:
        clock.now += 0.3

    owner = on_another_host(tmp_path, clock, files=Volume(slowly), in_background=beats)
    looks = JobStore(tmp_path, clock=clock, elapsed=clock)
    waiting = [owner.claim(request(f"job-{number}"), queued=True).job for number in range(120)]
    started = clock.now
    while clock.now < started + 120:
        clock.now += 5
        beats.beat()
        assert statuses(looks) == {JobStatus.QUEUED}
    assert not any(is_dead_to_an_old_worker(job, clock.now) for job in looks.recent(1000).jobs)
    running = owner.update(waiting[0], status=JobStatus.RUNNING)

    assert not is_dead_to_an_old_worker(running, clock.now)
    assert running.heartbeat_at <= clock.now


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_thousand_jobs_wait_on_a_disk_of_three_tenths_of_a_second(tmp_path: Path) -> None:
    """In real time, with the real thread; a process counts as dead after 6 s, and the queue waits for 20."""
    delay_s = 0.0
    owner = on_another_host(
        tmp_path,
        clock=time.time,
        elapsed=time.monotonic,
        files=Volume(lambda call: time.sleep(delay_s if call in {"write", "overwrite"} else 0.0)),
        in_background=lambda beat, _every_s: in_thread(beat, 1.0),
    )
    jobs = [owner.claim(request(f"job-{number}"), queued=True).job for number in range(2000)]
    delay_s = 0.3
    looks = JobStore(tmp_path, dead_after_s=6.0)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        first = looks.recent(1000)
        listed = [*first.jobs, *looks.recent(1000, first.next_cursor).jobs]
        assert len(listed) == 2000
        assert {job.status for job in listed} == {JobStatus.QUEUED}
        running = owner.update(jobs.pop(0), status=JobStatus.RUNNING)
        owner.heartbeat(running)
        owner.update(running, status=JobStatus.COMPLETED)
        owner.delete(running.request_id)
        jobs.append(owner.claim(request(f"job-{running.request_id}"), queued=True).job)


def test_a_beat_that_takes_long_lets_the_next_one_take_long(tmp_path: Path) -> None:
    """A mark says how long its last beat took: the owner of a disk that hangs is waited for."""
    clock, beats, delays_s = Clock(), Beats(), itertools.chain([0, 25], itertools.repeat(0))

    def slowly(call: str) -> None:
        clock.now += next(delays_s) if call == "overwrite" else 0

    on_another_host(tmp_path, clock, files=Volume(slowly), in_background=beats).claim(request())
    beats.beat()
    beats.beat()
    looks = JobStore(tmp_path, elapsed=clock)
    looks.find("job-1")
    clock.now += 60
    assert looks.find("job-1").status is JobStatus.RUNNING

    clock.now += 71

    assert looks.find("job-1").status is JobStatus.ERROR


def test_time_in_which_the_volume_did_not_answer_is_no_silence(tmp_path: Path) -> None:
    times = iter([0.0, 0.0, 1.0, 60.0, 61.0, 61.0, 88.0, 88.0, 125.0, 125.0])
    on_another_host(tmp_path).claim(request())
    looks = JobStore(tmp_path, elapsed=lambda: next(times))

    seen = [looks.find("job-1").status for _ in range(5)]

    assert seen == [*[JobStatus.RUNNING] * 4, JobStatus.ERROR]


def test_a_full_disk_does_not_stop_the_mark(tmp_path: Path) -> None:
    clock, beats, volume = Clock(), Beats(), Refusals()
    on_another_host(tmp_path, files=Volume(volume), in_background=beats).claim(request())
    looks = JobStore(tmp_path, elapsed=clock)
    looks.find("job-1")
    volume.refuse(errno.ENOSPC, "write", "append", "make", "rename")
    clock.now += 29
    beats.beat()
    looks.find("job-1")
    clock.now += 29

    assert looks.find("job-1").status is JobStatus.RUNNING


def test_a_mark_that_cannot_be_written_ends_no_beating(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    beats, volume = Beats(), Refusals()
    on_another_host(tmp_path, files=Volume(volume), in_background=beats).claim(request())
    volume.refuse(errno.EROFS, "overwrite")

    assert beats.beat()
    assert caplog.messages[0].startswith("the mark of this process was not written: ")
    assert "the disk is read-only" in caplog.text


def test_the_record_of_a_worker_without_a_mark_is_judged_by_its_heartbeats(tmp_path: Path) -> None:
    """Workers of before there were marks beat each record; any of their records speaks for their process."""
    clock = Clock()
    old = on_another_host(tmp_path, clock)
    jobs = [old.claim(request(f"job-{number}")).job for number in range(3)]
    for mark in (tmp_path / "owners").iterdir():
        mark.unlink()
    looks = JobStore(tmp_path, elapsed=clock)
    for job in (*jobs, *jobs):
        assert statuses(looks) == {JobStatus.RUNNING}
        clock.now += 25
        old.heartbeat(job)
    assert statuses(looks) == {JobStatus.RUNNING}

    clock.now += 31

    assert statuses(looks) == {JobStatus.ERROR}


def test_a_process_that_holds_nothing_takes_its_mark_away_and_stops_beating(tmp_path: Path) -> None:
    beats = Beats()
    store = on_another_host(tmp_path, in_background=beats)
    job = store.claim(request()).job
    assert beats.beat()

    store.update(job, status=JobStatus.COMPLETED)

    assert not beats.beat()
    assert list((tmp_path / "owners").iterdir()) == []
    store.claim(request("job-2"))
    assert beats.beat()
    assert beats.started == 2


def test_a_store_that_is_closed_leaves_no_mark_unless_it_has_jobs(tmp_path: Path) -> None:
    store = on_another_host(tmp_path)
    job = store.claim(request()).job
    store.close()
    assert len(list((tmp_path / "owners").iterdir())) == 1

    store.update(job, status=JobStatus.COMPLETED)
    store.close()

    assert list((tmp_path / "owners").iterdir()) == []


def test_the_thread_ends_with_its_store(tmp_path: Path) -> None:
    beats = Beats()
    store = on_another_host(tmp_path, in_background=beats)
    store.claim(request())
    del store
    gc.collect()

    assert not beats.beat()


def test_a_thread_works_until_it_is_told_to_stop_and_keeps_no_process_alive() -> None:
    worked: list[threading.Thread] = []
    is_over = threading.Event()

    def work() -> bool:
        worked.append(threading.current_thread())
        if len(worked) == 3:
            is_over.set()
        return len(worked) < 3

    in_thread(work, 0.001)
    assert is_over.wait(10)
    worked[0].join(10)

    assert (len(worked), worked[0].name, worked[0].daemon, worked[0].is_alive()) == (3, "job-marks", True, False)


def test_of_two_processes_elsewhere_each_is_judged_by_its_own_mark(tmp_path: Path) -> None:
    clock, beats = Clock(), Beats()
    on_another_host(tmp_path, in_background=beats).claim(request("beats"))
    other = on_another_host(tmp_path, owner=lambda: replace(elsewhere(), pid=8))
    other.claim(request("silent"))
    looks = JobStore(tmp_path, elapsed=clock)
    for _ in range(2):
        assert statuses(looks) == {JobStatus.RUNNING}
        clock.now += 16
        beats.beat()

    assert [looks.find(name).status for name in ("beats", "silent")] == [JobStatus.RUNNING, JobStatus.ERROR]


def test_a_job_that_is_seen_for_the_first_time_is_no_sign_of_life(tmp_path: Path) -> None:
    clock = Clock()
    for name in ("job-1", "job-2"):
        on_another_host(tmp_path).claim(request(name))
    looks = JobStore(tmp_path, elapsed=clock)
    looks.find("job-1")
    clock.now += 31

    assert looks.find("job-2").status is JobStatus.ERROR


@pytest.mark.parametrize("is_there_at_first", [True, False])
def test_a_mark_that_appears_is_a_sign_of_life_and_one_that_comes_back_as_it_was_is_none(
    tmp_path: Path, is_there_at_first: bool
) -> None:
    """Another host's view of a network volume may miss a file for a moment."""
    clock = Clock()
    on_another_host(tmp_path).claim(request())
    [mark] = (tmp_path / "owners").iterdir()
    away = tmp_path / "away"
    looks = JobStore(tmp_path, elapsed=clock)
    if is_there_at_first:
        looks.find("job-1")
    mark.rename(away)
    clock.now += 10
    looks.find("job-1")
    away.rename(mark)
    clock.now += 10
    looks.find("job-1")
    clock.now += 15

    assert looks.find("job-1").was_interrupted is is_there_at_first


@pytest.mark.parametrize("mark", [b"", b"{", b"[]", b'{"took_s": "x"}', b'{"took_s": null}', b"{}"])
def test_a_mark_that_cannot_be_read_asks_for_no_patience(tmp_path: Path, mark: bytes) -> None:
    clock = Clock()
    on_another_host(tmp_path).claim(request())
    [path] = (tmp_path / "owners").iterdir()
    path.write_bytes(mark)
    looks = JobStore(tmp_path, elapsed=clock)
    looks.find("job-1")
    clock.now += 31

    assert looks.find("job-1").status is JobStatus.ERROR


def test_a_volume_that_answers_within_a_second_puts_no_verdict_off(tmp_path: Path) -> None:
    times = iter([0.0, 0.9, 10.0, 10.9, 20.0, 20.9, 31.0, 31.9])
    on_another_host(tmp_path).claim(request())
    looks = JobStore(tmp_path, elapsed=lambda: next(times))

    seen = [looks.find("job-1").status for _ in range(4)]

    assert seen == [*[JobStatus.RUNNING] * 3, JobStatus.ERROR]


def test_a_process_with_more_jobs_than_are_remembered_is_judged_all_the_same(tmp_path: Path) -> None:
    clock = Clock()
    job = on_another_host(tmp_path).claim(request()).job
    observer = Observer(Disk(tmp_path), dead_after_s=30.0, elapsed=clock)
    jobs = [replace(job, request_id=f"job-{number}") for number in range(10_050)]

    died = [observer.has_died(each, since=clock()) for each in jobs]
    clock.now += 29
    died += [observer.has_died(each, since=clock()) for each in jobs[:100]]
    clock.now += 31

    assert not any(died)
    assert observer.has_died(jobs[0], since=clock())


def test_a_mark_that_cannot_be_removed_fails_no_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volume = Refusals()
    store = on_another_host(tmp_path, files=Volume(volume))
    store.update(store.claim(request()).job, status=JobStatus.COMPLETED)
    volume.refuse(errno.EROFS, "unlink")

    store.close()

    assert caplog.messages[0].startswith("the mark of a process could not be removed: Cannot write the job records in ")


def test_a_process_beats_once_for_all_its_jobs_and_its_mark_holds_no_token(tmp_path: Path) -> None:
    beats = Beats()
    store = on_another_host(tmp_path, in_background=beats)
    for number in range(3):
        store.claim(request(f"job-{number}"))
    [mark] = (tmp_path / "owners").iterdir()

    assert beats.started == 1
    assert json.loads(mark.read_bytes())["token"] == ""


def test_a_thread_that_could_not_be_started_is_started_for_the_next_job(tmp_path: Path) -> None:
    started: list[float] = []

    def in_background(_beat: Callable[[], bool], every_s: float) -> None:
        started.append(every_s)
        if len(started) == 1:
            raise RuntimeError("can't start new thread")

    store = JobStore(tmp_path / "jobs", in_background=in_background)
    with pytest.raises(RuntimeError):
        store.claim(request("a"))
    store.claim(request("b"))

    assert len(started) == 2
