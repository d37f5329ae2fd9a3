"""
RunPod's control plane on loopback, for real worker processes that run the real SDK (runpod 1.12.0).

This module keeps the jobs, the queue and a log of everything that happened; `runpod_wire` speaks HTTP to workers and
clients. The server has a thread of its own, so that plain tests may wait for it, and one server may outlive a test:

    with RunPod() as plane:
        with WorkerProcess(plane, folder):
            job = plane.wait_for_job(plane.submit({"health": True}))

What it cannot show: RunPod's own hold times and limits, and how it renders a FAILED job that has an output too.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from fakes.runpod_wire import Server

Fault = int | Literal["reset", "reset after"]
TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


@dataclass
class Knobs:
    """Timings and faults; a test may turn them while workers run."""

    long_poll_s: float = 0.5  # how long an empty job-take or job-stop is held; RunPod: under 90 s
    empty_status: int = 204  # 400 also means "no job", under FlashBoot
    run_faults: deque[int | str] = field(default_factory=deque)  # statuses of the next /run calls; or 200 with a text
    status_faults: deque[int | str] = field(default_factory=deque)  # of the next /status calls
    take_faults: deque[int] = field(default_factory=deque)  # statuses of the next job-takes
    result_faults: deque[Fault] = field(
        default_factory=deque
    )  # of the next results; "reset" cuts the connection, "reset after" once it counts
    retry_after: str = ""  # the header of a result's 429
    progress_faults: deque[Fault] = field(default_factory=deque)
    progress_delay_s: float = 0.0  # how long a progress post is on its way before it counts
    result_overtakes_progress: bool = False  # whether it is on its way until the result has come
    # An oversize result gets 400, and the client sees COMPLETED without output (runpod-python#309). 0: no limit.
    max_result_bytes: int = 20 * 1000**2
    # Progress after the result puts the job back to IN_PROGRESS for good (runpod-python#250).
    late_progress_reopens: bool = True


@dataclass
class Job:
    """One job as the control plane knows it."""

    job_id: str
    input: Any
    s3_config: Mapping[str, Any] | None = None
    status: str = "IN_QUEUE"
    worker_id: str | None = None
    progress: list[Any] = field(default_factory=list)
    output: Any = None
    has_output: bool = False
    error: Any = None
    stop_pod: bool = False
    result: bytes | None = None  # the body of the post, as it came

    @property
    def is_over(self) -> bool:
        """Nothing more is expected of the worker."""
        return self.status in TERMINAL

    def for_worker(self) -> dict[str, Any]:
        """Return what job-take hands out."""
        job = {"id": self.job_id, "input": self.input, "webhook": None, "status": "IN_PROGRESS"}
        return job if self.s3_config is None else {**job, "s3Config": self.s3_config}

    def for_client(self) -> dict[str, Any]:
        """Return what /status answers; a running job shows its latest progress as its output."""
        shown: dict[str, Any] = {"id": self.job_id, "status": self.status}
        if not self.is_over and self.progress:
            shown["output"] = self.progress[-1]
        elif self.has_output:
            shown["output"] = self.output
        if self.error is not None:
            shown["error"] = self.error
        return shown


@dataclass(frozen=True)
class Event:
    """
    Something that happened, at `at_s` of the monotonic clock.

    Kinds: submit take_poll take stop_sent progress done too_large bad_json fault late_progress late_done ping
    unhealthy cancel redeliver unauthorised told (what /status answered a client).
    """

    at_s: float
    kind: str
    job_id: str | None = None
    worker_id: str | None = None
    detail: Any = None


class RunPod:
    """Hold the state; every method may be called from any thread."""

    def __init__(self, *, endpoint: str = "endpoint", api_key: str = "key-of-the-fake", knobs: Knobs | None = None):
        self.endpoint = endpoint
        self.api_key = api_key
        self.knobs = knobs or Knobs()
        self.jobs: dict[str, Job] = {}
        self.events: list[Event] = []
        self._queue: deque[str] = deque()
        self._raw: deque[str] = deque()
        self._stops: dict[str, list[str]] = {}
        self._changed = threading.Condition()
        self._server = Server(self)

    def __enter__(self) -> RunPod:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        """The address under which clients reach the endpoint: `{url}/run`."""
        return f"http://127.0.0.1:{self._server.port}/v2/{self.endpoint}"

    def worker_environment(self, worker_id: str) -> dict[str, str]:
        """Return what the SDK reads. It fills in `$ID` and `$RUNPOD_POD_ID` itself."""
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/job-take/$ID?gpu=FAKE",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/job-done/$RUNPOD_POD_ID/$ID?gpu=FAKE",
            "RUNPOD_WEBHOOK_PING": f"{self.url}/ping/$RUNPOD_POD_ID?gpu=FAKE",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_AI_API_KEY": self.api_key,
            "RUNPOD_POD_ID": worker_id,
            "RUNPOD_POD_HOSTNAME": worker_id,
            "RUNPOD_ENDPOINT_ID": self.endpoint,
        }

    # What a test does and asks.

    def submit(
        self, payload: Any, *, s3_config: Mapping[str, Any] | None = None, job_id: str = "", sync: bool = False
    ) -> str:
        """Queue a job and return its id, which looks like RunPod's own."""
        job_id = job_id or f"{'sync-' if sync else ''}{uuid.uuid4()}-u1"
        with self._changed:
            self.jobs[job_id] = Job(job_id, payload, s3_config)
            self._queue.append(job_id)
            self.note("submit", job_id)
        return job_id

    def hand_out(self, body: str, *, job_id: str = "") -> None:
        """Have the next job-take answered with *body* as it is; a job of the id *job_id* can be answered."""
        with self._changed:
            if job_id:
                self.jobs[job_id] = Job(job_id, None, status="IN_PROGRESS")
            self._raw.append(body)

    def cancel(self, job_id: str, *, status: str = "CANCELLED") -> None:
        """Stop a job as a client's /cancel does, or with TIMED_OUT as RunPod does at the execution timeout."""
        with self._changed:
            job = self.jobs[job_id]
            if job.is_over:
                return
            if job_id in self._queue:
                self._queue.remove(job_id)
            if job.worker_id:
                self._stops.setdefault(job.worker_id, []).append(job_id)
            job.status = status
            self.note("cancel", job_id, job.worker_id)

    def redeliver(self, job_id: str) -> None:
        """Queue a job again under its id, as RunPod does when the worker that had it is gone."""
        with self._changed:
            job = self.jobs[job_id]
            self.jobs[job_id] = Job(job_id, job.input, job.s3_config)
            self._queue.append(job_id)
            self.note("redeliver", job_id, job.worker_id)

    def wait_until(self, is_true: Callable[[], Any], *, timeout_s: float = 30.0, what: str = "it") -> Any:
        """Return the first true value of *is_true*, asked at every event and every 0.1 s. Raises TimeoutError."""
        give_up = time.monotonic() + timeout_s
        with self._changed:
            while not (value := is_true()):
                if time.monotonic() > give_up:
                    recent = "\n".join(str(event) for event in self.events[-15:])
                    raise TimeoutError(f"waited {timeout_s:g} s for {what}; the last events:\n{recent}")
                self._changed.wait(0.1)
        return value

    def wait_for_job(self, job_id: str, *, timeout_s: float = 30.0) -> Job:
        """Return the job once it is over."""
        self.wait_until(lambda: self.jobs[job_id].is_over, timeout_s=timeout_s, what=f"job {job_id}")
        return self.jobs[job_id]

    def wait_for_event(self, kind: str, *, timeout_s: float = 30.0, **equal: Any) -> Event:
        """Return the first event of *kind* whose other fields are *equal*."""
        found: Event = self.wait_until(
            lambda: next(iter(self.events_of(kind, **equal)), None), timeout_s=timeout_s, what=f"{kind} {equal}"
        )
        return found

    def events_of(self, kind: str, **equal: Any) -> list[Event]:
        """Return the events of *kind* whose other fields are *equal*, oldest first."""
        with self._changed:
            return [
                event
                for event in self.events
                if event.kind == kind and all(getattr(event, name) == value for name, value in equal.items())
            ]

    # What the wire tells and asks.

    def note(
        self,
        kind: str,
        job_id: str | None = None,
        worker_id: str | None = None,
        detail: Any = None,
        *,
        at_s: float | None = None,
    ) -> None:
        """Record an event, of now or of *at_s*, and wake whoever waits."""
        with self._changed:
            self.events.append(Event(time.monotonic() if at_s is None else at_s, kind, job_id, worker_id, detail))
            self._changed.notify_all()

    def next_body(self, worker_id: str) -> str | None:
        """Return what job-take answers *worker_id*: a body to be handed out as it is, or the oldest queued job."""
        with self._changed:
            if self._raw:
                self.note("take", None, worker_id)
                return self._raw.popleft()
            job = self.next_job(worker_id)
            return json.dumps(job.for_worker()) if job else None

    def next_job(self, worker_id: str) -> Job | None:
        """Hand the oldest queued job to *worker_id*, if there is one."""
        with self._changed:
            if not self._queue:
                return None
            job = self.jobs[self._queue.popleft()]
            job.status, job.worker_id = "IN_PROGRESS", worker_id
            self.note("take", job.job_id, worker_id)
            return job

    def next_stops(self, worker_id: str) -> list[str]:
        """Return the jobs that *worker_id* is to stop, once."""
        with self._changed:
            stops = self._stops.pop(worker_id, [])
            if stops:
                self.note("stop_sent", stops[0], worker_id, stops)
            return stops

    def take_progress(self, job: Job, worker_id: str, shown: Any) -> None:
        """Count a progress post; one that comes after the result may do harm, as on RunPod."""
        with self._changed:
            late = job.is_over
            if not late or self.knobs.late_progress_reopens:
                job.progress.append(shown)
            if late and job.status == "COMPLETED" and self.knobs.late_progress_reopens:
                job.status = "IN_PROGRESS"
            self.note("late_progress" if late else "progress", job.job_id, worker_id, shown)

    def take_result(self, job: Job, worker_id: str, body: bytes, *, at_s: float | None = None) -> None:
        """Count a result that was here whole at *at_s*: to read its JSON takes longer than to receive it."""
        with self._changed:
            if job.is_over:
                self.note("late_done", job.job_id, worker_id)
                return
            posted = json.loads(body)
            job.result, job.stop_pod = body, bool(posted.get("stopPod"))
            job.output, job.error, job.has_output = posted.get("output"), posted.get("error"), "output" in posted
            job.status = "FAILED" if job.error else "COMPLETED"
            self.note("done", job.job_id, worker_id, job.status, at_s=at_s)

    def lose_result(self, job: Job, worker_id: str, size_bytes: int) -> None:
        """Show a job whose result was too large as RunPod shows it: COMPLETED, without output and without error."""
        with self._changed:
            job.status = "COMPLETED"
            self.note("too_large", job.job_id, worker_id, size_bytes)
