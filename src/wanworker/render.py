"""One job from spec to verified file: engine, heartbeat, deadline, cancellation, verification, record. Every door."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from wanworker.deadline import Deadline
from wanworker.engines.base import Rendered, Report
from wanworker.engines.choice import Choice, choose
from wanworker.engines.roster import Roster
from wanworker.errors import DiskFull, NoOutput, RequestIdReused, UnknownJob
from wanworker.jobs.attempt import Attempt
from wanworker.jobs.model import Job, JobStatus, Output
from wanworker.jobs.store import JobRequest, JobStore
from wanworker.media.disk import in_thread
from wanworker.media.file_facts import file_facts
from wanworker.media.mp4 import VideoFacts
from wanworker.media.picture import crop_to_aspect
from wanworker.media.video import probe
from wanworker.progress import Progress
from wanworker.spec import TASKS, RenderSpec

#: Below this much free space nothing is started: a 1280x720 clip with its scratch files stays well under it.
MIN_FREE_BYTES = 256 * 1024**2

HEARTBEAT_S = 5.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A spec whose files are on disk, with a line for everything that was changed on the way."""

    spec: RenderSpec
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """
    What a door hands over: the job's names, the engine and deadline asked for, and how to get its spec.

    `prepare` reads the job's inputs into the folder that it is given; the folder is removed afterwards.
    """

    request: JobRequest
    engine: str
    timeout_s: float
    prepare: Callable[[Path], Awaitable[Prepared]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a renderer asks of the machine and the clock; tests shorten them."""

    min_free_bytes: int = MIN_FREE_BYTES
    heartbeat_s: float = HEARTBEAT_S
    wait_step_s: float = 1.0


class Renderer:
    """Render orders one at a time, each recorded in the store from its first moment to its last."""

    def __init__(
        self,
        *,
        store: JobStore,
        roster: Roster,
        out_dir: Path,
        models_dir: str,
        mini_allowed: bool,
        limits: Limits = Limits(),
    ) -> None:
        self._store = store
        self._roster = roster
        self._out_dir = out_dir
        self._models_dir = models_dir
        self._mini_allowed = mini_allowed
        self._limits = limits
        self._turn = asyncio.Lock()

    async def render(self, order: Order, report: Report) -> Job:
        """
        Return the COMPLETED job of *order*: rendered now, or found in the store under its request id.

        Checks come before the claim, so a request that cannot run leaves nothing on disk. Raises WorkerError; on
        cancellation the engine has stopped, and the job is CANCELLED, before CancelledError passes.
        """
        deadline = Deadline(order.timeout_s)
        report(Progress("preparing", 0.0))
        while True:
            async with deadline.scope():
                if earlier := await self._earlier(order.request):
                    return earlier
                await self._turn.acquire()
            try:
                if job := await self._render_now(order, deadline, report):
                    return job
            finally:
                self._turn.release()

    async def _earlier(self, request: JobRequest) -> Job | None:
        """Return the job if it is COMPLETED already; a live attempt elsewhere is waited for."""
        while True:
            try:
                job = self._store.find(request.request_id)
            except UnknownJob:
                return None
            if job.spec_hash != request.spec_hash:
                raise RequestIdReused(f"request_id {request.request_id!r} already names a different request.")
            if job.status.is_terminal:
                return job if job.status is JobStatus.COMPLETED else None
            await asyncio.sleep(self._limits.wait_step_s)

    async def _render_now(self, order: Order, deadline: Deadline, report: Report) -> Job | None:
        """Prepare, claim and render; None when another worker claimed the job in between."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="wanworker-") as scratch:
            work_dir = Path(scratch)
            async with deadline.scope():
                prepared = await order.prepare(work_dir)
                choice = await asyncio.to_thread(self._choose, prepared.spec, order.engine)
                spec, cropped = await _cropped(choice.spec, work_dir)
            self._check_disk()
            claim = self._store.claim(order.request)
            if not claim.is_ours:
                return None
            plan = Choice(choice.engine, spec, (*prepared.warnings, *choice.warnings, *cropped))
            attempt = Attempt(self._store, claim.job, report, self._limits.heartbeat_s)
            return await self._attempt(attempt, plan, work_dir, deadline, time.monotonic() - started)

    def _choose(self, spec: RenderSpec, asked: str) -> Choice:
        if asked != "auto":
            self._roster.row(asked)
        return choose(
            spec,
            self._roster.rows,
            self._roster.readiness,
            asked=asked,
            searched=self._models_dir,
            mini_allowed=self._mini_allowed,
        )

    def _check_disk(self) -> None:
        try:
            self._out_dir.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._out_dir).free
        except OSError as error:
            raise DiskFull(f"The output folder {self._out_dir} cannot be written: {error.strerror}.") from error
        if free < self._limits.min_free_bytes:
            wanted = self._limits.min_free_bytes // 1024**2
            raise DiskFull(f"Only {free // 1024**2} MiB are free in {self._out_dir}; a render needs {wanted} MiB.")

    async def _attempt(
        self, attempt: Attempt, plan: Choice, work_dir: Path, deadline: Deadline, prepare_s: float
    ) -> Job:
        job = attempt.job
        part_path = self._out_dir / f".{job.request_id}-{job.attempt}.part.mp4"
        started = time.monotonic()
        try:
            async with attempt.recorded():
                engine = self._roster.engine(plan.engine)
                async with deadline.scope():
                    rendered = await engine.render(plan.spec, part_path, work_dir=work_dir, report=attempt.on_progress)
                facts = await _verified(part_path, plan.spec)
                final_path = self._out_dir / f"{job.request_id}.mp4"
                part_path.replace(final_path)
                output = await in_thread(_output, final_path, facts)
                timings = _timings(rendered, prepare_s, time.monotonic() - started)
                return attempt.complete(plan, rendered, output, timings)
        finally:
            part_path.unlink(missing_ok=True)


async def _cropped(spec: RenderSpec, work_dir: Path) -> tuple[RenderSpec, tuple[str, ...]]:
    """Crop the pictures to the aspect of a size that was asked for; a derived size has theirs already."""
    warnings = []
    changes: dict[str, Path] = {}
    for name, path in (("image", spec.image), ("last_image", spec.last_image)):
        target = work_dir / f"{name}-cropped.png"
        if path and spec.size_given and await in_thread(crop_to_aspect, path, target, spec.size):
            changes[name] = target
            warnings.append(f"{name} was cropped (centre) to the shape of {spec.size}.")
    return dataclasses.replace(spec, **changes), tuple(warnings)  # type: ignore[arg-type]


async def _verified(path: Path, spec: RenderSpec) -> VideoFacts:
    """Return the facts of a file that is whole. Raises NoOutput: an engine's own word is not success."""
    if not path.is_file():
        raise NoOutput("The engine reported success and wrote no file.")
    facts = await probe(path)
    if TASKS[spec.task].needs_audio and not facts.has_audio:
        raise NoOutput(f"The video of {spec.task} has no sound: it could not be joined with the audio.")
    return facts


def _output(path: Path, facts: VideoFacts) -> Output:
    file = file_facts(path)
    return Output(
        path=str(path),
        kind="video",
        mime=file.mime,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        width=facts.width,
        height=facts.height,
        fps=facts.fps,
        frames=facts.frames,
        duration_s=facts.duration_s,
        codec=facts.codec,
        has_audio=facts.has_audio,
    )


def _timings(rendered: Rendered, prepare_s: float, render_s: float) -> dict[str, float]:
    seconds = {"prepare_s": prepare_s, **rendered.timings, "render_s": render_s, "total_s": prepare_s + render_s}
    return {name: round(value, 3) for name, value in seconds.items()}
