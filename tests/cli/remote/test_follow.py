"""The loop around a job elsewhere, with a target in memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from wanworker.cli._base import CommandFailed
from wanworker.cli.remote.follow import follow, save_all
from wanworker.cli.remote.target import JobSnapshot, Piece
from wanworker.cli.terminal.live_progress import LiveProgress


@dataclass
class InMemory:
    """A target whose looks are written down; `starting` and `cancelling` may wait or raise."""

    looks: list[JobSnapshot] = field(default_factory=list)
    starting: Callable[[], Any] | None = None
    cancelling: Callable[[], Any] | None = None
    cancelled: list[str] = field(default_factory=list)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, body: Mapping[str, Any]) -> str:
        if self.starting:
            await self.starting()
        return "job-1"

    async def look(self, job_id: str) -> JobSnapshot:
        self.looked.set()
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    async def cancel(self, job_id: str) -> None:
        if self.cancelling:
            await self.cancelling()
        self.cancelled.append(job_id)

    async def save(self, piece: Piece, part: Path) -> None:
        part.write_text(piece.data)


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


async def test_a_job_is_looked_at_until_it_is_over() -> None:
    log = io.StringIO()
    target = InMemory(
        [
            JobSnapshot({"stage": "in queue"}),
            JobSnapshot({"stage": "sampling", "progress": 40}),
            JobSnapshot(is_over=True),
        ]
    )

    with LiveProgress(log) as live:
        job_id, look = await follow(target, {}, live, sleep=at_once)

    assert ("job-1", True) == (job_id, look.is_over)
    assert "in queue" in log.getvalue()
    assert " 40 %  sampling" in log.getvalue()
    assert [] == target.cancelled


async def stopped(target: InMemory, when: asyncio.Event | None = None) -> None:
    """Follow a job that never ends, and cancel it *when* it is time: at its first look, if nothing else is said."""
    with LiveProgress(io.StringIO()) as live:
        task = asyncio.create_task(follow(target, {}, live, sleep=at_once))
        await (when or target.looked).wait()
        task.cancel()
        await asyncio.sleep(0)
        await task


async def test_a_stopped_command_cancels_its_job(capsys: pytest.CaptureFixture[str]) -> None:
    target = InMemory([JobSnapshot({"stage": "sampling"})])

    with pytest.raises(asyncio.CancelledError):
        await stopped(target)

    assert ["job-1"] == target.cancelled
    assert "The job job-1 was cancelled." in capsys.readouterr().err


async def test_a_job_whose_id_is_still_on_its_way_is_cancelled_too() -> None:
    sent = asyncio.Event()

    async def starting() -> None:
        sent.set()
        for _ in range(20):
            await asyncio.sleep(0)

    target = InMemory([JobSnapshot()], starting=starting)
    with pytest.raises(asyncio.CancelledError):
        await stopped(target, sent)

    assert ["job-1"] == target.cancelled


async def test_a_job_that_could_not_be_cancelled_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    async def cancelling() -> None:
        raise CommandFailed("The server is away.")

    with pytest.raises(asyncio.CancelledError):
        await stopped(InMemory([JobSnapshot()], cancelling=cancelling))

    assert "may still be running: job-1 could not be cancelled. The server is away." in capsys.readouterr().err


async def test_files_get_the_servers_names_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_text("mine")
    pieces = [Piece("../a.mp4", data="one"), Piece("", data="two"), Piece("c.png", path="/volume/c.png")]

    files = await save_all(InMemory(), "job/1", pieces, None, force=True)

    assert ["a-2.mp4", "1.mp4"] == [str(file) for file in files]
    assert ["mine", "one", "two"] == [(tmp_path / name).read_text() for name in ("a.mp4", "a-2.mp4", "1.mp4")]
    assert 3 == len(list(tmp_path.iterdir()))


async def test_several_files_are_numbered_after_the_name_that_was_wanted(tmp_path: Path) -> None:
    pieces = [Piece("a.mp4", data="one"), Piece("b.png", data="two")]

    files = await save_all(InMemory(), "job-1", pieces, tmp_path / "my.mp4", force=False)

    assert [tmp_path / "my.mp4", tmp_path / "my-2.png"] == files


async def test_force_replaces_the_file_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "my.mp4").write_text("old")

    (file,) = await save_all(InMemory(), "job-1", [Piece("a", data="new")], tmp_path / "my.mp4", force=True)

    assert "new" == file.read_text()
