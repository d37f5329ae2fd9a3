"""
How long the REST API takes to say where a job is, while one renders and 50 clients ask.

    python bench/rest.py [--clients 50] [--seconds 60]

Every client asks `/`, `/status/{id}` and an empty FastAPI application (one route that answers `{}`) in turn, one
request each half second, for as long as told. All servers run on loopback; the miniature renders all the while. The
goal: no answer but 200, and p99 under 50 ms or under twice the empty application's in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
PERIOD_S = 0.5
GOAL_MS = 50.0
EMPTY = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
async def root(): return {}
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
"""
JOB = {"prompt": "a red circle moves to the right", "width": 1280, "height": 704, "length": 121}


@contextmanager
def program(*argv: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program until the block ends, and hand over its process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    process = subprocess.Popen([sys.executable, *argv], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


async def answers(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until a server answers."""
    while True:
        try:
            async with session.get(url):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)


async def keep_rendering(session: aiohttp.ClientSession, api: str, current: list[str], started: asyncio.Event) -> None:
    """Keep one job rendering; its id is *current*'s last."""
    while True:
        async with session.post(f"{api}/generate", json=JOB) as answer:
            current.append((await answer.json())["job_id"])
        started.set()
        status = "queued"
        while status in {"queued", "processing"}:
            await asyncio.sleep(0.5)
            async with session.get(f"{api}/status/{current[-1]}") as answer:
                status = (await answer.json())["status"]


async def client(
    session: aiohttp.ClientSession,
    number: int,
    urls: dict[str, str],
    current: list[str],
    until: float,
    times: dict[str, list[float]],
    seen: Counter[str],
) -> None:
    """Ask in turn, one request each period, starting at a moment of its own."""
    await asyncio.sleep(PERIOD_S * (number % 50) / 50)
    for name in itertools.cycle(urls):
        began = time.perf_counter()
        if began > until:
            return
        async with session.get(urls[name].format(job=current[-1])) as answer:
            await answer.read()
            seen[f"{name} {answer.status}"] += 1
        times[name].append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(max(0.0, began + PERIOD_S - time.perf_counter()))


def show(times: dict[str, list[float]], seen: Counter[str]) -> int:
    """Print the table and return the exit code."""
    print(f"{'':28}{'requests':>10}{'p50 ms':>9}{'p99 ms':>9}{'most ms':>9}")
    p99 = {}
    for name, values in times.items():
        cuts = statistics.quantiles(values, n=100)
        p99[name] = cuts[98]
        print(f"{name:28}{len(values):>10}{cuts[49]:>9.1f}{cuts[98]:>9.1f}{max(values):>9.1f}")
    goal = max(GOAL_MS, 2 * p99["empty FastAPI"])
    failures = {name: count for name, count in seen.items() if not name.endswith((" 200", " 429"))}
    kept = not failures and all(p99[name] <= goal for name in ("/", "/status"))
    print(f"goal: p99 <= {goal:.1f} ms and no failures: {'kept' if kept else f'MISSED {failures}'}")
    return 0 if kept else 1


async def measure(clients: int, seconds: float, api: str, empty: str) -> int:
    """Put the load on and return the exit code."""
    times: dict[str, list[float]] = {"empty FastAPI": [], "/": [], "/status": []}
    urls = {"empty FastAPI": f"{empty}/", "/": f"{api}/", "/status": f"{api}/status/{{job}}"}
    seen: Counter[str] = Counter()
    current: list[str] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(answers(session, f"{api}/ping"), answers(session, f"{empty}/"))
        started = asyncio.Event()
        rendering = asyncio.create_task(keep_rendering(session, api, current, started))
        await started.wait()
        until = time.perf_counter() + seconds
        await asyncio.gather(*(client(session, number, urls, current, until, times, seen) for number in range(clients)))
        rendering.cancel()
        await asyncio.gather(rendering, return_exceptions=True)
    print(f"{clients} clients, {seconds:g} s, {len(current)} job(s) rendered meanwhile, {os.cpu_count()} cores")
    return show(times, seen)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    api_port, empty_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as out_dir:
        variables = {"WAN_OUT_DIR": out_dir, "REST_PORT": str(api_port), "WAN_ENGINE": "mini"}
        with program("-m", "wanworker.rest", **variables), program("-c", EMPTY, str(empty_port)):
            return asyncio.run(
                measure(args.clients, args.seconds, f"http://127.0.0.1:{api_port}", f"http://127.0.0.1:{empty_port}")
            )


if __name__ == "__main__":
    sys.exit(main())
