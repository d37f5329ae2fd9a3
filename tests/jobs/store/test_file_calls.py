"""The calls that change a volume: what they leave on volumes that are full or know no permissions."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wanworker.jobs.store.file_calls import PRIVATE_FILE, FileCalls

CALLS: dict[str, Callable[[Path], None]] = {
    "write": lambda path: FileCalls().write(path, b"one"),
    "make": lambda path: FileCalls().make(path),
    "append": lambda path: FileCalls().append(path, b"one"),
    "overwrite": lambda path: FileCalls().overwrite(path, b"one"),
}


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def refuse(_descriptor: int, _mode: int) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_volume_that_takes_half_of_a_line_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))

    with pytest.raises(OSError, match="No space left on device") as full:
        FileCalls().append(tmp_path / "index", b"a line")

    assert full.value.errno == errno.ENOSPC


def test_a_mark_that_names_half_of_its_owner_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))

    with pytest.raises(OSError, match="No space left on device"):
        FileCalls().make(tmp_path / "mark", b"owner")

    assert list(tmp_path.iterdir()) == []


def test_a_mark_that_cannot_name_its_owner_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the name can still be made. Left there, it would hold the job up."""

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(OSError, match="No space left on device"):
        FileCalls().make(tmp_path / "mark", b"owner")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_new_file_has_its_permissions_from_the_start(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[int] = []
    monkeypatch.setattr(os, "fchmod", lambda _descriptor, mode: changes.append(mode))

    CALLS[call](tmp_path / "x")

    assert ((tmp_path / "x").stat().st_mode & 0o777, changes) == (PRIVATE_FILE, [])


@pytest.mark.parametrize("call", ["append", "overwrite"])
def test_a_file_whose_permissions_may_not_be_changed_is_written_all_the_same(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").touch(mode=0o666)
    monkeypatch.setattr(os, "fchmod", refuse)

    CALLS[call](tmp_path / "x")

    assert ((tmp_path / "x").read_bytes(), (tmp_path / "x").stat().st_mode & 0o777) == (b"one", 0o666)


def test_a_new_folder_is_its_owners_alone_unless_another_mode_is_given(tmp_path: Path) -> None:
    FileCalls().mkdir(tmp_path / "own")
    FileCalls().mkdir(tmp_path / "shared", 0o775)

    assert [0o700, 0o775] == [(tmp_path / name).stat().st_mode & 0o777 for name in ("own", "shared")]
