"""The two doors as real processes over one volume, behind one set of words, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from fakes.ports import held_port
from fakes.runpod import RunPod
from fakes.worker_process import WorkerProcess, worker_environment

PATIENCE_S = 60.0
_LOOK_S = 0.05

PROMPT = "a red star moves to the right over a green field"

End = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """A job of ti2v-5B, in no door's words; with *workflow*, a graph for ComfyUI and its deadline in place of that."""

    seed: int = 1
    width: int = 1280
    height: int = 704
    frames: int = 17
    steps: int = 4
    workflow: Mapping[str, Any] | None = None
    timeout_s: float = 60


def until(is_true: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Return the first true value of *is_true*. Raises AssertionError after *timeout_s* seconds."""
    give_up = time.monotonic() + timeout_s
    while not (value := is_true()):
        assert time.monotonic() < give_up, f"waited {timeout_s:g} s for {what}"
        time.sleep(_LOOK_S)
    return value


class Door(Protocol):
    """A way in: start it, give it jobs, ask it, end it. What it does is said in the words of the job store."""

    name: str

    def start(self) -> None:
        """Start the process and wait until it takes jobs."""

    @property
    def pid(self) -> int:
        """The door's process."""

    @property
    def is_running(self) -> bool:
        """Whether the process is still there."""

    def submit(self, request: RenderRequest) -> str | None:
        """Send a job and return its request id; None where the door went away before it gave one."""

    def refused(self, request: RenderRequest) -> str | None:
        """Send a job that cannot be taken, and return the code of its refusal."""

    def repeat(self, request_id: str) -> None:
        """Deliver a job again under its id, where the door's world does that."""

    def told(self, request_id: str) -> End | None:
        """Return the status and code of a job that has ended, as a client hears it; None before."""

    def cancel(self, request_id: str) -> None:
        """Cancel as a client does."""

    def waiting(self) -> int:
        """Return how many jobs wait in the queue."""

    def end(self) -> None:
        """End the process as its platform does, and wait for it."""

    def close(self) -> None:
        """End everything."""


class RunPodDoor:
    """handler.py with the real SDK, on RunPod's control plane on loopback."""

    name = "RunPod"

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.plane = RunPod()
        self.plane.__enter__()
        self._folder = folder
        self._environment = environment
        self._worker: WorkerProcess | None = None
        self._starts = 0

    def start(self) -> None:
        if self._worker is not None:
            # A container dies whole: the SDK's own process for pings outlives a SIGKILL of the worker's.
            self._worker.stop()
        self._starts += 1
        worker_id = f"worker-{self._starts}"
        self._worker = WorkerProcess(self.plane, self._folder, worker_id=worker_id, environment=self._environment)
        self._worker.__enter__()

    @property
    def pid(self) -> int:
        assert self._worker is not None
        return self._worker.pid

    @property
    def is_running(self) -> bool:
        return self._worker is not None and self._worker.returncode is None

    def submit(self, request: RenderRequest) -> str:
        if request.workflow is not None:
            return self.plane.submit({"workflow": request.workflow, "timeout": request.timeout_s})
        return self.plane.submit(
            {
                "task": "ti2v-5B",
                "prompt": PROMPT,
                "seed": request.seed,
                "size": f"{request.width}*{request.height}",
                "frame_num": request.frames,
                "sample_steps": request.steps,
                "return_video": False,
            }
        )

    def refused(self, request: RenderRequest) -> str | None:
        request_id = self.submit(request)
        return (until(lambda: self.told(request_id), "the refusal") or ("", None))[1]

    def repeat(self, request_id: str) -> None:
        self.plane.redeliver(request_id)

    def told(self, request_id: str) -> End | None:
        job = self.plane.jobs[request_id]
        if not job.is_over:
            return None
        if job.status == "CANCELLED":
            return "CANCELLED", None
        if not job.error:
            return job.status, None
        output = job.output if isinstance(job.output, dict) else {}
        return output.get("status", job.status), output.get("code")

    def cancel(self, request_id: str) -> None:
        self.plane.cancel(request_id)

    def waiting(self) -> int:
        return sum(job.status == "IN_QUEUE" for job in self.plane.jobs.values())

    def end(self) -> None:
        assert self._worker is not None
        self._worker.stop()

    def close(self) -> None:
        try:
            if self._worker is not None:
                self._worker.stop()
        finally:
            self.plane.__exit__(None, None, None)


class RestDoor:
    """`python -m wanworker.rest`, asked over HTTP as the FastWAN document says."""

    name = "REST"

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._port = held_port()
        self._environment = worker_environment(folder, environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=30)

    def start(self) -> None:
        with (self._folder / "rest.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "wanworker.rest", "--port", str(self._port)],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, "the server to listen")

    def _answers(self) -> bool:
        assert self.is_running, (self._folder / "rest.log").read_text()[-2000:]
        with contextlib.suppress(httpx.TransportError):
            return self._client.get("/ping").is_success
        return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def submit(self, request: RenderRequest) -> str | None:
        try:
            answer = self._sent(request)
        except httpx.TransportError:
            return None
        assert answer.is_success, answer.text
        return str(answer.json()["job_id"])

    def refused(self, request: RenderRequest) -> str | None:
        answer = self._sent(request)
        assert not answer.is_success, answer.text
        return str(answer.json()["code"])

    def _sent(self, request: RenderRequest) -> httpx.Response:
        fields = {"prompt": PROMPT, "seed": request.seed, "width": request.width, "height": request.height}
        return self._client.post("/generate", json={**fields, "length": request.frames, "steps": request.steps})

    def repeat(self, request_id: str) -> None:
        """Do nothing: whoever calls a server of its own sends a job once."""

    def told(self, request_id: str) -> End | None:
        try:
            answer = self._client.get(f"/status/{request_id}")
        except httpx.TransportError:
            return None
        if answer.status_code == 404:
            return "CANCELLED", None  # DELETE is the only way to cancel here, and the job is unknown from then on
        said = answer.json()
        return (said["status"].upper(), said.get("code")) if said["status"] in {"completed", "error"} else None

    def cancel(self, request_id: str) -> None:
        self._client.delete(f"/jobs/{request_id}")

    def waiting(self) -> int:
        jobs = self._client.get("/jobs").json()["jobs"]
        return sum(job["status"] == "queued" for job in jobs)

    def end(self) -> None:
        assert self._process is not None
        if self.is_running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        if self._process is not None:
            self.end()
        self._client.close()


DOORS: dict[str, Callable[[Path, Mapping[str, str]], Door]] = {"RunPod": RunPodDoor, "REST": RestDoor}


def processes_of(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield pid and command line of every live process that works in *folder* or names it in its environment."""
    needle = os.fsencode(str(folder))
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}:
                continue
            words = (entry / "cmdline").read_bytes()
            if needle in words or needle in (entry / "environ").read_bytes():
                yield int(entry.name), words.replace(b"\0", b" ").decode(errors="replace").strip()
