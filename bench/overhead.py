"""
What the worker costs above a bare SDK handler, in one run: seconds to start, milliseconds a job, memory; warm and cold.

    python bench/overhead.py                                    everything, about three minutes
    python bench/overhead.py start | job | memory | bucket | warm

The workers are real processes with the real SDK, driven by tests/fakes/runpod.py; those of `job`, `memory` and `bucket`
are in overhead_workers.py. `ok` and `MISSED` compare with the goals of issue 2.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "tests")]

STARTS = 5
JOBS = 20
MB = 1000**2
JOB = {"action": "generate", "task": "t2v-A14B", "prompt": "a red star", "size": "128*128", "frame_num": 17, "seed": 7}
BARE_START = "import runpod\nif __name__ == '__main__': runpod.serverless.start({'handler': lambda job: {}})\n"
WORKERS = Path(__file__).with_name("overhead_workers.py")
SWITCHES = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true", "RUNPOD_LOG_LEVEL": "INFO"}


def start() -> None:
    """Seconds from the start of the process until it takes the job that waits."""
    seconds: dict[str, list[float]] = {"bare": [], "handler": []}
    for _, (name, times) in itertools.product(range(STARTS), seconds.items()):
        times.append(_start_s(name))
    theirs, ours = statistics.median(seconds["bare"]), statistics.median(seconds["handler"])
    _row("start to first job taken", f"{theirs:.2f} s", f"{ours:.2f} s", f"{ours / theirs:.2f}x", ours <= 1.3 * theirs)


def _start_s(name: str) -> float:
    with _folder() as folder, _plane() as plane:
        script = ROOT / "handler.py" if name == "handler" else folder / "bare.py"
        (folder / "bare.py").write_text(BARE_START)
        job_id = plane.submit({"health": True})
        started = time.monotonic()
        with _worker(plane, folder, script):
            taken = plane.wait_for_event("take", job_id=job_id)
            plane.wait_for_job(job_id)
    return float(taken.at_s - started)


def job() -> None:
    """Milliseconds in the handler around an engine that does nothing, video of 0.1 MB not returned."""
    with _folder() as folder:
        video = _video(folder / "video.mp4", 100_000)
        theirs, ours = (_job_ms(_made(folder / name), name, video) for name in ("bare", "ours"))
    above = ours - theirs
    _row("a job around a no-op engine", f"{theirs:.2f} ms", f"{ours:.1f} ms", f"+{above:.1f} ms", above < 15)


def _job_ms(folder: Path, name: str, video: Path) -> float:
    with _plane() as plane, _worker(plane, folder, WORKERS, name, str(video)):
        for number in range(JOBS):
            _finished(plane, {**JOB, "seed": number, "return_video": False})
    _first, *others = map(float, (folder / "milliseconds").read_text().split())
    return statistics.median(others)


def memory() -> None:
    """Peak memory of the worker's process for one 7 MB video returned as base64."""
    with _folder() as folder:
        video = _video(folder / "video.mp4", 7 * MB)
        payload = {**JOB, "return_video": True}
        # glibc's heap grows by chance: one run in four peaks 5 MB higher.
        theirs, ours = (
            statistics.median(_peak_bytes(_made(folder / f"{name}-{run}"), name, video, payload) for run in range(3))
            for name in ("bare", "ours")
        )
    _row("peak, 7 MB video as base64", f"{theirs / MB:.0f} MB", f"{ours / MB:.0f} MB", f"{ours / theirs:.2f}x",
         ours <= 1.1 * theirs)  # fmt: skip


def bucket() -> None:
    """Peak memory of our worker for a 100 MB video into a bucket, above one whose small video stays on the volume."""
    with _folder() as folder, _bucket() as (url, received):
        environment = {
            "BUCKET_ENDPOINT_URL": url,
            "BUCKET_ACCESS_KEY_ID": "id",
            "BUCKET_SECRET_ACCESS_KEY": "key",
            "BUCKET_NAME": "videos",
        }
        small, large = _video(folder / "small.mp4", 100_000), _video(folder / "large.mp4", 100 * MB)
        stays = _peak_bytes(_made(folder / "1"), "ours", small, {**JOB, "return_video": False}, environment)
        goes = _peak_bytes(_made(folder / "2"), "ours", large, {**JOB, "return_video": True}, environment)
        if received != [large.stat().st_size]:
            raise RuntimeError(f"the bucket received {received}, not one file of {large.stat().st_size} bytes")
    above = (goes - stays) / MB
    _row(
        "peak, 100 MB video to a bucket", f"{stays / MB:.0f} MB", f"{goes / MB:.0f} MB", f"+{above:.1f} MB", above <= 16
    )


def warm() -> None:
    """Seconds of one miniature job: `python handler.py` as a fresh process, and the second in a resident worker."""
    payload = {**JOB, "engine": "mini", "sample_steps": 4, "return_video": False}
    with _folder() as folder, _plane() as plane:
        from fakes.worker_process import worker_environment

        argv = [sys.executable, str(ROOT / "handler.py"), "--test_input", json.dumps({"input": payload})]
        started = time.monotonic()
        subprocess.run(argv, cwd=folder, env=worker_environment(folder, {}), check=True, capture_output=True)
        cold_s = time.monotonic() - started
        with _worker(plane, folder, ROOT / "handler.py"):
            first_s = _finished(plane, {**payload, "seed": 8})
            second_s = statistics.median(_finished(plane, {**payload, "seed": 9 + number}) for number in range(5))
    _row("a fresh process, then warm", f"{cold_s:.2f} s", f"{second_s:.2f} s", f"1/{cold_s / second_s:.0f}",
         cold_s >= 10 * second_s)  # fmt: skip
    _row("first in a worker, then warm", f"{first_s:.2f} s", f"{second_s:.2f} s", f"1/{first_s / second_s:.0f}", None)


def _peak_bytes(
    folder: Path, name: str, video: Path, payload: dict[str, Any], environment: Mapping[str, str] | None = None
) -> int:
    with _plane() as plane, _worker(plane, folder, WORKERS, name, str(video), **(environment or {})) as worker:
        _finished(plane, payload)
        status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _finished(plane: Any, payload: dict[str, Any]) -> float:
    """Run one job; return the seconds from taken to posted."""
    job_id = plane.submit(payload)
    finished = plane.wait_for_job(job_id, timeout_s=120)
    if finished.status != "COMPLETED" or not finished.has_output:
        raise RuntimeError(f"the job failed: {finished.error}")
    (taken,), (done,) = plane.events_of("take", job_id=job_id), plane.events_of("done", job_id=job_id)
    return float(done.at_s - taken.at_s)


def _plane() -> Any:
    from fakes.runpod import RunPod

    return RunPod()


def _worker(plane: Any, folder: Path, script: Path, *arguments: str, **environment: str) -> Any:
    from fakes.worker_process import WorkerProcess

    return WorkerProcess(plane, folder, argv=[str(script), *arguments], environment={**SWITCHES, **environment})


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="overhead-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _video(path: Path, size_bytes: int) -> Path:
    """Make a real clip of exactly *size_bytes*: a `free` box, which players pass over, fills it up."""
    from wanworker.media.video import ffmpeg

    source = ["-f", "lavfi", "-i", "testsrc=size=128x128:rate=16", "-frames:v", "17"]
    subprocess.run([ffmpeg.program(), "-loglevel", "error", *source, "-pix_fmt", "yuv420p", str(path)], check=True)
    padding = size_bytes - path.stat().st_size
    with path.open("ab") as file:
        file.write(padding.to_bytes(4, "big") + b"free" + os.urandom(padding - 8))
    return path


@contextmanager
def _bucket() -> Iterator[tuple[str, list[int]]]:
    """Be an S3 endpoint that takes every PUT and keeps only its size."""
    from aiohttp import web

    received: list[int] = []
    ready = threading.Event()
    port = 0
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def put(request: web.Request) -> web.Response:
        received.append(sum([len(chunk) async for chunk in request.content.iter_any()]))
        return web.Response()

    async def run() -> None:
        nonlocal port
        app = web.Application(client_max_size=1 << 30)
        app.add_routes([web.put("/{key:.*}", put)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield f"http://127.0.0.1:{port}", received
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


def _row(what: str, before: str, after: str, difference: str, is_met: bool | None) -> None:
    verdict = {True: "ok", False: "MISSED", None: ""}[is_met]
    print(f"{what:<32}{before:>12}{after:>12}{difference:>12}  {verdict}", flush=True)


MEASUREMENTS = {each.__name__: each for each in (start, job, memory, bucket, warm)}


def main(names: list[str]) -> None:
    """Print the table of the named measurements, of all where none is named."""
    print(f"python bench/overhead.py {' '.join(names)}".rstrip())
    print(f"{'':<32}{'bare/before':>12}{'ours/after':>12}{'difference':>12}")
    for name in names or MEASUREMENTS:
        MEASUREMENTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
