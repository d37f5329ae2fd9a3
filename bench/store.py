"""
The job store with 100,000 finished jobs against one with 10: milliseconds of what a door does.

    python bench/store.py [--jobs 100000] [--repeats 41] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wanworker.jobs._owner import Owner
from wanworker.jobs.model import Job, JobStatus, Output
from wanworker.jobs.store._index import Index
from wanworker.jobs.store.disk import Disk
from wanworker.jobs.store.job_store import PAGE_LIMIT, JobRequest, JobStore

FEW = 10
PAGE = 5
_JOBS_A_DAY = 5_000


def fill(root: Path, count: int) -> None:
    """Put *count* COMPLETED jobs into the store at *root*: the files that it would leave, without its waiting."""
    owner = Owner.of_this_process()
    index = Index(Disk(root))
    first_at = time.time() - count / _JOBS_A_DAY * 86_400
    for number in range(count):
        job = _finished(number, first_at + number / _JOBS_A_DAY * 86_400, owner)
        folder = root / hashlib.sha256(job.request_id.encode()).hexdigest()[:2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{job.request_id}.json").write_bytes(job.to_json())
        index.add(job)


def _finished(number: int, at: float, owner: Owner) -> Job:
    name = f"job-{number}"
    output = Output(f"/runpod-volume/outputs/{name}.mp4", "video", "video/mp4", 4_194_304, "0" * 64, 1280, 720, 16, 81)
    return Job(
        request_id=name,
        action="generate",
        spec_hash="0" * 64,
        attempt=1,
        owner=owner,
        status=JobStatus.COMPLETED,
        created_at=at,
        started_at=at,
        heartbeat_at=at + 60,
        completed_at=at + 60,
        outputs=(output,),
        prompt="a red star moves to the right over a green field " * 4,
    )


def operations(root: Path, count: int) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name; each call does it once."""
    store = JobStore(root)
    numbers = itertools.count()
    chance = random.Random(1)
    # With few jobs the second page, with many one from the middle of what there is.
    middle = store.recent(PAGE).next_cursor
    for _ in range(count // 2 // PAGE_LIMIT):
        middle = store.recent(PAGE_LIMIT, middle).next_cursor

    def claim_and_complete() -> None:
        claim = store.claim(JobRequest(f"new-{next(numbers)}", "generate", "0" * 64))
        store.delete(store.update(claim.job, status=JobStatus.COMPLETED).request_id)

    return {
        "status (find)": lambda: store.find(f"job-{chance.randrange(count)}"),
        f"list, the newest {PAGE}": lambda: store.recent(PAGE),
        f"list, {PAGE} from the middle": lambda: store.recent(PAGE, middle),
        "claim, complete, delete": claim_and_complete,
        "start-up (recover)": lambda: JobStore(root).recover(),
    }


def measure(folder: Path, count: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds of each operation with FEW and with *count* jobs, taken in turns."""
    fill(folder / "few", FEW)
    fill(folder / "many", count)
    few, many = operations(folder / "few", FEW), operations(folder / "many", count)
    return {name: _medians(few[name], many[name], repeats) for name in few}


def _medians(few: Callable[[], object], many: Callable[[], object], repeats: int) -> tuple[float, float]:
    times = [(_timed_ms(few), _timed_ms(many)) for _ in range(repeats)]
    return statistics.median(ms for ms, _ in times), statistics.median(ms for _, ms in times)


def _timed_ms(operation: Callable[[], object]) -> float:
    started = time.perf_counter()
    operation()
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=41)
    parser.add_argument("--folder", type=Path, help="where the stores are made and removed again (a volume, say)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table = measure(Path(folder), options.jobs, options.repeats)
    print(f"| milliseconds, median of {options.repeats} | {FEW} jobs | {options.jobs:,} jobs | ratio |")
    print("|---|---:|---:|---:|")
    for name, (few_ms, many_ms) in table.items():
        print(f"| {name} | {few_ms:.2f} | {many_ms:.2f} | {many_ms / few_ms:.2f} |")


if __name__ == "__main__":
    main()
