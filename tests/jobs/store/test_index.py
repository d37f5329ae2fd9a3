from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fakes.other_workers import MIDNIGHT, elsewhere
from wanworker.errors import InvalidRequest
from wanworker.jobs.model import Job, JobStatus
from wanworker.jobs.store._index import ENTRY_BYTES, Index
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
    with pytest.raises(InvalidRequest, match="next_cursor of an earlier listing") as caught:
        Index(Disk(tmp_path)).listing(cursor)

    assert caught.value.field == "cursor"


def test_a_cursor_beyond_the_end_starts_at_the_end(tmp_path: Path) -> None:
    index = Index(Disk(tmp_path))
    index.add(dataclasses.replace(job("a")))

    assert ids(index, "2026-11-21.999999999") == ["a"]
