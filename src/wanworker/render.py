"""Render one job: choose the engine, keep the heartbeat and the deadline, cancel, verify, record."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from wanworker.deadline import Deadline
from wanworker.engines.base import Engine, Forecast, Rendered, Report
from wanworker.engines.cards.lease import Lease
from wanworker.engines.registry import EngineRegistry
from wanworker.errors import UnknownJob, WorkerError
from wanworker.jobs.attempt import Attempt
from wanworker.jobs.model import CANCELLED, Job, JobStatus, Output
from wanworker.jobs.output_paths import SUFFIXES, OutputPaths, check_own_name, would_overwrite
from wanworker.jobs.several_outputs import Made, render_each, seeds_from
from wanworker.jobs.store.job_store import Claim, JobRequest, JobStore
from wanworker.media.threads import in_thread
from wanworker.output_files import render_to_files
from wanworker.planning.fitting import Fitted, Fitting, PreparedSpec
from wanworker.planning.like_jobs import Expected, expected, kind_of
from wanworker.planning.room import check_room, make_room, work_folder
from wanworker.planning.turns import Slot, Turns
from wanworker.progress import Progress
from wanworker.spec import RenderSpec

#: No render starts with less free space. A 1280x720 clip with its scratch files needs much less.
MIN_FREE_BYTES = 256 * 1024**2

HEARTBEAT_S = 5.0


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """
    Hold what a door hands over: the job's names, the engine and deadline it asks for, and how to get its spec.

    `prepare` reads the job's inputs into a folder that is removed afterwards. `suffix` follows the request id in the
    name of a render's one file. `queued` is the QUEUED attempt that the door already holds: it is started, and no other
    is searched for. `num_outputs` videos are made of one spec, with its seed and those that follow; a graph's outputs
    are its own. `draft` is the spec with names for its files, None for a graph; it tells whose turn the job waits for.
    """

    job: JobRequest
    engine: str
    timeout_s: float
    prepare: Callable[[Path], Awaitable[PreparedSpec]]
    suffix: str = SUFFIXES["generate"]
    queued: Job | None = None
    num_outputs: int = 1
    draft: RenderSpec | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Hold what a renderer asks of the machine and the clock. Tests use smaller values."""

    min_free_bytes: int = MIN_FREE_BYTES
    heartbeat_s: float = HEARTBEAT_S
    wait_step_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Planned:
    """Hold what `Renderer.render` would make of a request now, and how long jobs like it took here."""

    engine: str
    forecast: Forecast
    warnings: tuple[str, ...]
    expected: Expected


class Renderer:
    """Render as many requests at once as their engines take, and record each in the store from its start to its end."""

    def __init__(
        self,
        *,
        store: JobStore,
        registry: EngineRegistry,
        out_dir: Path,
        models_dir: str,
        mini_allowed: bool,
        limits: Limits = Limits(),
    ) -> None:
        self._store = store
        self._registry = registry
        self._out_dir = out_dir
        self._fitting = Fitting(registry, models_dir=models_dir, mini_allowed=mini_allowed)
        self._limits = limits
        self._turns = Turns(registry)
        self._untold: dict[str, float] = {}

    def note_start(self, start_s: float) -> None:
        """Record how long the worker's start took. The timings of the first video show it as `start_s`."""
        self._untold = {"start_s": start_s}

    async def render(self, request: RenderRequest, report: Report) -> Job:
        """
        Return the COMPLETED job of *request*: rendered now, or found in the store under its request id.

        The checks come before the claim, so a request that cannot run leaves nothing on disk. Raises WorkerError. On
        cancellation, CancelledError is raised after the engine has stopped and the job is CANCELLED.
        """
        check_own_name(request.job.request_id)
        deadline = Deadline(request.timeout_s)
        while True:
            async with deadline.scope():
                if request.queued is None and (earlier := await self._earlier(request.job, report)):
                    return earlier
                place = await self.place_of(request)
            async with self._turns.slot(place, deadline, report) as slot:
                if job := await self._render_now(request, slot, deadline, report):
                    return job

    async def place_of(self, request: RenderRequest) -> str:
        """Return the place, one of the registry's, where *request* will be rendered, as far as that is known by now."""
        return await self._fitting.place_of(request.draft, request.engine)

    async def plan(self, request: RenderRequest) -> Planned:
        """
        Say what `render` would make of *request*, without its turn. Nothing is claimed, rendered or recorded.

        The inputs are read as for a job, because a picture decides the size. Raises what `render` would raise before it
        renders.
        """
        check_own_name(request.job.request_id)
        deadline = Deadline(request.timeout_s)
        async with work_folder("the files of this plan") as work_dir, deadline.scope():
            await in_thread(self._check_id, request)
            prepared = await request.prepare(work_dir)
            fitted = await self._fitting.fitted(prepared, request.engine, work_dir)
            assert isinstance(fitted.spec, RenderSpec), "graphs are not planned"
            await in_thread(check_room, self._out_dir, self._limits.min_free_bytes)
            forecast = await self._registry.engine(fitted.engine).forecast(fitted.spec)
        alike = kind_of(fitted.engine, fitted.spec.task, forecast)
        warnings = tuple(dict.fromkeys((*fitted.warnings, *forecast.warnings)))
        return Planned(fitted.engine, forecast, warnings, await in_thread(expected, self._store, alike))

    def _check_id(self, request: RenderRequest) -> None:
        """Raise RequestIdReused if the request id, or a file that it names, is another request's."""
        with contextlib.suppress(UnknownJob):
            request.job.check_names(self._store.find(request.job.request_id))
        self._check_name(request)

    async def _earlier(self, request: JobRequest, report: Report) -> Job | None:
        """Return the job if it is COMPLETED. Wait for another worker's attempt, after the first word of progress."""
        waits = False
        while True:
            try:
                job = await in_thread(self._store.find, request.request_id)
            except UnknownJob:
                return None
            request.check_names(job)
            if job.status.is_terminal:
                return job if job.status is JobStatus.COMPLETED else None
            if not waits:
                waits = True
                report(Progress("preparing", 0.0))
            await asyncio.sleep(self._limits.wait_step_s)

    async def _render_now(self, request: RenderRequest, slot: Slot, deadline: Deadline, report: Report) -> Job | None:
        """Prepare, claim and render. Return None if another worker claimed the job in between."""
        began = time.monotonic()
        async with work_folder("the files of this job") as work_dir:
            async with deadline.scope():
                prepared = await request.prepare(work_dir)
                fitted = await self._fitting.fitted(prepared, request.engine, work_dir)
            async with slot.lease(fitted, request.job.request_id) as lease:
                async with deadline.scope():
                    await in_thread(self._check_files, request, fitted)
                await self._registry.announce(fitted.engine, request.job.request_id)
                if (job := await self._started(request)) is None:
                    return None
                attempt = Attempt(self._store, job, report, self._limits.heartbeat_s)
                return await self._attempt(
                    attempt, request, fitted, lease, work_dir, deadline, time.monotonic() - began
                )

    async def _started(self, request: RenderRequest) -> Job | None:
        """Return the RUNNING attempt, or None if another worker has the job. A cancelled claim is given up."""
        if request.queued is not None:
            return await in_thread(self._store.update, request.queued, status=JobStatus.RUNNING)
        claimed: list[Claim] = []
        try:
            await in_thread(lambda: claimed.append(self._store.claim(request.job)))
        except asyncio.CancelledError:
            for claim in claimed:
                if claim.is_ours:
                    await in_thread(self._store.update, claim.job, status=JobStatus.CANCELLED, error=CANCELLED)
            raise
        return claimed[0].job if claimed[0].is_ours else None

    def _check_files(self, request: RenderRequest, fitted: Fitted) -> None:
        self._store.check_volume()
        make_room(self._out_dir, self._limits.min_free_bytes)
        if isinstance(fitted.spec, RenderSpec):
            self._check_name(request)

    def _check_name(self, request: RenderRequest) -> None:
        """
        Raise if the job would overwrite a file of another job. Some volumes treat `a.mp4` and `A.mp4` as one name.

        This comes first, so that nothing is rendered in vain. What takes a name later is seen when the file gets it.
        """
        place = OutputPaths(self._out_dir, request.job.request_id, 0, request.suffix)
        places = [place.numbered(number) for number in range(1, request.num_outputs + 1)]
        taken = next((path for each in places if (path := each.final(each.suffix)).exists()), None)
        if request.queued is not None or taken is None:
            return
        try:
            self._store.find(request.job.request_id)
        except UnknownJob as error:
            raise would_overwrite(request.job.request_id, taken) from error

    async def _attempt(
        self,
        attempt: Attempt,
        request: RenderRequest,
        fitted: Fitted,
        lease: Lease,
        work_dir: Path,
        deadline: Deadline,
        prepare_s: float,
    ) -> Job:
        started = time.monotonic()
        seed, task = (fitted.spec.seed, fitted.spec.task) if isinstance(fitted.spec, RenderSpec) else (None, None)
        async with attempt.recorded():
            async with deadline.scope():
                await lease.make_room()
            made = await self._made(attempt, request, fitted, lease, work_dir, deadline)
            rendered = made.merged()
            warnings = (*fitted.warnings, *rendered.warnings, *lease.remarks, *made.warnings(seed or 0))
            return await attempt.complete(
                warnings=tuple(dict.fromkeys(warnings)),
                outputs=tuple(made.outputs),
                failed_outputs=tuple(made.failed),
                engine=fitted.engine,
                model=rendered.model,
                seed=seed,
                task=task,
                recipe=rendered.sampling.to_json() if rendered.sampling else None,
                timings=self._timings(rendered, prepare_s, time.monotonic() - started),
                placement=rendered.placement,
            )

    async def _made(
        self, attempt: Attempt, request: RenderRequest, fitted: Fitted, lease: Lease, work_dir: Path, deadline: Deadline
    ) -> Made:
        """Let the engine of *fitted*, on the card of *lease*, make every output that *request* asks for."""
        job, spec = attempt.job, fitted.spec
        place = OutputPaths(self._out_dir, job.request_id, job.attempt, request.suffix)
        encodes = self._registry.row(fitted.engine).capabilities.crf
        count = request.num_outputs if isinstance(spec, RenderSpec) else 1

        async def render_one(number: int, seed: int, report: Report) -> tuple[Rendered, tuple[Output, ...]]:
            own = dataclasses.replace(spec, seed=seed) if isinstance(spec, RenderSpec) else spec
            folder = work_dir if number == 1 else work_dir / f"output-{number}"
            await in_thread(folder.mkdir, exist_ok=True)

            async def render(engine: Engine) -> tuple[Rendered, tuple[Output, ...]]:
                to = place.numbered(number)
                confirm = self._store.check_volume
                made = render_to_files(engine, own, to, folder, report, deadline, encodes=encodes, confirm=confirm)
                return await self._on_volume(made)

            rendered, outputs = await lease.tried(render, deadline.scope)
            if count > 1:
                outputs = tuple(dataclasses.replace(output, seed=seed) for output in outputs)
            return rendered, outputs

        seeds = seeds_from(spec.seed if isinstance(spec, RenderSpec) else 0, count)
        return await render_each(seeds, render_one, report=attempt.on_progress, keep=attempt.keep)

    async def _on_volume(
        self, rendering: Awaitable[tuple[Rendered, tuple[Output, ...]]]
    ) -> tuple[Rendered, tuple[Output, ...]]:
        """Return what *rendering* returns. Raises DiskFull if the volume went away, whatever the engine says then."""
        try:
            return await rendering
        except (WorkerError, OSError):  # perhaps it wrote into the empty folder where the volume was mounted
            await in_thread(self._store.check_volume)
            raise

    def _timings(self, rendered: Rendered, prepare_s: float, render_s: float) -> dict[str, float]:
        start, self._untold = self._untold, {}
        whole = {"render_s": render_s, "total_s": prepare_s + render_s}
        seconds = {**start, "prepare_s": prepare_s, **rendered.timings, **whole}
        return {name: round(value, 3) for name, value in seconds.items()}
