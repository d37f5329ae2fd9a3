"""A listing reads the record of an ended job once, and still shows what changes in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes.other_workers import Clock, request
from wanworker.jobs.model import CANCELLED, JobStatus
from wanworker.jobs.store.job_store import JobStore


class Stores:
    """Two workers on one volume. `elapsed_s` is the first one's time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.elapsed_s = 0.0
        self.clock = Clock()
        self.lists = JobStore(root, clock=self.clock, elapsed=lambda: self.elapsed_s, in_background=_never)
        self.other = JobStore(root, clock=self.clock, in_background=_never)

    def seen(self) -> list[str]:
        return [job.status.value for job in self.lists.recent().jobs]


def _never(_work: object, _every_s: float) -> None:
    """Beat no heart: a test is over before one is due."""


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    made = Stores(tmp_path)
    job = made.other.claim(request()).job
    made.other.update(job, status=JobStatus.CANCELLED, error=CANCELLED)
    assert made.seen() == ["CANCELLED"]
    return made


def test_an_ended_record_that_nobody_replaced_is_not_read_again(stores: Stores) -> None:
    (record,) = stores.root.glob("*/job-1.json")
    before = record.stat()
    with record.open("r+b") as file:  # the same file, time and size: only a reader would notice
        file.write(b"x")
    os.utime(record, ns=(before.st_atime_ns, before.st_mtime_ns))
    stores.elapsed_s = 10
    assert stores.seen() == ["CANCELLED"]


def test_what_this_worker_changes_is_listed_at_once(stores: Stores) -> None:
    job = stores.lists.claim(request()).job
    assert stores.seen() == ["RUNNING"]
    stores.lists.update(job, status=JobStatus.COMPLETED)
    assert stores.seen() == ["COMPLETED"]
    stores.lists.delete("job-1")
    assert stores.seen() == []


def test_what_another_worker_changes_is_listed_after_half_a_second(stores: Stores) -> None:
    job = stores.other.claim(request()).job
    stores.elapsed_s = 0.5
    assert stores.seen() == ["RUNNING"]
    stores.other.update(job, status=JobStatus.COMPLETED)
    assert stores.seen() == ["COMPLETED"]
    stores.other.delete("job-1")
    stores.elapsed_s = 1.0
    assert stores.seen() == []
