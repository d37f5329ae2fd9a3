from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import pytest

from fakes.other_workers import MIDNIGHT, elsewhere
from fakes.volumes import Refusals, Volume
from wanworker.errors import InvalidRequest
from wanworker.jobs.model import Job, JobStatus
from wanworker.jobs.store._index import ENTRY_BYTES, Entry, Index
from wanworker.jobs.store.disk import Disk

DAY_S = 86_400


def job(request_id: str, at: float = MIDNIGHT) -> Job:
    return Job(request_id, "generate", "spec-a", 1, elsewhere(), JobStatus.RUNNING, at, at)


def ids(index: Index, cursor: str | None = None) -> list[str]:
    return [entry.request_id for entry in index.listing(cursor)[1]]


def day_file(root: Path, day: str = "2026-11-21") -> Path:
    return root / "index" / f"{day}.jsonl"


def test_the_newest_comes_first_across_days(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    for request_id, at in [("a", MIDNIGHT - 1), ("b", MIDNIGHT), ("c", MIDNIGHT + 5), ("d", MIDNIGHT + DAY_S)]:
        index.add(job(request_id, at))

    assert ids(index) == ["d", "c", "b", "a"]
    assert index.listing()[0] == 4
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        "2026-11-20.jsonl",
        "2026-11-21.jsonl",
        "2026-11-22.jsonl",
    ]


def test_every_entry_has_the_same_size_even_the_longest(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    index.add(job("x" * 64, MIDNIGHT + 0.1234567))
    index.add(job("y"))

    assert day_file(tmp_path).stat().st_size == 2 * ENTRY_BYTES
    assert ids(index) == ["y", "x" * 64]


def test_the_time_comes_back_exactly(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    at = MIDNIGHT + 0.1234567
    index.add(job("a", at))

    assert [entry.created_at for entry in index.listing()[1]] == [at]


def test_a_cursor_continues_where_it_was_though_new_entries_come(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    for number in range(10):
        index.add(job(f"job-{number}", MIDNIGHT + number * DAY_S / 5))
    entries = list(index.listing()[1])
    index.add(job("new", MIDNIGHT + 9.5 * DAY_S / 5))

    for position, entry in enumerate(entries):
        assert [later.request_id for later in entries[position + 1 :]] == ids(index, entry.cursor)


def test_many_entries_are_read_over_the_borders_of_chunks(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    for number in range(1000):
        index.add(job(f"job-{number}"))
        if number % 100 == 0:
            with day_file(tmp_path).open("ab") as file:
                file.write(b"\na line of odd length")

    assert ids(index) == [f"job-{number}" for number in reversed(range(1000))]


@pytest.mark.parametrize(
    "garbage",
    [
        b'\n{"created_at":1795219',
        b"\n",
        b"\0" * 300,
        b"\n[[[[[[[[",
        b"\xff\xfe\n\n",
        b'\n{"created_at":1795219200.0,"request_id":"../../etc/passwd"}',
        b'\n{"created_at":"x","request_id":"a"}',
        b"x" * 20_000,
    ],
)
def test_garbage_costs_no_entry_but_itself(tmp_path: Path, garbage: bytes) -> None:
    index = Index(Disk(tmp_path))
    index.add(job("before"))
    with day_file(tmp_path).open("ab") as file:
        file.write(garbage)
    index.add(job("after"))

    assert ids(index) == ["after", "before"]


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    index.add(job("whole"))
    index.add(job("torn"))
    day_file(tmp_path).write_bytes(day_file(tmp_path).read_bytes()[: ENTRY_BYTES + 40])

    assert ids(index) == ["whole"]


def test_strange_files_in_the_folder_are_passed_over(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    index.add(job("a"))
    (tmp_path / "index/.DS_Store").write_bytes(b"x" * 6000)
    (tmp_path / "index/2026-11-21.jsonl.bak").write_bytes(b"x" * 6000)

    assert (index.listing()[0], ids(index)) == (1, ["a"])


def test_a_deleted_job_is_not_counted(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    for request_id in "abc":
        index.add(job(request_id))
    index.forget(job("b"), now=MIDNIGHT)

    assert index.listing()[0] == 2


def test_a_day_that_is_over_goes_with_its_last_job(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    index.add(job("a"))
    index.add(job("b"))
    index.forget(job("a"), now=MIDNIGHT + 3 * DAY_S)
    assert day_file(tmp_path).exists()

    index.forget(job("b"), now=MIDNIGHT + 3 * DAY_S)

    assert list((tmp_path / "index").iterdir()) == []


def test_a_day_that_may_still_get_jobs_stays(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    index.add(job("a"))
    index.forget(job("a"), now=MIDNIGHT + DAY_S)

    assert day_file(tmp_path).exists()
    assert index.listing()[0] == 0


def test_a_cursor_into_a_day_that_is_gone_goes_on_with_the_day_before(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    index.add(job("old", MIDNIGHT - 1))
    index.add(job("gone"))
    cursor = next(index.listing()[1]).cursor
    index.forget(job("gone"), now=MIDNIGHT + 3 * DAY_S)

    assert ids(index, cursor) == ["old"]


@pytest.mark.parametrize("cursor", ["", "x", "2026-11-21", "../../x.1", "2026-11-21.-1", "2026-11-21.1\n", "9" * 500])
def test_a_cursor_that_we_did_not_make_is_refused(tmp_path: Path, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Index(Disk(tmp_path)).listing(cursor)

    assert str(caught.value) == f"cursor must be the next_cursor of an earlier listing; got {cursor[:40]!r}."
    assert caught.value.field == "cursor"


def test_a_cursor_beyond_the_end_starts_at_the_end(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    index.add(dataclasses.replace(job("a")))

    assert ids(index, "2026-11-21.999999999") == ["a"]


def filled(root: Path, count: int) -> list[Job]:
    """Enter *count* jobs of one day, and return them."""
    jobs = [job(f"job-{number}", MIDNIGHT + number) for number in range(count)]
    for each in jobs:
        Index(Disk(root)).add(each)
    return jobs


def test_a_day_forgets_its_deleted_jobs_and_cursors_hold(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    jobs = filled(tmp_path, 1000)
    cursors = {entry.request_id: entry.cursor for entry in index.listing()[1]}
    for each in jobs[:200] + jobs[300:900]:
        index.forget(each, now=MIDNIGHT)
    index.add(job("new", MIDNIGHT + 5000))
    left = ["new", *(f"job-{number}" for number in (*range(999, 899, -1), *range(299, 199, -1)))]
    fresh = Index(Disk(tmp_path))

    assert ids(index) == left
    assert (fresh.listing()[0], [name for name in ids(fresh) if name in left]) == (201, left)
    assert len(ids(fresh)) < len(left) + 64
    for name in ("job-950", "job-900", "job-899", "job-250", "job-199"):
        found = ids(index, cursors[name])
        assert found == [later for later in left[1:] if int(later[4:]) < int(name[4:])]


def test_what_two_processes_delete_is_forgotten_by_both(tmp_path: Path) -> None:
    one, other = Index(Disk(tmp_path)), Index(Disk(tmp_path))
    jobs = filled(tmp_path, 600)
    for number, each in enumerate(jobs[:500]):
        (one if number % 2 else other).forget(each, now=MIDNIGHT)
    left = [f"job-{number}" for number in range(599, 499, -1)]
    third = Index(Disk(tmp_path))
    gone = [entry for entry in third.listing()[1] if entry.request_id not in left]
    third.pass_over(gone)

    for index in (one, other, third):
        assert [name for name in ids(index) if name in left] == left
    assert ids(third) == left


def test_an_entry_that_comes_while_the_copy_is_made_is_not_lost(tmp_path: Path) -> None:
    added: list[str] = []

    def add(call: str) -> None:
        if call == "rename":
            added.append(f"new-{len(added)}")
            Index(Disk(tmp_path)).add(job(added[-1], MIDNIGHT + 5000))

    index = Index(Disk(tmp_path, files=Volume(add)))
    for each in filled(tmp_path, 300)[:280]:
        index.forget(each, now=MIDNIGHT)

    assert len(added) > 1
    assert ids(index) == added[::-1] + [f"job-{number}" for number in range(299, 279, -1)]


@pytest.mark.parametrize("call", ["write", "rename"])
def test_a_copy_that_cannot_be_made_loses_nothing(tmp_path: Path, call: str, caplog: pytest.LogCaptureFixture) -> None:
    volume = Refusals()
    volume.refuse(errno.ENOSPC, call)
    index = Index(Disk(tmp_path, files=Volume(volume)))
    for each in filled(tmp_path, 300)[:190]:
        index.forget(each, now=MIDNIGHT)

    # At 64 deleted jobs, and again at twice as many.
    assert [text.partition(": No space left")[0] for text in caplog.messages] == [
        "the index of 2026-11-21 could not be compacted"
    ] * 2
    assert ids(index) == [f"job-{number}" for number in range(299, 189, -1)]
    assert set(ids(Index(Disk(tmp_path)))) == {f"job-{number}" for number in range(300)}


@pytest.mark.parametrize("text", [b"", b"\n12", b"\n99999 bytes\n", b"\0" * 500])
def test_a_damaged_copy_is_passed_over(tmp_path: Path, text: bytes) -> None:
    filled(tmp_path, 3)
    day_file(tmp_path).with_suffix(".kept").write_bytes(text)

    assert ids(Index(Disk(tmp_path))) == ["job-2", "job-1", "job-0"]


def test_a_day_that_is_over_takes_its_copy_along(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    for each in filled(tmp_path, 200):
        index.forget(each, now=MIDNIGHT + 3 * DAY_S)

    assert list((tmp_path / "index").iterdir()) == []


def test_an_entry_cut_off_at_the_end_of_the_day_stays_out_of_the_copy(tmp_path: Path) -> None:
    """Its line may still be on its way from another host."""
    index = Index(Disk(tmp_path))
    jobs = filled(tmp_path, 100)
    whole = day_file(tmp_path).read_bytes()
    day_file(tmp_path).write_bytes(whole[:-100])
    for each in jobs[:64]:
        index.forget(each, now=MIDNIGHT)
    day_file(tmp_path).write_bytes(whole)

    assert ids(index) == [f"job-{number}" for number in range(99, 63, -1)]


def deleted_at_the_first_copy(root: Path, count: int) -> int:
    """Delete jobs of a day of *count* one by one, and return how many were gone when its copy appeared."""
    index = Index(Disk(root))
    copy = day_file(root).with_suffix(".kept")
    jobs = filled(root, count)
    return next(at for at, each in enumerate(jobs, 1) if index.forget(each, now=MIDNIGHT) is None and copy.exists())


@pytest.mark.parametrize(("count", "expected"), [(100, 64), (32 * 64, 64), (32 * 65 + 20, 65)])
def test_a_copy_is_made_at_sixty_four_deleted_jobs_or_at_a_share_of_a_long_day(
    tmp_path: Path, count: int, expected: int
) -> None:
    assert deleted_at_the_first_copy(tmp_path, count) == expected


def test_entries_of_a_day_without_a_file_are_passed_over(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))

    index.pass_over(Entry(f"job-{number}", MIDNIGHT, "") for number in range(64))

    assert (index.listing()[0], ids(index)) == (0, [])


def test_a_deleted_job_whose_line_is_the_last_of_the_day_stays_forgotten(tmp_path: Path) -> None:
    """The copy leaves the last line to the day's file."""
    index = Index(Disk(tmp_path))
    for each in filled(tmp_path, 100)[36:]:
        index.forget(each, now=MIDNIGHT)

    assert day_file(tmp_path).with_suffix(".kept").exists()
    assert ids(index) == [f"job-{number}" for number in range(35, -1, -1)]


def test_a_process_that_starts_later_makes_the_next_copy_at_a_share_of_what_the_first_one_holds(tmp_path: Path) -> None:
    jobs = [job(f"{number:064}", MIDNIGHT + number) for number in range(2100)]
    first, later = Index(Disk(tmp_path)), Index(Disk(tmp_path))
    for each in jobs:
        first.add(each)
    for each in jobs[:65]:
        first.forget(each, now=MIDNIGHT)
    copy = day_file(tmp_path).with_suffix(".kept")
    made = copy.stat().st_ino
    count = 0
    while copy.stat().st_ino == made:
        later.forget(jobs[65 + count], now=MIDNIGHT)
        count += 1

    # Lines of the longest ids count for nearly two.
    assert 65 < count < 2 * 65
