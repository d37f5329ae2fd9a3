from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wanworker.errors import DiskFull, EngineUnavailable
from wanworker.jobs.model import JobError, JobStatus
from wanworker.jobs.store.disk import Disk
from wanworker.jobs.store.file_calls import PRIVATE_FILE, PRIVATE_FOLDER, FileCalls
from wanworker.jobs.store.job_store import JobRequest, JobStore


class FailsHalfway(FileCalls):
    """A volume on which no file becomes whole."""

    def __init__(self, error_number: int) -> None:
        self._error_number = error_number

    def write(self, path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
        super().write(path, data[: len(data) // 2], mode)
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


class Links(FileCalls):
    """A volume whose links end as *link* does, and which counts the locks that are taken."""

    def __init__(self, link: Callable[[Path, Path], None]) -> None:
        self._link = link
        self.locks = 0

    def link(self, source: Path, target: Path) -> None:
        self._link(source, target)

    def make(self, path: Path, data: bytes = b"", mode: int = PRIVATE_FILE) -> None:
        self.locks += 1
        super().make(path, data, mode)


def _knows_no_links(_source: Path, _target: Path) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def _loses_its_answer(source: Path, target: Path) -> None:
    target.hardlink_to(source)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))  # NFS asked twice, and the first time was enough


@pytest.mark.parametrize(
    ("link", "locks"), [(FileCalls().link, 0), (_loses_its_answer, 0), (_knows_no_links, 1)], ids=["yes", "lost", "no"]
)
def test_a_new_file_takes_a_lock_only_where_the_volume_knows_no_links(
    tmp_path: Path, link: Callable[[Path, Path], None], locks: int
) -> None:
    files = Links(link)

    assert Disk(tmp_path, files=files).replace("ab/job.json", b"new", still_right=lambda: True, is_new=True)
    assert locks == files.locks
    assert [b"new"] == [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]


def test_a_new_file_does_not_take_the_place_of_one_that_came_first(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    looks = iter((True, False))  # the second one is behind the lock

    def look() -> bool:
        if is_first := next(looks):
            disk.replace("ab/job.json", b"another's")
        return is_first

    assert not disk.replace("ab/job.json", b"ours", still_right=look, is_new=True)
    assert [b"another's"] == [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_that_nobody_can_read_gives_way_to_a_new_one(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.replace("ab/job.json", b"half a rec")

    assert disk.replace("ab/job.json", b"ours", still_right=lambda: True, is_new=True)
    assert [b"ours"] == [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]


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
    assert (disk.size("x"), disk.names("running"), disk.remove("x")) == (0, frozenset(), False)
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


def modes(root: Path) -> tuple[set[int], set[int]]:
    """Return the permissions of the files below *root*, and of the folders with *root*."""
    paths = [root, *root.rglob("*")]
    files, folders = ({path.stat().st_mode & 0o777 for path in paths if path.is_dir() == is_dir} for is_dir in (0, 1))
    return files, folders


def write_each_kind(disk: Disk) -> None:
    disk.replace("ab/x.json", b"one")
    disk.make("running/x.1")
    disk.append("index", b"x")
    disk.overwrite("owners/p", b"x")


@pytest.mark.parametrize(
    ("videos", "folder", "file"),
    [
        (0o755, 0o755, 0o644),
        (0o775, 0o775, 0o664),
        (0o1777, 0o777, 0o666),
        (0o700, 0o700, 0o600),
        (0o550, 0o750, 0o640),
    ],
)
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_whoever_may_write_videos_may_read_and_write_the_records(
    tmp_path: Path, videos: int, folder: int, file: int, umask: int
) -> None:
    root = tmp_path / "out" / "jobs"
    root.parent.mkdir()
    root.parent.chmod(videos)
    before = os.umask(umask)
    try:
        write_each_kind(Disk(root))
    finally:
        os.umask(before)

    assert ({file}, {folder}) == modes(root)
    assert videos == root.parent.stat().st_mode & 0o7777, "the videos' folder stays as it is"


@pytest.mark.usefixtures("open_umask")
def test_kept_requests_are_their_owners_alone(tmp_path: Path) -> None:
    root = tmp_path / "out" / "jobs" / "kept"

    write_each_kind(Disk(root, volume=tmp_path / "out", is_private=True))

    assert ({0o600}, {0o700}) == modes(root)


@pytest.mark.parametrize(("is_private", "expected"), [(True, 0o700), (False, 0o755)])
@pytest.mark.parametrize("older", [0o777, 0o700])
def test_folders_of_an_older_version_get_the_right_permissions(
    tmp_path: Path, older: int, expected: int, is_private: bool
) -> None:
    root = tmp_path / "out" / "jobs"
    root.mkdir(parents=True)
    root.parent.chmod(0o755)
    root.chmod(older)

    Disk(root, is_private=is_private).make_folder()

    assert expected == root.stat().st_mode & 0o777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_worker_of_another_user_reads_a_record_and_takes_its_job_over() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        store = JobStore(folder / "jobs")
        job = store.claim(JobRequest("job-1", "generate", "a" * 64)).job
        store.update(job, status=JobStatus.CANCELLED, error=JobError("CANCELLED", "", ""))
        child = os.fork()
        if not child:  # only system calls and the store from here on
            try:
                os.setuid(65534)
                claim = JobStore(folder / "jobs").claim(JobRequest("job-1", "generate", "a" * 64))
                os._exit(claim.job.attempt if claim.is_ours else 100)
            finally:
                os._exit(101)
        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 2
        assert store.find("job-1").attempt == 2


def everything(disk: Disk) -> dict[str, Callable[[], object]]:
    return {
        "read": lambda: disk.read("ab/x.json"),
        "replace": lambda: disk.replace("ab/x.json", b"two"),
        "make": lambda: disk.make("running/x.2"),
        "append": lambda: disk.append("index", b"y"),
        "overwrite": lambda: disk.overwrite("owners/p", b"y"),
        "remove": lambda: disk.remove("ab/x.json"),
        "sizes": lambda: disk.sizes("ab"),
        "ages_s": lambda: disk.ages_s("running"),
        "make_folder": disk.make_folder,
        "size": lambda: disk.size("index"),
        "names": lambda: disk.names("running"),
        "check": disk.check,
        "opened": lambda: disk.opened("index").__enter__(),
    }


@pytest.mark.parametrize("what", everything(Disk(Path())))
@pytest.mark.parametrize("leaves", ["nothing", "the empty folder on which it was mounted"])
def test_nothing_is_made_or_called_missing_where_a_volume_is_gone(tmp_path: Path, what: str, leaves: str) -> None:
    videos = tmp_path / "volume" / "out"
    disk = Disk(videos / "jobs")
    write_each_kind(disk)
    videos.rename(tmp_path / "away")
    if leaves != "nothing":
        videos.mkdir()
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(DiskFull, match="is gone: its volume was unmounted or moved away") as gone:
        everything(disk)[what]()

    assert gone.value.hint == "Bring the volume back, or restart the worker to begin with an empty one."
    assert before == sorted(tmp_path.rglob("*"))
    if leaves != "nothing":
        videos.rmdir()
    (tmp_path / "away").rename(videos)
    assert disk.read("ab/x.json") == b"one"


def test_a_copy_of_the_volume_in_its_place_is_taken_and_from_then_on_the_one_that_may_not_go(tmp_path: Path) -> None:
    videos = tmp_path / "out"
    disk = Disk(videos / "jobs")
    write_each_kind(disk)
    videos.rename(tmp_path / "away")
    shutil.copytree(tmp_path / "away", videos)

    disk.check()
    disk.replace("ab/x.json", b"two")
    videos.rename(tmp_path / "away-too")

    with pytest.raises(DiskFull, match="is gone"):
        disk.check()


def test_a_volume_that_was_looked_at_may_not_go_though_nothing_was_written_yet(tmp_path: Path) -> None:
    videos = tmp_path / "out"
    videos.mkdir()
    disk = Disk(videos / "jobs")
    disk.check()
    videos.rmdir()

    with pytest.raises(DiskFull, match="is gone"):
        disk.make_folder()


def test_a_folder_with_the_right_permissions_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[Path] = []
    Disk(tmp_path / "jobs").make_folder()
    monkeypatch.setattr(os, "chmod", lambda path, *_args, **_kwargs: changed.append(Path(path)))

    Disk(tmp_path / "jobs").make_folder()

    assert changed == []


def test_permissions_are_corrected_once_in_a_process(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "jobs")
    disk.make_folder()
    (tmp_path / "jobs").chmod(0o711)

    disk.make_folder()
    kept = (tmp_path / "jobs").stat().st_mode & 0o777
    Disk(tmp_path / "jobs").make_folder()

    assert (kept, (tmp_path / "jobs").stat().st_mode & 0o777) == (0o711, tmp_path.stat().st_mode & 0o777)


def test_a_volume_without_permissions_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def refuse(path: Path, *_args: object, **_kwargs: object) -> None:
        asked.append(Path(path))
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs").chmod(0o711)
    monkeypatch.setattr(os, "chmod", refuse)

    disk = Disk(tmp_path / "jobs")
    disk.append("x", b"one")

    assert (disk.read("x"), asked) == (b"one", [tmp_path / "jobs"])


def test_folders_are_made_with_the_permissions_that_they_get(tmp_path: Path) -> None:
    asked: list[tuple[Path, int]] = []

    class Watched(FileCalls):
        def mkdir(self, path: Path, mode: int = PRIVATE_FOLDER) -> None:
            asked.append((path, mode))
            super().mkdir(path, mode)

    tmp_path.chmod(0o750)
    root = tmp_path / "jobs"
    Disk(root, files=Watched()).make("running/x")

    assert asked == [(root, PRIVATE_FOLDER), (root, 0o750), (root / "running", 0o750)]


def test_a_folder_of_records_that_somebody_deleted_is_made_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "jobs")
    write_each_kind(disk)
    shutil.rmtree(tmp_path / "jobs")

    assert disk.read("ab/x.json") is None
    write_each_kind(disk)
    assert disk.read("ab/x.json") == b"one"


def test_ages_are_told_by_the_volumes_own_clock(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.make("running/old")
    disk.make("running/new")
    age_by(tmp_path / "running" / "old", 100)

    ages_s = disk.ages_s("running")

    assert 99 < ages_s["old"] < 160
    assert ages_s["new"] < 60
    assert disk.ages_s("no-such-folder") == {}


def test_ages_of_nothing_cost_no_write(tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()

    assert Disk(tmp_path).ages_s("running") == {}
    assert [path.name for path in tmp_path.iterdir()] == ["running"]


def age_by(path: Path, seconds: float) -> None:
    at = path.stat().st_mtime - seconds
    os.utime(path, (at, at))


def test_a_folder_that_another_thread_makes_during_the_look_is_not_gone(tmp_path: Path) -> None:
    looks = []

    class MadeMeanwhile(type(tmp_path)):  # type: ignore[misc]
        """A folder that is made, by whoever else begins now, while the first look finds nothing."""

        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            looks.append(self)
            if len(looks) == 1:
                disk.make_folder()
                raise FileNotFoundError
            return super().stat(follow_symlinks=follow_symlinks)

    disk = Disk(tmp_path / "outputs" / "jobs", volume=MadeMeanwhile(tmp_path / "outputs"))

    assert disk.read("a") is None
    assert disk.read("a") is None
