from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wanworker.errors import DiskFull, EngineUnavailable
from wanworker.jobs.store.disk import Disk, FileCalls


class FailsHalfway(FileCalls):
    """A volume on which no file becomes whole."""

    def __init__(self, error_number: int) -> None:
        self._error_number = error_number

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data[: len(data) // 2])
        raise OSError(self._error_number, os.strerror(self._error_number))


def test_a_file_is_replaced_whole_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "made" / "later")
    disk.replace("ab/x.json", b"one")

    assert disk.replace("ab/x.json", b"two")
    assert disk.read("ab/x.json") == b"two"
    assert [path.name for path in (tmp_path / "made/later/ab").iterdir()] == ["x.json"]


def test_a_replacement_that_is_no_longer_right_is_dropped(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.replace("x.json", b"one")

    assert not disk.replace("x.json", b"two", still_right=lambda: False)
    assert disk.read("x.json") == b"one"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.json"]


def test_a_file_is_whole_before_it_gets_its_name(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Watched(FileCalls):
        def rename(self, source: Path, target: Path) -> None:
            sizes.append(source.stat().st_size)
            super().rename(source, target)

    Disk(tmp_path, files=Watched()).replace("x", b"x" * 50)

    assert sizes == [50]


def test_several_reads_of_an_open_file_are_of_one_file(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.replace("x", b"0123")

    with disk.opened("x") as read, disk.opened("none") as nothing:
        disk.replace("x", b"abcdefgh")

        assert (read(1, 2), read(0, 99), nothing(0, 9)) == (b"12", b"0123", b"")


def test_nothing_comes_between_the_last_look_of_a_thread_and_its_rename(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    other_looked = threading.Event()
    other = threading.Thread(
        target=lambda: disk.replace("x.json", b"other", still_right=lambda: other_looked.set() is None)
    )

    def still_right() -> bool:
        other.start()
        return not other_looked.wait(0.2)

    assert disk.replace("x.json", b"one", still_right=still_right)
    other.join()
    assert disk.read("x.json") == b"other"


@pytest.mark.parametrize(
    ("error_number", "reason"),
    [
        (errno.ENOSPC, "No space left for the job records in .*: the disk is full"),
        (errno.EDQUOT, "No space left for the job records in .*: the disk quota is used up"),
        (errno.EROFS, "Cannot write the job records in .*: the disk is read-only"),
    ],
)
def test_a_full_disk_keeps_the_old_file_and_leaves_no_half_one(tmp_path: Path, error_number: int, reason: str) -> None:
    Disk(tmp_path).replace("x.json", b"one")
    full = Disk(tmp_path, files=FailsHalfway(error_number))

    with pytest.raises(DiskFull, match=reason):
        full.replace("x.json", b"two")

    assert full.read("x.json") == b"one"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.json"]


def test_other_failures_name_the_folder_and_the_reason(tmp_path: Path) -> None:
    broken = Disk(tmp_path, files=FailsHalfway(errno.EIO))

    with pytest.raises(EngineUnavailable, match=r"cannot be read or written: Input/output error") as caught:
        broken.replace("x.json", b"two")

    assert str(tmp_path) in str(caught.value)
    assert "WAN_OUT_DIR" in caught.value.hint


def test_a_root_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    disk = Disk(tmp_path / "file" / "jobs")

    for operation in (
        lambda: disk.replace("x", b""),
        lambda: disk.make("x"),
        lambda: disk.append("x", b""),
        lambda: disk.read("x"),
        lambda: disk.remove("x"),
        lambda: disk.sizes("x"),
    ):
        with pytest.raises(EngineUnavailable, match="cannot be read or written"):
            operation()


def test_a_file_is_made_once(tmp_path: Path) -> None:
    disk = Disk(tmp_path)

    assert [disk.make("running/x.1"), disk.make("running/x.1")] == [True, False]
    assert [disk.remove("running/x.1"), disk.remove("running/x.1")] == [True, False]


def test_what_is_not_there_is_none_or_empty(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "none")

    assert disk.read("x") is None
    assert disk.sizes("running") == {}
    assert not (tmp_path / "none").exists()


def test_a_part_of_a_file_is_read(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.append("x", b"0123")
    disk.append("x", b"456789")

    assert disk.read("x", 3, 3) == b"345"
    assert disk.sizes(".") == {"x": 10}


def test_appends_of_many_threads_all_arrive_whole(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    threads = [
        threading.Thread(target=lambda: [disk.append("x", b"\n" + b"a" * 127) for _ in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (disk.read("x") or b"").split(b"\n") == [b"", *[b"a" * 127] * 400]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_really_full_device_is_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("/dev/full")

    with pytest.raises(DiskFull):
        Disk(tmp_path).append("x", b"line")


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_files_and_folders_are_their_owners_alone(tmp_path: Path) -> None:
    root = tmp_path / "out" / "jobs"
    disk = Disk(root)

    disk.replace("ab/x.json", b"one")
    disk.make("running/x.1")
    disk.append("index", b"x")

    files = {path for path in root.rglob("*") if path.is_file()}
    assert 3 == len(files)
    assert {0o600} == {path.stat().st_mode & 0o777 for path in files}
    assert {0o700} == {path.stat().st_mode & 0o777 for path in (root, root / "ab", root / "running")}
    assert 0o777 == root.parent.stat().st_mode & 0o777, "the videos' folder stays as it is"


@pytest.mark.usefixtures("open_umask")
def test_folders_of_an_older_version_are_closed_to_others(tmp_path: Path) -> None:
    root = tmp_path / "kept"
    root.mkdir(mode=0o777)

    Disk(root).make_folder()

    assert 0o700 == root.stat().st_mode & 0o777


def test_ages_are_told_by_the_volumes_own_clock(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.make("running/old")
    disk.make("running/new")
    age_by(tmp_path / "running" / "old", 100)

    ages_s = disk.ages_s("running")

    assert 99 < ages_s["old"] < 160
    assert ages_s["new"] < 60
    assert disk.ages_s("no-such-folder") == {}


def age_by(path: Path, seconds: float) -> None:
    at = path.stat().st_mtime - seconds
    os.utime(path, (at, at))
