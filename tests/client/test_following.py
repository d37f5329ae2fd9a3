"""The loop around a job elsewhere, and what is done with its files, with a target in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from wanworker.client import (
    ClientError,
    JobFailed,
    JobStatus,
    OnWarning,
    OutputFile,
    Refused,
    ResultLost,
    State,
    Unreachable,
    WaitedTooLong,
)
from wanworker.client._following import Patience, follow, wait
from wanworker.client._results import result_of


@dataclass
class InMemory:
    """A target whose looks are written down; `starting` and `cancelling` may wait or raise."""

    looks: list[JobStatus | ClientError] = field(default_factory=list)
    starting: Callable[[], Any] | None = None
    cancelling: Callable[[], Any] | None = None
    cancelled: list[str] = field(default_factory=list)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    def body(self, prompt: str | None, job: Mapping[str, Any] | None, fields: Any) -> dict[str, Any]:
        return {"prompt": prompt}

    async def start(self, body: Mapping[str, Any], on_warning: OnWarning | None = None) -> str:
        if self.starting:
            await self.starting()
        return "job-1"

    async def status(self, job_id: str) -> JobStatus:
        self.looked.set()
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, ClientError):
            raise look
        return look

    async def cancel(self, job_id: str) -> State:
        if self.cancelling:
            await self.cancelling()
        self.cancelled.append(job_id)
        return "cancelled"

    async def page(self, limit: int, cursor: str | None) -> Any:
        raise Refused("no list")

    async def save(self, file: OutputFile, part: Path) -> None:
        part.write_text(file.data)


@dataclass
class Heard:
    """What a follower is told."""

    progress: list[tuple[str, float]] = field(default_factory=list)
    cancelled: list[tuple[str, ClientError | None]] = field(default_factory=list)

    def on_progress(self, status: JobStatus) -> None:
        self.progress.append((status.stage, status.progress))

    def on_cancelled(self, job_id: str, failure: ClientError | None) -> None:
        self.cancelled.append((job_id, failure))


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


QUEUED = JobStatus("job-1", "queued", "in queue")
RUNNING = JobStatus("job-1", "running", "sampling", 40.0)
DONE = JobStatus("job-1", "completed")
PATIENCE = Patience(sleep=at_once)


async def test_a_picture_that_hangs_does_not_hold_the_video() -> None:
    class Hanging(InMemory):
        async def save(self, file: OutputFile, part: Path) -> None:
            if file.of:
                await asyncio.Event().wait()
            await super().save(file, part)

    status = replace(DONE, files=(OutputFile("a.mp4", "x"),), thumbnails=(OutputFile("a.jpg", "y", of="a.mp4"),))
    result = await result_of(Hanging([]), status, None, force=False, thumbnails=True, pictures_s=0.0)

    assert ((b"x",), (), ("a.jpg was left out: it did not come within 0 s.",)) == (
        result.contents, result.thumbnails, result.notes,
    )  # fmt: skip


async def test_a_job_is_looked_at_until_it_is_over() -> None:
    heard, target = Heard(), InMemory([QUEUED, RUNNING, DONE])

    status = await follow(target, {}, heard.on_progress, heard.on_cancelled, PATIENCE)

    assert DONE == status
    assert [("in queue", 0.0), ("sampling", 40.0)] == heard.progress
    assert ([], []) == (target.cancelled, heard.cancelled)


async def test_the_wait_of_a_job_that_is_queued_again_begins_anew() -> None:
    ticks: list[float] = []

    async def tick(_: float) -> None:
        ticks.append(5.0)

    patience = Patience(queue_s=11.0, sleep=tick, clock=lambda: sum(ticks))
    target = InMemory([QUEUED, RUNNING, RUNNING, RUNNING, QUEUED, QUEUED, DONE])
    assert DONE == await wait(target, "job-1", None, patience)
    with pytest.raises(WaitedTooLong, match="has waited in the queue for 15 s"):
        await wait(InMemory([RUNNING, RUNNING, QUEUED]), "job-1", None, patience)


async def stopped(target: InMemory, heard: Heard, when: asyncio.Event | None = None) -> None:
    """Follow a job that never ends, and cancel it *when* it is time: at its first look, if nothing else is said."""
    task = asyncio.create_task(follow(target, {}, heard.on_progress, heard.on_cancelled, PATIENCE))
    await (when or target.looked).wait()
    task.cancel()
    await asyncio.sleep(0)
    await task


async def test_a_stopped_caller_cancels_its_job() -> None:
    heard, target = Heard(), InMemory([RUNNING])

    with pytest.raises(asyncio.CancelledError):
        await stopped(target, heard)

    assert ["job-1"] == target.cancelled
    assert [("job-1", None)] == heard.cancelled


async def test_a_job_whose_id_is_still_on_its_way_is_cancelled_too() -> None:
    sent = asyncio.Event()

    async def starting() -> None:
        sent.set()
        for _ in range(20):
            await asyncio.sleep(0)

    target = InMemory([RUNNING], starting=starting)
    with pytest.raises(asyncio.CancelledError):
        await stopped(target, Heard(), sent)

    assert ["job-1"] == target.cancelled


async def test_a_job_that_could_not_be_cancelled_is_named() -> None:
    gone = Unreachable("The server is away.")

    async def cancelling() -> None:
        raise gone

    heard = Heard()
    with pytest.raises(asyncio.CancelledError):
        await stopped(InMemory([RUNNING], cancelling=cancelling), heard)

    assert [("job-1", gone)] == heard.cancelled


async def test_a_caller_whose_progress_raises_has_no_job_left_behind() -> None:
    target = InMemory([RUNNING])

    def broken(_: JobStatus) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await follow(target, {}, broken, Heard().on_cancelled, PATIENCE)

    assert ["job-1"] == target.cancelled


async def test_a_target_that_is_away_is_not_asked_to_cancel() -> None:
    target = InMemory([Unreachable("away")])

    with pytest.raises(Unreachable):
        await follow(target, {}, None, Heard().on_cancelled, PATIENCE)

    assert [] == target.cancelled


async def test_a_job_that_takes_too_long_is_cancelled_by_who_sent_it_and_left_by_who_waits() -> None:
    target, patience = InMemory([RUNNING]), Patience(total_s=0.0, sleep=at_once)

    with pytest.raises(WaitedTooLong, match="has not ended within 0 s"):
        await wait(target, "job-1", None, patience)
    assert [] == target.cancelled
    with pytest.raises(WaitedTooLong):
        await follow(target, {}, None, Heard().on_cancelled, patience)
    assert ["job-1"] == target.cancelled


async def test_a_job_that_does_not_begin_has_a_code_of_its_own() -> None:
    patience = Patience(queue_s=0.0, sleep=at_once)

    with pytest.raises(WaitedTooLong) as caught:
        await wait(InMemory([QUEUED]), "job-1", None, patience)

    assert "QUEUED_TOO_LONG" == caught.value.code
    assert DONE == await wait(InMemory([RUNNING, DONE]), "job-1", None, patience)


def done(*files: OutputFile) -> JobStatus:
    return JobStatus("job/1", "completed", files=files)


async def test_files_get_the_targets_names_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("mine")
    files = OutputFile("../a.mp4", data="one"), OutputFile("", data="two"), OutputFile("c.png", path="/volume/c.png")

    result = await result_of(InMemory(), done(*files), tmp_path, force=True)

    assert ["a-2.mp4", "1.mp4"] == [path.name for path in result.paths]
    assert ["mine", "one", "two"] == [(tmp_path / name).read_text() for name in ("a.mp4", "a-2.mp4", "1.mp4")]
    assert 3 == len(list(tmp_path.iterdir()))
    assert (("/volume/c.png",), b"one") == (result.left_there, result.content)


async def test_several_files_are_numbered_after_the_name_that_was_wanted(tmp_path: Path) -> None:
    status = done(OutputFile("a.mp4", data="one"), OutputFile("b.png", data="two"))

    result = await result_of(InMemory(), status, tmp_path / "my.mp4", force=False)

    assert (tmp_path / "my.mp4", tmp_path / "my-2.png") == result.paths


async def test_force_replaces_the_file_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "my.mp4").write_text("old")

    result = await result_of(InMemory(), done(OutputFile("a", data="new")), tmp_path / "my.mp4", force=True)

    assert result.path is not None
    assert "new" == result.path.read_text()


async def test_without_a_place_the_bytes_are_in_the_result() -> None:
    result = await result_of(InMemory(), done(OutputFile("a", data="new")), None, force=False)

    assert (b"new", None) == (result.content, result.path)


async def test_what_has_no_result_says_why(tmp_path: Path) -> None:
    why = JobFailed("The GPU is full.")

    with pytest.raises(Refused, match="has not ended: it is running"):
        await result_of(InMemory(), RUNNING, None, force=False)
    with pytest.raises(JobFailed, match="GPU"):
        await result_of(InMemory(), JobStatus("job-1", "failed", error=why), None, force=False)
    with pytest.raises(ResultLost, match="the answer contains no file") as caught:
        await result_of(InMemory(), done(OutputFile("a", path="/volume/a.mp4")), tmp_path / "my.mp4", force=False)
    assert "/volume/a.mp4" in caught.value.hint
