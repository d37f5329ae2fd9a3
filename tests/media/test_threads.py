import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wanworker.errors import DiskFull
from wanworker.media.new_file import new_file
from wanworker.media.threads import entered, in_thread


async def test_a_threads_answer_and_its_exception_come_back() -> None:
    def divide(a: int, *, by: int) -> float:
        return a / by

    assert await in_thread(divide, 4, by=2) == 2.0
    with pytest.raises(ZeroDivisionError):
        await in_thread(divide, 4, by=0)


async def test_cancellation_waits_for_the_thread_however_often_it_is_asked(tmp_path: Path) -> None:
    started, may_end = threading.Event(), threading.Event()
    path = tmp_path / "written.late"

    def write() -> None:
        started.set()
        may_end.wait(10)
        path.write_text("done")

    task = asyncio.create_task(in_thread(write))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    was_waiting = not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert was_waiting
    assert path.read_text() == "done"


def test_a_file_stays_when_the_block_ends_well(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as path:
        path.write_bytes(b"whole")

    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_file_goes_when_the_block_fails(tmp_path: Path) -> None:
    def write_half() -> None:
        with new_file(tmp_path / "a") as path:
            path.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_has_its_own_error(tmp_path: Path) -> None:
    link = tmp_path / "a"
    link.symlink_to("/dev/full")

    with pytest.raises(DiskFull, match="No space left for a"), new_file(link) as path:
        path.write_bytes(b"more than there is room for")

    assert list(tmp_path.iterdir()) == []


def test_another_disk_error_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), new_file(tmp_path / "a"):
        tmp_path.write_bytes(b"")


class Block:
    """A block that waits in its beginning until it may go on, and notes in which threads it begins and ends."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        self.threads: list[int] = []
        self.ends: list[str] = []

    @contextlib.contextmanager
    def __call__(self) -> Iterator[str]:
        self.threads.append(threading.get_ident())
        self.began.set()
        self.go_on.wait(10)
        try:
            yield "made"
        except BaseException as error:
            self.ends.append(type(error).__name__)
            raise
        else:
            self.ends.append("well")
        finally:
            self.threads.append(threading.get_ident())


async def test_a_block_is_entered_and_left_in_threads() -> None:
    block = Block()
    block.go_on.set()
    async with entered(block()) as made:
        assert "made" == made
    with pytest.raises(ZeroDivisionError):
        async with entered(block()):
            raise ZeroDivisionError

    assert ["well", "ZeroDivisionError"] == block.ends
    assert threading.get_ident() not in block.threads


async def test_a_block_that_is_cancelled_as_it_begins_is_left_all_the_same() -> None:
    block = Block()

    async def enter() -> None:
        async with entered(block()):
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(enter())
    await asyncio.to_thread(block.began.wait, 10)
    task.cancel()
    block.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ["CancelledError"] == block.ends
