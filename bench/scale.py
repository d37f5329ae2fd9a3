"""
Measure a door in front of a fleet.

    PYTHONPATH=src:tests python bench/scale.py --workers 4 --jobs 100 [--kill-s 3] [--restart]
    PYTHONPATH=src:tests python bench/scale.py --engine mini --workers 2 --jobs 6 --clients 3

The control plane is that of the tests, on loopback. The door is a real server, and each worker is handler.py with an
engine that sleeps, or with the miniature in one thread. With --kill-s, a worker is killed (SIGKILL) every so many
seconds and another one started; its job is redelivered, as RunPod does, or fails as lost, in turn. With --restart, the
door is killed and started again in the middle. An empty FastAPI application runs beside the door and is asked as often
as its /status. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fakes.engine import write_clip
from fakes.rest_process import RestProcess
from fakes.runpod import RunPod
from fakes.worker_process import HANDLER, WorkerProcess
from rest import EMPTY, free_port, program

ROOT = Path(__file__).resolve().parent.parent
_WORKER = ROOT / "bench" / "scale_worker.py"
_PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "tests")))

#: What the jobs of each engine ask for; the miniature's take it some seconds.
_SHAPES = {
    "sleep": {"width": 64, "height": 64, "length": 5},
    "mini": {"width": 256, "height": 256, "length": 17},
}

#: Asks for each address in turn, always over a new connection, and writes its number, when it asked and how long its
#: answer took, in seconds.
_PROBE = """
import itertools, sys, time, urllib.request
for number, url in itertools.cycle(enumerate(sys.argv[1:])):
    began = time.monotonic()
    try:
        urllib.request.urlopen(url, timeout=60).read()
        print(number, began, time.monotonic() - began, flush=True)
    except OSError:
        pass
    time.sleep(0.01)
"""


#: Runs a program that gives way to others, as give_way does, from its first import on.
_GIVING_WAY = """
import os, runpy, sys
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Fleet:
    """Hold *size* workers of one endpoint, some of which may be killed."""

    def __init__(self, plane: RunPod, folder: Path, options: argparse.Namespace) -> None:
        self._plane, self._folder = plane, folder
        self._argv = ("-c", _GIVING_WAY, str(_WORKER), str(options.sleep_s), str(write_clip(folder / "clip.mp4")))
        self._environment = {"PYTHONPATH": _PATHS}
        if options.engine == "mini":
            self._argv = (str(HANDLER),)
            self._environment |= {"WAN_ENGINE": "mini", "WAN_MINI": "on"}
        self._started = 0
        self.kills = 0
        with ThreadPoolExecutor(options.workers) as pool:
            self.workers = list(pool.map(lambda _number: self._start(), range(options.workers)))

    def _start(self) -> WorkerProcess:
        self._started += 1
        name = f"worker-{self._started}"
        folder = self._folder / name
        folder.mkdir()
        worker = WorkerProcess(self._plane, folder, worker_id=name, argv=self._argv, environment=self._environment)
        worker.__enter__()
        if worker.returncode is not None:
            raise RuntimeError(worker.log)
        return worker

    def kill_one(self) -> None:
        """Kill a worker with all of its processes, let RunPod notice, and start another one."""
        worker = self.workers.pop(random.randrange(len(self.workers)))
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        self.kills += 1
        for job in [job for job in self._plane.jobs.values() if job.worker_id == worker.worker_id and not job.is_over]:
            if self.kills % 2:
                self._plane.redeliver(job.job_id)
            else:
                lost = json.dumps({"error": "worker exited with exit code 137"}).encode()
                self._plane.take_result(job, worker.worker_id, lost)
        self.workers.append(self._start())

    def stop(self) -> None:
        """End every worker."""
        for worker in self.workers:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


class Door:
    """Call the REST server; where it is away, ask again."""

    def __init__(self, server: RestProcess, empty_port: int) -> None:
        self.server = server
        self._empty_port = empty_port

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer's JSON."""
        data = json.dumps(body).encode() if body is not None else None
        url = f"http://127.0.0.1:{self.server.port}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                if error.code not in {429, 503}:
                    raise
            except OSError:
                pass
            time.sleep(0.5)

    @contextlib.contextmanager
    def probed(self, job_id: str) -> Iterator[Path]:
        """
        Ask for /status, and for an empty FastAPI application, from a process of its own while the block runs. The file
        has what it wrote.
        """
        urls = [f"http://127.0.0.1:{self.server.port}/status/{job_id}", f"http://127.0.0.1:{self._empty_port}/"]
        with tempfile.NamedTemporaryFile() as waits:
            probe = subprocess.Popen([sys.executable, "-c", _PROBE, *urls], stdout=waits)
            try:
                yield Path(waits.name)
            finally:
                probe.kill()
                probe.wait()


def give_way() -> None:
    """
    Let this process, which is the fleet's control plane and all of the clients, give way to the door and the probe.

    In truth, they are other machines. What they take of this one's two cores is no time of the door's. A low priority
    (nice 19) is not enough: Linux lets such a process finish its slice of some milliseconds while the door waits.
    """
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def client(door: Door, numbers: range, states: dict[str, str], shape: dict[str, int]) -> None:
    """Send the jobs, and ask for each until it has ended."""
    for number in numbers:
        body = {"prompt": f"star {number}", "seed": number, **shape}
        states[door.call("/generate", body)["job_id"]] = "queued"
    pending = set(states)
    while pending:
        for job_id in sorted(pending):
            shown = door.call(f"/status/{job_id}")
            states[job_id] = shown["status"]
            if states[job_id] not in {"queued", "processing"}:
                states[job_id] += f": {shown['error']}" if shown.get("error") else ""
                pending.discard(job_id)
        time.sleep(random.uniform(0.5, 1.5))  # clients that have begun together do not keep step


def warm_up(door: Door, options: argparse.Namespace) -> str:
    """Let about every worker render once, so that its weights are loaded, and return the id of a job that has ended."""
    bodies = [{"prompt": "first", "seed": 10**6 + each, **_SHAPES[options.engine]} for each in range(options.workers)]
    names = [str(door.call("/generate", body)["job_id"]) for body in bodies]
    for name in names:
        while door.call(f"/status/{name}")["status"] in {"queued", "processing"}:
            time.sleep(0.1)
    return names[0]


def drive(options: argparse.Namespace, plane: RunPod, fleet: Fleet, door: Door) -> list[str]:
    """Let the clients send all jobs and wait for them, kill what is to be killed, and return how the jobs ended."""
    shares: list[dict[str, str]] = [{} for _ in range(options.clients)]
    numbers = [range(at, options.jobs, options.clients) for at in range(options.clients)]
    given = [(door, own, states, _SHAPES[options.engine]) for own, states in zip(numbers, shares, strict=True)]
    clients = [threading.Thread(target=client, args=each) for each in given]
    for each in clients:
        each.start()
    next_kill = time.monotonic() + options.kill_s
    must_restart = options.restart
    while any(each.is_alive() for each in clients):
        time.sleep(0.2)
        if options.kill_s and time.monotonic() > next_kill:
            next_kill = time.monotonic() + options.kill_s
            fleet.kill_one()
        if must_restart and len(plane.events_of("done", detail="COMPLETED")) > options.jobs / 2:
            must_restart = False
            door.server.process.kill()
            door.server.process.wait()
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # what it starts now gives way to nobody
            door.server.__enter__()
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    return [state for states in shares for state in states.values()]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the whole thing once."""
    with RunPod() as plane, contextlib.ExitStack() as stack:
        fleet = Fleet(plane, folder, options)
        stack.callback(fleet.stop)
        settings = {
            "WAN_RUNPOD_ENDPOINTS": plane.url,
            "RUNPOD_API_KEY": plane.api_key,
            "WAN_ALLOW_HOSTS": "127.0.0.1",
            "WAN_ENGINE": "runpod",
            "WAN_MINI": "off",
            "WAN_RUNPOD_CONCURRENCY": str(options.workers * 2),
            "MAX_QUEUE": "1000",
            "DOWNLOAD_ONCE": "false",
        }
        server = RestProcess(folder, **settings)
        began = time.monotonic()
        stack.enter_context(server)
        start_s, memory_bytes = time.monotonic() - began, server.memory_bytes
        empty_port = free_port()
        stack.enter_context(program("-c", EMPTY, str(empty_port)))
        door = Door(server, empty_port)
        first = warm_up(door, options)
        with door.probed(first) as waits:
            give_way()
            began = time.monotonic()
            time.sleep(8)
            sent = time.monotonic()
            states = drive(options, plane, fleet, door)
            ended = time.monotonic()
            idle, busy = _centiles(waits, began, sent), _centiles(waits, sent, ended)
        completed = Counter(job.input["seed"] for job in plane.jobs.values() if job.status == "COMPLETED")
        return {
            "engine": options.engine,
            "workers": options.workers,
            "jobs": options.jobs,
            "states": dict(Counter(states)),
            "took_s": round(ended - sent, 1),
            "jobs_per_s": round(options.jobs / (ended - sent), 2),
            "kills": fleet.kills,
            "door_restarted": options.restart,
            "completed_twice": sum(count > 1 for count in completed.values()),
            "idle_ms": idle,
            "busy_ms": busy,
            "door_start_s": round(start_s, 2),
            "door_mib": round(memory_bytes / 1024**2),
            "door_mib_after": round(server.memory_bytes / 1024**2),
        }


def _centiles(waits: Path, since: float, until: float) -> dict[str, float]:
    """Return percentiles in milliseconds of what was asked in these seconds."""
    asked: tuple[list[float], list[float]] = ([], [])
    for number, began, wait_s in map(str.split, waits.read_text().splitlines()):
        if since <= float(began) < until:
            asked[int(number)].append(float(wait_s))
    of_status, of_empty = (statistics.quantiles(each, n=100) for each in asked)
    found = {"p50": of_status[49], "p99": of_status[98], "empty_p50": of_empty[49], "empty_p99": of_empty[98]}
    return {name: round(wait_s * 1000, 1) for name, wait_s in found.items()}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--engine", choices=["sleep", "mini"], default="sleep")
    parser.add_argument("--sleep-s", type=float, default=1.0)
    parser.add_argument("--kill-s", type=float, default=0.0)
    parser.add_argument("--restart", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(measure(options, Path(folder))) + "\n")


if __name__ == "__main__":
    main()
