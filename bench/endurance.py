"""
What thousands of jobs leave behind, and how fast the REST API answers meanwhile.

    python bench/endurance.py rest [--jobs 2000] [--clients 20] [--minutes 60] [--engine mini | hands_over]
    python bench/endurance.py handler [--jobs 10000] [--minutes 60]

`rest` renders miniature clips through a real server and downloads each, while clients ask `/status`, `/jobs` and an
empty FastAPI application in turn; with `--engine hands_over` nothing is rendered, and all else is the same, so that a
thousand jobs take minutes. `handler` sends jobs through the RunPod door in one process, with an engine that
hands over a file. Both sample memory, open files, threads and temporary files; from a quarter of the jobs on these are
to stay as they are. They end after `--minutes`, with what was done by then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "bench")]

from rest import EMPTY, GOAL_MS, answers, free_port, program  # noqa: E402 - beside this file

MB = 1000**2
SAMPLES = 20
PERIOD_S = 0.2
CLIP = {"prompt": "a red circle moves to the right", "width": 64, "height": 64, "length": 5, "steps": 1}
JOB = {"action": "generate", "task": "t2v-A14B", "prompt": "a star", "size": "64*64", "frame_num": 5}
#: How much more than at a quarter of the jobs there may be at their end.
MAY_GROW = {"memory MB": 20.0, "open files": 4.0, "threads": 4.0, "temporary files": 2.0}


@dataclass(frozen=True)
class Sample:
    """What a process and its children hold."""

    memory_mb: float
    files: int
    threads: int
    temporary: int


def sample(pid: int, temporary: Path) -> Sample:
    """Return what *pid* and its descendants hold now, and how many files lie below *temporary*."""
    held = [_held(each) for each in _family(pid)]
    memory, files, threads = (sum(column) for column in zip(*held, strict=True))
    return Sample(memory / MB, int(files), int(threads), sum(1 for _ in temporary.rglob("*")))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield from _family(int(child))


def _held(pid: int) -> tuple[int, int, int]:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0, 0, 0  # it has just ended
    if "VmRSS:" not in status:
        return 0, 0, 0
    memory, threads = (int(status.partition(key)[2].split()[0]) for key in ("VmRSS:", "Threads:"))
    return memory * 1024, files, threads


async def jobs_done(
    job: Callable[[int], Awaitable[None]], take: Callable[[], Sample], jobs: int, until: float, *, clients: int = 0
) -> int:
    """
    Run jobs one after another, print a sample every so often, and return 0 if nothing grew.

    Each of the *clients* may have a connection at the end that it had not before.
    """
    print(f"{'jobs':>8}{'s':>9}" + "".join(f"{name:>17}" for name in MAY_GROW), flush=True)
    samples: list[tuple[int, Sample]] = []
    started = time.monotonic()
    for number in range(1, jobs + 1):
        await job(number)
        is_over = time.monotonic() > until
        if number % max(1, jobs // SAMPLES) == 0 or is_over:
            samples.append((number, now := take()))
            values = "".join(f"{value:>17.0f}" for value in astuple(now))
            print(f"{number:>8}{time.monotonic() - started:>9.0f}{values}", flush=True)
        if is_over:
            print("the time is over")
            break
    return _growth(samples, {**MAY_GROW, "open files": MAY_GROW["open files"] + clients})


def _growth(samples: list[tuple[int, Sample]], limits: Mapping[str, float]) -> int:
    """Compare the medians of the second and the last quarter: a single sample may meet a child that is just there."""
    quarter = max(1, len(samples) // 4)
    early, late = (
        [statistics.median(column) for column in zip(*(astuple(each) for _, each in part), strict=True)]
        for part in (samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:])
    )
    grown = {
        name: end - start
        for (name, limit), start, end in zip(limits.items(), early, late, strict=True)
        if end - start > limit
    }
    print(f"goal: flat from a quarter on: {'kept' if not grown else f'MISSED, grown by {grown}'}")
    return 1 if grown else 0


async def through_handler(jobs: int, until: float) -> int:
    """Send jobs through the RunPod door in this process."""
    from door import ask
    from fakes.engine import ScriptedEngine, write_clip
    from wanworker.app import Worker
    from wanworker.settings import Settings

    with tempfile.TemporaryDirectory(prefix="endurance-") as name:
        folder = Path(name)
        temporary = folder / "tmp"
        temporary.mkdir()
        tempfile.tempdir = str(temporary)
        engine = ScriptedEngine(write_clip(folder / "clip.mp4"), seen=_Nothing())
        settings = Settings(ckpt_dir=folder, out_dir=folder / "outputs", wan_home=folder)
        worker = Worker(settings, engines=(engine.row("diffusers"),))

        async def job(number: int) -> None:
            fields = {**JOB, "seed": number, "return_video": number % 2 == 0}
            answer, _ = await ask(worker, {"input": fields}, job_id=f"job-{number}")
            if "error" in answer:
                raise RuntimeError(answer["error"])
            (settings.out_dir / f"job-{number}.mp4").unlink(missing_ok=True)

        try:
            return await jobs_done(job, lambda: sample(os.getpid(), temporary), jobs, until)
        finally:
            await worker.close()
            tempfile.tempdir = None


class _Nothing(list[Any]):
    """What the scripted engine remembers of its jobs."""

    def append(self, _item: Any) -> None:
        """Forget it."""


def serve_handing_over(folder: Path, port: int) -> int:
    """Serve the REST API, in the process of its own, with an engine whose every video is one clip."""
    from fakes.engine import ScriptedEngine, write_clip
    from wanworker.app import Worker
    from wanworker.rest._serve import serve
    from wanworker.settings import load_settings

    engine = ScriptedEngine(write_clip(folder / "clip.mp4"), seen=_Nothing())
    settings = load_settings()
    return serve(Worker(settings, engines=(engine.row("diffusers"),)), settings, "127.0.0.1", port)


async def through_rest(jobs: int, until: float, clients: int, engine: str) -> int:
    """Render clips through a real server while clients ask."""
    api_port, empty_port = free_port(), free_port()
    api, empty = f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{empty_port}"
    with tempfile.TemporaryDirectory(prefix="endurance-") as name:
        temporary = Path(name) / "tmp"
        temporary.mkdir()
        variables = {
            "WAN_OUT_DIR": f"{name}/outputs",
            "REST_PORT": str(api_port),
            "WAN_ENGINE": "auto" if engine == "hands_over" else engine,
        }
        argv = [__file__, "serve", name, str(api_port)] if engine == "hands_over" else ["-m", "wanworker.rest"]
        with (
            program(*argv, **variables, TMPDIR=str(temporary)) as server,
            program("-c", EMPTY, str(empty_port)),
        ):
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                await asyncio.gather(answers(session, f"{api}/ping"), answers(session, f"{empty}/"))
                load = _Load(
                    session, {"empty FastAPI": f"{empty}/", "/status": f"{api}/status/{{job}}", "/jobs": f"{api}/jobs"}
                )
                code = await load.run(
                    clients,
                    lambda job: jobs_done(job, lambda: sample(server.pid, temporary), jobs, until, clients=clients),
                    api,
                )
    return max(code, load.show())


class _Load:
    """Clients that ask all the while, and what their questions took in milliseconds."""

    def __init__(self, session: aiohttp.ClientSession, urls: Mapping[str, str]) -> None:
        self._session = session
        self._urls = urls
        self._current = ""
        self._times: dict[str, list[float]] = {name: [] for name in urls}
        self._failures = 0

    async def run(
        self, clients: int, jobs: Callable[[Callable[[int], Awaitable[None]]], Awaitable[int]], api: str
    ) -> int:
        """Ask until *jobs*, which gets what renders one clip, are done; return what it returns."""
        first = asyncio.Event()

        async def clip(number: int) -> None:
            async with self._session.post(f"{api}/generate", json={**CLIP, "seed": number}) as answer:
                self._current = (await answer.json())["job_id"]
            first.set()
            await self._ended(api, self._current)
            async with self._session.get(f"{api}/download/{self._current}") as answer:
                await answer.read()

        asking = [asyncio.create_task(self._ask(first, number / clients)) for number in range(clients)]
        try:
            return await jobs(clip)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _ended(self, api: str, job_id: str) -> None:
        async with self._session.get(f"{api}/events/{job_id}") as answer:
            text = await answer.text()
        if "event: completed" not in text:
            raise RuntimeError(f"the clip failed: {text[-500:]}")

    async def _ask(self, first: asyncio.Event, share: float) -> None:
        await first.wait()
        await asyncio.sleep(PERIOD_S * share)
        for name in itertools.cycle(self._urls):
            began = time.perf_counter()
            async with self._session.get(self._urls[name].format(job=self._current)) as answer:
                await answer.read()
                self._failures += answer.status != 200
            self._times[name].append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(max(0.0, began + PERIOD_S - time.perf_counter()))

    def show(self) -> int:
        """Print the table, and return 0 if the goal is kept."""
        print(f"{'':20}{'requests':>10}{'p50 ms':>9}{'p99 ms':>9}{'most ms':>9}")
        p99 = {}
        for name, values in self._times.items():
            cuts = statistics.quantiles(values, n=100)
            p99[name] = cuts[98]
            print(f"{name:20}{len(values):>10}{cuts[49]:>9.1f}{cuts[98]:>9.1f}{max(values):>9.1f}")
        goal = max(GOAL_MS, 2 * p99["empty FastAPI"])
        kept = not self._failures and max(p99["/status"], p99["/jobs"]) <= goal
        print(f"goal: p99 <= {goal:.1f} ms, no failures: {'kept' if kept else f'MISSED, {self._failures} failures'}")
        return 0 if kept else 1


def main() -> int:
    """Run one of the two, or be the server of one."""
    if sys.argv[1:2] == ["serve"]:
        return serve_handing_over(Path(sys.argv[2]), int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("door", choices=["rest", "handler"])
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--engine", choices=["mini", "hands_over"], default="mini")
    args = parser.parse_args()
    until = time.monotonic() + args.minutes * 60
    print(" ".join(["python bench/endurance.py", *sys.argv[1:]]), f"({os.cpu_count()} cores)")
    if args.door == "rest":
        return asyncio.run(through_rest(args.jobs or 2000, until, args.clients, args.engine))
    return asyncio.run(through_handler(args.jobs or 10_000, until))


if __name__ == "__main__":
    sys.exit(main())
