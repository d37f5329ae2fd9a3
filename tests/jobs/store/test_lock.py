"""One writer at a time, of any process: who waits, who breaks the lock of a process that died, who gives way."""

from __future__ import annotations

import errno
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.other_workers import elsewhere, killed, on_another_host, request
from fakes.volumes import Refusals, Volume
from wanworker.errors import UnknownJob
from wanworker.jobs._owner import Owner
from wanworker.jobs.model import JobStatus
from wanworker.jobs.store._lock import Lock
from wanworker.jobs.store.file_calls import FileCalls
from wanworker.jobs.store.job_store import JobStore


def lock(path: Path, files: FileCalls | None = None, pause: Callable[[float], None] = lambda _: None) -> Lock:
    return Lock(path / "x.lock", files or FileCalls(), 0o600, pause)


def test_a_second_writer_waits_until_the_first_is_done(tmp_path: Path) -> None:
    waits, released = threading.Event(), threading.Event()
    order: list[str] = []

    def pause(_: float) -> None:
        waits.set()
        released.wait(30)

    def second() -> None:
        with lock(tmp_path, pause=pause).held():
            order.append("second")

    thread = threading.Thread(target=second)
    with lock(tmp_path).held():
        thread.start()
        assert waits.wait(30)
        order.append("first")
    released.set()
    thread.join(30)

    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("holder", "waited_s"),
    [
        (killed().to_json(), 0.0),
        (b"", 5.0),
        (elsewhere().to_json(), 10.0),
        (Owner.of_this_process().to_json(), 10.0),
    ],
)
def test_a_lock_is_broken_once_its_holder_died_or_holds_it_for_too_long(
    tmp_path: Path, holder: bytes, waited_s: float
) -> None:
    pauses: list[float] = []
    (tmp_path / "x.lock").write_bytes(holder)

    with lock(tmp_path, pause=pauses.append).held():
        assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]

    assert sum(pauses) == pytest.approx(waited_s, abs=0.03)
    assert list(tmp_path.iterdir()) == []


def test_each_holder_is_waited_for_anew(tmp_path: Path) -> None:
    """A record that many write may not be free for long, though no holder of its lock was slow."""
    pauses: list[float] = []

    def pause(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 5_000:
            (tmp_path / "x.lock").unlink()
        elif len(pauses) % 1_900 == 0:
            (tmp_path / "x.lock").write_bytes(elsewhere().to_json())

    (tmp_path / "x.lock").write_bytes(elsewhere().to_json())
    with lock(tmp_path, pause=pause).held():
        pass

    assert sum(pauses) == pytest.approx(25.0, abs=0.03)


def test_a_holder_whose_lock_was_broken_leaves_the_next_ones_alone(tmp_path: Path) -> None:
    with lock(tmp_path).held():
        (tmp_path / "x.lock").write_bytes(b"the next holder")

    assert (tmp_path / "x.lock").read_bytes() == b"the next holder"


def test_a_lock_that_another_breaker_took_first_is_given_back(tmp_path: Path) -> None:
    """Between our look and our rename, the dead holder's lock was broken and taken by a live process."""
    new = elsewhere().to_json()
    seen: list[bytes] = []

    class Late(FileCalls):
        def rename(self, source: Path, target: Path) -> None:
            source.write_bytes(new)
            super().rename(source, target)

    def pause(_: float) -> None:
        seen.append((tmp_path / "x.lock").read_bytes())
        (tmp_path / "x.lock").unlink()

    (tmp_path / "x.lock").write_bytes(killed().to_json())
    with lock(tmp_path, files=Late(), pause=pause).held():
        pass

    assert seen == [new]
    assert list(tmp_path.iterdir()) == []


def test_a_broken_lock_that_a_tidying_start_removed_is_broken_all_the_same(tmp_path: Path) -> None:
    class Tidied(FileCalls):
        def rename(self, source: Path, target: Path) -> None:
            super().rename(source, target)
            target.unlink()

    (tmp_path / "x.lock").write_bytes(killed().to_json())
    with lock(tmp_path, files=Tidied()).held():
        assert (tmp_path / "x.lock").exists()


def test_a_slow_volume_takes_its_part_of_the_wait(tmp_path: Path) -> None:
    """Each look at a lock of another host may take long; the wait is not that many times longer."""
    (tmp_path / "x.lock").write_bytes(elsewhere().to_json())
    now = itertools.count(0.0, 1.0)
    looks: list[float] = []

    with Lock(tmp_path / "x.lock", FileCalls(), 0o600, looks.append, elapsed=lambda: next(now)).held():
        pass

    assert 8 <= len(looks) <= 10


def test_a_lock_that_is_gone_at_the_rename_was_broken_by_another(tmp_path: Path) -> None:
    class TooLate(FileCalls):
        def rename(self, source: Path, target: Path) -> None:
            source.unlink()
            super().rename(source, target)

    (tmp_path / "x.lock").write_bytes(killed().to_json())
    with lock(tmp_path, files=TooLate()).held():
        assert (tmp_path / "x.lock").exists()


def test_a_lock_that_cannot_be_removed_fails_no_step_that_is_done(tmp_path: Path) -> None:
    refusals = Refusals()
    refusals.refuse(errno.EROFS, "unlink")
    done = False
    with lock(tmp_path, files=Volume(refusals)).held():
        done = True

    assert done


def interrupted_late(root: Path, meanwhile: Callable[[JobStore], object]) -> JobStore:
    """
    Let a process find a job whose worker died, and stand still between its look and its rename, while another does
    something *meanwhile* in its own store: until that waits, or is done.
    """
    on_another_host(root, owner=killed).claim(request())
    proceeds = threading.Event()
    other: list[threading.Thread] = []

    def runs() -> None:
        try:
            meanwhile(on_another_host(root, owner=Owner.of_this_process, pause=lambda _: proceeds.set()))
        finally:
            proceeds.set()

    def before(call: str) -> None:
        if call == "rename" and not other:
            other.append(threading.Thread(target=runs))
            other[0].start()
            assert proceeds.wait(30)

    late = on_another_host(root, files=Volume(before))
    found = late.find("job-1")
    other[0].join(30)

    assert (found.status, found.attempt) == (JobStatus.ERROR, 1)
    return late


def test_who_records_an_interruption_late_writes_over_no_next_attempt(tmp_path: Path) -> None:
    late = interrupted_late(tmp_path, lambda store: store.claim(request()))

    assert (late.find("job-1").status, late.find("job-1").attempt) == (JobStatus.RUNNING, 2)


def test_who_records_an_interruption_late_brings_no_deleted_job_back(tmp_path: Path) -> None:
    late = interrupted_late(tmp_path, lambda store: store.delete("job-1"))

    with pytest.raises(UnknownJob):
        late.find("job-1")
