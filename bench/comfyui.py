"""
What the worker adds to a ComfyUI run: the job's time in a real worker less the server's own execution time.

    python bench/comfyui.py                               against tests/fakes/comfyui.py, about a minute
    python bench/comfyui.py --url http://127.0.0.1:8188   against a real server
    python bench/comfyui.py --jobs 50
    python bench/comfyui.py --url http://127.0.0.1:8188 --beside FOLDER    and a checkout of worker-comfyui there

Each row is a worker process with the real SDK (handler.py, or a bare handler that makes nothing), driven by the control
plane of tests/fakes/runpod.py, and the rows take turns; medians over the jobs after the first, in milliseconds:

    sdk      from `taken` until the handler is called: the SDK by itself looks for taken jobs every 0.1 s
    server   between the server's own execution_start and execution_success
    ours     the call of the handler, less that
    post     from the handler's return until the control plane has the answer
    added    the whole job, from taken to posted, less the server's time

`ok` and `MISSED` compare with the goals of issue 3, with `--beside` those of issue 17. Its rows are the handlers of
worker-comfyui and ours, with the short video as base64; both get the server's time from its history. Below: the start
of the process until it asks for a job (the median of five), the processor time of that and of a job, which other work
on the machine changes least, and the peak of memory after the jobs. What worker-comfyui needs (its requirements.txt)
has to be installed here.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

RUN_S = 0.2
MB = 1000**2
GOAL_ADDED_MS, GOAL_LARGE_MS = 40.0, 50.0
WORKERS = Path(__file__).with_name("comfyui_workers.py")
SWITCHES = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true", "RUNPOD_LOG_LEVEL": "INFO"}
COPIED = "bench-comfyui.mp4"

#: Makes a job's payload, another one at each call: the server caches what it has run.
Payload = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Times:
    """Where one job's time went, in milliseconds."""

    sdk: float
    server: float
    ours: float
    post: float
    added: float


@dataclass(frozen=True)
class Row:
    """A worker, by the arguments of comfyui_workers.py and more environment, and its jobs."""

    payload: Payload
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def on_the_fake(jobs: int) -> None:
    """Measure against the fake, whose runs take 0.2 s."""
    with _fake(100_000) as small, _fake(5 * MB) as large:
        rows = {
            **_bare(),
            "short video (0.1 MB), base64": _ours(small, _short),
            "short video, path alone": _ours(small, lambda: _short(return_base64=False)),
            "comfyui_i2v, short video": _ours(small, _i2v),
            "5 MB video, base64": _ours(large, _short),
            "5 MB video, path alone": _ours(large, lambda: _short(return_base64=False)),
        }
        none, full, short, short_path, _, as_base64, as_path = _table(rows, jobs)
    _verdicts(none, full, short, short_path, as_base64, as_path)


def on_a_real_server(url: str, jobs: int) -> None:
    """Measure against the server at *url*: core nodes that need no weights, and a 5 MB video that it copies."""
    asyncio.run(_upload(url))
    rows = {
        **_bare(),
        "short video, base64": _ours(url, _short),
        "short video, path alone": _ours(url, lambda: _short(return_base64=False)),
        "5 MB video, base64": _ours(url, _copy),
        "5 MB video, path alone": _ours(url, lambda: _copy(return_base64=False)),
    }
    _verdicts(*_table(rows, jobs))


def beside(url: str, folder: str, jobs: int) -> None:
    """Measure worker-comfyui's handler and ours on the server at *url*: jobs in turn, then starts in turn."""
    place = url.partition("://")[2].rstrip("/")
    rows = {
        "worker-comfyui": Row(lambda: {"workflow": _short()["workflow"]}, ("theirs", folder, place)),
        "this worker": _ours(url, _short),
    }
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(row)) for name, row in rows.items()}
        found: dict[str, list[Times]] = {name: [] for name in rows}
        worked: dict[str, list[float]] = {name: [] for name in rows}
        for _, (name, (plane, notes, process)) in itertools.product(range(jobs + 1), workers.items()):
            before_ms = _cpu_ms(process.pid)
            job_id = _finished(plane, rows[name].payload())
            worked[name].append(_cpu_ms(process.pid) - before_ms)
            found[name].append(_times(plane, notes, job_id, server_ms=_newest_ms(url)))
        theirs, ours = (_row(name, times[1:]) for name, times in found.items())
        peaks = [_peak_mb(process.pid) for _plane, _notes, process in workers.values()]
    starts: dict[str, list[float]] = {name: [] for name in rows}
    started: dict[str, list[float]] = {name: [] for name in rows}
    for _, (name, row) in itertools.product(range(5), rows.items()):
        began = time.monotonic()
        with _worker(row) as (_plane, _notes, process):
            starts[name].append(time.monotonic() - began)
            started[name].append(_cpu_ms(process.pid))
    seconds = [statistics.median(found) for found in starts.values()]
    start_ms = [statistics.median(found) for found in started.values()]
    job_ms = [statistics.mean(found[1:]) for found in worked.values()]
    print()
    _ratio("added to a run, ms", theirs.added, ours.added, 0.5)
    _ratio("the handler's own part, ms", theirs.ours, ours.ours, 0.5)
    _ratio("processor time of a job, ms", *job_ms)
    _ratio("start, s", *seconds, 1.2)
    _ratio("processor time of a start, ms", *start_ms)
    _ratio("peak of memory, MB", *peaks, 1.2)


def _newest_ms(url: str) -> float:
    """Return how long the server's newest run took, by its own history."""
    with urllib.request.urlopen(f"{url.rstrip('/')}/history?max_items=1", timeout=10) as answer:
        (entry,) = json.loads(answer.read()).values()
    times = [told["timestamp"] for _name, told in entry["status"]["messages"]]
    return float(max(times) - min(times))


def _cpu_ms(pid: int) -> float:
    """Return the processor time of a process, with that of the programs that it ran and waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024 / MB


def _ratio(what: str, theirs: float, ours: float, goal: float | None = None) -> None:
    verdict = "" if goal is None else f"  goal {goal:g}x  {'ok' if ours <= goal * theirs else 'MISSED'}"
    print(f"{what:<34}{theirs:>9.2f}{ours:>9.2f}{ours / theirs:>8.2f}x{verdict}", flush=True)


def _verdicts(none: Times, full: Times, short: Times, short_path: Times, large: Times, large_path: Times) -> None:
    sdk_large = full.post - none.post
    as_base64 = large.ours - short.ours + large.post - short.post
    as_path = large_path.ours - short_path.ours + large_path.post - short_path.post
    print()
    _verdict("short video: this worker's own part", short.ours, GOAL_ADDED_MS)
    _verdict(f"short video: with the SDK's (bare: {none.added:.0f})", short.added, GOAL_ADDED_MS)
    _verdict("5 MB more, path alone", as_path, GOAL_LARGE_MS)
    _verdict("5 MB more, as base64: our own part", as_base64 - sdk_large, GOAL_LARGE_MS)
    _verdict(f"5 MB more, as base64: with the SDK's (bare: {sdk_large:.0f})", as_base64, GOAL_LARGE_MS)


def _verdict(what: str, added_ms: float, goal_ms: float) -> None:
    print(f"{what:<52}{added_ms:>8.1f} ms  goal {goal_ms:.0f}  {'ok' if added_ms <= goal_ms else 'MISSED'}", flush=True)


def _bare() -> dict[str, Row]:
    """Return the rows of the SDK alone: an empty answer, and the base64 of 5 MB."""
    size = 5 * MB * 4 // 3
    return {
        "bare SDK handler": Row(lambda: {"x": 1}, ("bare", "0")),
        "bare SDK handler, 5 MB as base64": Row(lambda: {"x": 1}, ("bare", str(size))),
    }


def _ours(url: str, payload: Payload) -> Row:
    return Row(payload, ("ours",), {"COMFYUI_URL": url})


def _table(rows: Mapping[str, Row], jobs: int) -> list[Times]:
    """
    Run one job in each row's worker, which connects and learns the node classes, then *jobs* more; print the medians.

    A job of each row in turn: whatever else the machine does meanwhile, it does to all alike. It saves time too, for
    the SDK of a bare handler rests a second after each job.
    """
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(row)) for name, row in rows.items()}
        ids: dict[str, list[str]] = {name: [] for name in rows}
        for _, (name, (plane, _folder, _process)) in itertools.product(range(jobs + 1), workers.items()):
            ids[name].append(_finished(plane, rows[name].payload()))
        times = {name: [_times(*workers[name][:2], job_id) for job_id in ids[name][1:]] for name in rows}
    return [_row(name, found) for name, found in times.items()]


@contextmanager
def _worker(row: Row) -> Iterator[tuple[Any, Path, Any]]:
    """Run the row's worker; yield its control plane, its folder and its process."""
    from fakes.runpod import RunPod
    from fakes.worker_process import WorkerProcess

    argv, environment = [str(WORKERS), *row.arguments], {**SWITCHES, **row.environment}
    with (
        tempfile.TemporaryDirectory(prefix="bench-comfyui-") as folder,
        RunPod() as plane,
        WorkerProcess(plane, Path(folder), argv=argv, environment=environment) as process,
    ):
        yield plane, Path(folder), process


def _finished(plane: Any, payload: dict[str, Any]) -> str:
    job_id: str = plane.submit(payload)
    done = plane.wait_for_job(job_id, timeout_s=60)
    if done.status != "COMPLETED" or not done.has_output:
        raise RuntimeError(f"the job failed: {done.error}")
    return job_id


def _times(plane: Any, folder: Path, job_id: str, *, server_ms: float | None = None) -> Times:
    """Return where the job's time went. Our own answer says how long the server took; *server_ms* is for others."""
    calls = (line.split() for line in (folder / "calls").read_text().splitlines())
    began_s, ended_s = next((float(began), float(ended)) for called, began, ended in calls if called == job_id)
    (taken,), (done,) = plane.events_of("take", job_id=job_id), plane.events_of("done", job_id=job_id)
    told_s = plane.jobs[job_id].output.get("timings", {}).get("execution_s", 0.0)
    server = 1000 * told_s if server_ms is None else server_ms
    sdk, call, post = (1000 * span for span in (began_s - taken.at_s, ended_s - began_s, done.at_s - ended_s))
    return Times(sdk, server, call - server, post, sdk + call + post - server)


def _row(what: str, times: list[Times]) -> Times:
    middle = Times(*map(statistics.median, zip(*map(astuple, times), strict=True)))
    ours = sorted(each.ours for each in times)
    spread = f"ours {ours[0]:.0f} to {ours[-1]:.0f}"
    print(f"{what:<34}" + "".join(f"{value:>9.1f}" for value in astuple(middle)) + f"   {spread}", flush=True)
    return middle


def _short(*, return_base64: bool = True) -> dict[str, Any]:
    from fakes.comfyui_recordings import video_graph

    return _workflow(video_graph(color=random.randrange(1 << 24)), return_base64=return_base64)


def _copy(*, return_base64: bool = True) -> dict[str, Any]:
    save = {"video": ["1", 0], "filename_prefix": "video/copy", "format": "auto", "codec": "auto"}
    graph = {
        "1": {"class_type": "LoadVideo", "inputs": {"file": COPIED}},
        "2": {"class_type": "SaveVideo", "inputs": save},
    }
    return _workflow(graph, return_base64=return_base64)


def _workflow(graph: dict[str, Any], *, return_base64: bool) -> dict[str, Any]:
    return {"action": "comfyui_workflow", "workflow": graph, "return_base64": return_base64}


def _i2v() -> dict[str, Any]:
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (416, 240), (random.randrange(256), 0, 0)).save(picture, "PNG")
    data = base64.b64encode(picture.getvalue()).decode()
    return {"action": "comfyui_i2v", "reference_image_base64": data, "prompt": "a cat", "steps": 4, "length": 17}


async def _upload(url: str) -> None:
    from wanworker.comfyui.client.http import ComfyClient

    with tempfile.TemporaryDirectory() as folder:
        video = _noise(Path(folder) / COPIED)
        async with ComfyClient(url) as client:
            await client.upload(video, name=COPIED, overwrite=True)


def _noise(path: Path) -> Path:
    """Make a clip of some 5 MB that stays so when it is copied: noise, which nothing compresses."""
    from wanworker.media.video import ffmpeg

    source = ["-f", "lavfi", "-i", "nullsrc=size=640x384:rate=16,geq=random(1)*255:128:128", "-frames:v", "81"]
    rate = ["-c:v", "mpeg4", "-pix_fmt", "yuv420p", "-b:v", "7.9M"]
    subprocess.run([ffmpeg.program(), "-y", "-loglevel", "error", *source, *rate, str(path)], check=True)
    return path


@contextmanager
def _fake(video_bytes: int) -> Iterator[str]:
    """Serve runs that save a real video of exactly *video_bytes*: a `free` box, which players pass over, fills it."""
    from fakes.clips import clip

    with tempfile.TemporaryDirectory(prefix="bench-comfyui-") as folder:
        video = clip(Path(folder) / "video.mp4")
        padding = video_bytes - video.stat().st_size
        with video.open("ab") as file:
            file.write(padding.to_bytes(4, "big") + b"free" + random.randbytes(padding - 8))
        argv = [sys.executable, str(WORKERS), "server", folder, str(video), str(RUN_S)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield f"http://127.0.0.1:{int(process.stdout.readline())}"
            finally:
                process.kill()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What the worker adds to a ComfyUI run.")
    parser.add_argument("--url", help="a real ComfyUI server, instead of the fake")
    parser.add_argument("--jobs", type=int, default=20, help="jobs of a row, after a first one")
    parser.add_argument("--beside", metavar="FOLDER", help="a checkout of worker-comfyui, to compare with; needs --url")
    args = parser.parse_args()
    if args.beside and not args.url:
        parser.error("--beside needs --url: a real server's history has the times of both")
    print(f"{args.url or f'tests/fakes/comfyui.py, runs of {RUN_S:g} s'}; medians of {args.jobs} jobs, milliseconds")
    print(f"{'':<34}" + "".join(f"{name:>9}" for name in Times.__dataclass_fields__))
    if args.beside:
        beside(args.url, args.beside, args.jobs)
    elif args.url:
        on_a_real_server(args.url, args.jobs)
    else:
        on_the_fake(args.jobs)


if __name__ == "__main__":
    main()
