"""Submit, look up, list and delete jobs."""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from wanworker.actions.request.fields import naming_unknown, parse
from wanworker.app import Worker
from wanworker.errors import UnknownJob
from wanworker.jobs.model import Job, JobStatus, Output, check_request_id, is_request_id
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import ActiveJob, Runner
from wanworker.jobs.store.job_store import Page
from wanworker.media.inputs.reader import Source
from wanworker.media.new_file import full_disk_reported
from wanworker.media.outputs.upload_url import UploadUrl
from wanworker.media.threads import in_thread
from wanworker.rest.http.errors import NotReady
from wanworker.rest.schemas.generate import GenerateBody, generate_fields
from wanworker.rest.schemas.status import status_of
from wanworker.rest.service.intake import Intake, NewJob, check_url
from wanworker.rest.service.outputs import gone, name_of, output_of, shown_outputs
from wanworker.rest.service.uploads import Uploads

#: How many records of ended jobs stay in memory, for clients that still poll.
_REMEMBERED = 1000

#: How many seconds it is remembered whether a file exists, because many clients poll one finished job.
_LOOK_HOLDS_S = 2.0

_URL_HINTS = {
    "image_url": "Send a public http(s) URL, or the picture itself in `image`: base64 text, or a file in a form.",
    "webhook_url": "Send a public http(s) URL.",
    "soundtrack_url": "Send a public http(s) URL.",
}

_ASK_FOR = "Use the job_id that /generate returned. A deleted job is no longer known."


class JobService:
    """
    Serve the routes. Disk access runs in a thread, and polling is answered from memory.

    *as_shown* returns a record as it is to be shown; it may block. (See JobRecovery.)
    """

    def __init__(
        self,
        worker: Worker,
        kept: PendingRequests,
        runner: Runner,
        uploads: Uploads,
        *,
        as_shown: Callable[[Job], Job] = lambda job: job,
    ) -> None:
        self.worker = worker
        self.kept = kept
        self.runner = runner
        self._uploads = uploads
        self._as_shown = as_shown
        self._turns = runner.turns
        self._intake = Intake(worker, kept, runner, uploads, self._turns)
        self._store = worker.store
        self._remembered: OrderedDict[str, Job] = OrderedDict()
        self._taken: OrderedDict[str, None] = OrderedDict()
        self._deleting: set[str] = set()
        self._looks: dict[str, tuple[float, bool]] = {}
        self._changes = 0

    @property
    def state(self) -> tuple[int, tuple[str, ...], int]:
        """
        Return a value that changes when a job or its video is added, starts, ends or goes, but not with mere progress.
        """
        running = tuple(live.job.request_id for live in self.runner.running)
        return self._changes, running, self.runner.waiting

    async def submit(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Queue what *fields* ask for and return the answer to POST /generate. Raises WorkerError."""
        with naming_unknown(GenerateBody, fields):
            return await self._submit(fields)

    async def _submit(self, fields: dict[str, Any]) -> dict[str, Any]:
        body, warnings = parse(GenerateBody, fields)
        if body.engine is not None and body.engine != "auto":
            self.worker.registry.row(body.engine)
        for name in ("webhook_url", "image_url", "soundtrack_url"):
            _check_url(getattr(body, name), name, body.spelled(name))
        allow_hosts = self.worker.settings.allow_hosts
        urls = UploadUrl.for_outputs(body.output_upload_urls, body.num_outputs, allow_hosts=allow_hosts)
        resolved = body.resolved(warnings)
        job = await self.queue(
            NewJob(
                fields=generate_fields(body, resolved),
                inputs={"reference_image": Source("base64", body.image, body.spelled("image"))} if body.image else {},
                left_out=body.left_out(),
                warnings=warnings,
                webhook_url=body.webhook_url,
                upload_urls=urls,
                sent=[*fields],
            )
        )
        return {
            "job_id": job.request_id,
            "status": "queued",
            "message": "Video generation started",
            "queue_position": self._position(job.request_id),
            "warnings": warnings,
            "negative_prompt": body.negative_prompt,
            "engine": body.engine or self.worker.settings.engine,
            **resolved,
            **({"num_outputs": body.num_outputs} if body.num_outputs > 1 else {}),
            **({"thumbnail_url": f"/thumbnail/{job.request_id}"} if body.thumbnail else {}),
        }

    async def queue(self, new: NewJob) -> Job:
        """Put what a route asks for into the queue, and return its job. Raises WorkerError."""
        job = await self._intake.queue(new)
        self._changes += 1
        return job

    async def find(self, any_id: str) -> Job:
        """Return the newest record of a job, from memory where that is known to be the newest. Raises UnknownJob."""
        if any_id in self._deleting:
            raise UnknownJob(f"No job {any_id} is known here.", hint=_ASK_FOR)
        live = self.runner.find(any_id)
        if live is not None:
            return live.job
        if any_id in self._remembered:
            return self._remembered[any_id]
        if not is_request_id(any_id):
            raise UnknownJob(f"No job {any_id[:80]!r} is known here.", hint=_ASK_FOR)
        try:
            job = await in_thread(lambda: self._as_shown(self._store.find(any_id)))
        except UnknownJob as error:
            raise UnknownJob(str(error), hint=_ASK_FOR) from error
        if job.status.is_terminal and job.request_id == any_id:
            self.remember(job)
        return job

    def live(self, request_id: str) -> ActiveJob | None:
        """Return the job if it waits or renders in this process."""
        return self.runner.find(request_id)

    async def status(self, request_id: str) -> dict[str, Any]:
        """Return what GET /status answers. Raises UnknownJob."""
        return await self._shown(await self.find(request_id))

    async def listing(self, limit: int, cursor: str | None) -> dict[str, Any]:
        """Return what GET /jobs answers, newest first. Raises InvalidRequest."""
        page, shown = await in_thread(self._page, self._store.recent, limit, cursor)
        jobs = self._newest(shown)
        await self._look_at(jobs)
        return {"jobs": [self._as_seen(job) for job in jobs], "total": page.total, "next_cursor": page.next_cursor}

    async def after(self, limit: int, request_id: str | None, *, oldest_first: bool) -> tuple[list[Job], bool]:
        """Return the jobs that follow *request_id*, and whether more follow them. Raises UnknownJob."""
        reads = functools.partial(self._store.after, oldest_first=oldest_first)
        page, shown = await in_thread(self._page, reads, limit, request_id)
        return self._newest(shown), page.next_cursor is not None

    def _page(self, read: Callable[[int, str | None], Page], limit: int, start: str | None) -> tuple[Page, list[Job]]:
        page = read(limit, start)
        return page, [self._as_shown(job) for job in page.jobs]

    def _newest(self, jobs: Iterable[Job]) -> list[Job]:
        return [live.job if (live := self.runner.find(job.request_id)) else job for job in jobs]

    async def video(self, request_id: str, number: int | None = None) -> Path:
        """
        Return the file of a finished job: the first one that was made, or output *number*, from 1, of several.

        Raises UnknownJob, NotReady, Gone.
        """
        job = await self.find(request_id)
        if job.status is not JobStatus.COMPLETED:
            why = f"it failed: {job.error.text}" if job.error else "it has not ended"
            raise NotReady(f"Job {request_id} has no video: {why}")
        output = output_of(job, number)
        await self._look_at([job])
        if not self._is_seen(output):
            raise gone(request_id)
        return Path(output.path)

    async def delete(self, request_id: str) -> None:
        """Stop the job if it has not ended, and remove its record, its files and its request. Raises UnknownJob."""
        job = await self.find(request_id)
        self._deleting.add(request_id)
        try:
            # This comes first, so that the end of the render is not reported and the job is not resumed.
            async with self._turns:
                await in_thread(self.kept.remove, check_request_id(request_id))
            await self.runner.cancel(request_id)
            async with self._turns:
                await in_thread(self._remove, request_id)
        finally:
            self._deleting.discard(request_id)
        self._uploads.forget(request_id)
        self._remembered.pop(request_id, None)
        for name in (request_id, *map(name_of, job.outputs)):
            self._taken.pop(name, None)
            self._looks.pop(name, None)
        self._changes += 1

    def mark_downloaded(self, name: str) -> None:
        """
        Count the video of this name (its file's, without ending) as downloaded. It is gone from now on, though its file
        may stay for some seconds.
        """
        self._changes += 1
        self._taken[name] = None
        self._looks.pop(name, None)
        while len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)  # the file is gone by now, so memory need not say so

    def unmark_downloaded(self, name: str) -> None:
        """Give the video back after a transfer that broke off."""
        self._changes += 1
        self._taken.pop(name, None)

    def remember(self, job: Job) -> None:
        """Keep the record of an ended job in memory."""
        self._changes += 1
        self._remembered[job.request_id] = job
        self._remembered.move_to_end(job.request_id)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    async def _shown(self, job: Job) -> dict[str, Any]:
        await self._look_at([job])
        return self._as_seen(job)

    def _as_seen(self, job: Job) -> dict[str, Any]:
        live = self.runner.find(job.request_id)
        ready = [output.path for output in job.outputs if self._is_seen(output)]
        return status_of(job, live=live, position=self._position(job.request_id), ready=ready)

    def _is_seen(self, output: Output) -> bool:
        name = name_of(output)
        return name not in self._taken and self._looks.get(name, (0.0, False))[1]

    async def _look_at(self, jobs: list[Job]) -> None:
        """Check whether the videos of *jobs* exist, in one thread for all, unless that was checked a moment ago."""
        now = asyncio.get_running_loop().time()
        outputs = [output for job in jobs for output in shown_outputs(job)]
        known = {name: self._looks[name] for name in map(name_of, outputs) if name in self._looks}
        files = {
            name: Path(output.path)
            for output in outputs
            if (name := name_of(output)) not in self._taken
            and now - known.get(name, (-_LOOK_HOLDS_S, False))[0] >= _LOOK_HOLDS_S
        }
        if not files:
            return
        seen = await in_thread(lambda: [path.is_file() for path in files.values()])
        if len(self._looks) > _REMEMBERED:
            self._looks.clear()
        new = {name: (now, is_there) for name, is_there in zip(files, seen, strict=True)}
        self._looks.update(known | new)

    def _position(self, request_id: str) -> int | None:
        live = self.runner.find(request_id)
        return None if live is None or live.is_rendering else self.runner.position(request_id)

    def _remove(self, request_id: str) -> None:
        try:
            job = self._store.find(request_id)
        except UnknownJob:
            return  # another process on the volume was quicker
        for output in job.outputs:
            with full_disk_reported(f"the deletion of {output.path}"):
                Path(output.path).unlink(missing_ok=True)
        self._store.delete(job.request_id)


def _check_url(url: str | None, field: str, spelled: str) -> None:
    if url and not (field in {"image_url", "soundtrack_url"} and url.lstrip().lower().startswith("data:")):
        check_url(url, spelled, hint=_URL_HINTS[field])
