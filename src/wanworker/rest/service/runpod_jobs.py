"""Answer RunPod's own calls, so that a client of a RunPod endpoint works with this server."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.engines.base import Report
from wanworker.engines.preview import Previewed
from wanworker.errors import InvalidRequest, UnknownJob
from wanworker.jobs.runner import QueueFull
from wanworker.progress import AwaitsTurn, Progress
from wanworker.rest.schemas.runpod import remarks_on
from wanworker.serverless.handler import handle
from wanworker.text.json_words import kind_of

log = logging.getLogger(__name__)

#: How many answers are kept for /status, the newest ones; each may hold a video. RunPod keeps them for 30 minutes.
_KEPT = 32
_KEPT_S = 1800.0
#: How many characters all kept answers may have. The newest one stays, however large.
_KEPT_CHARACTERS = 128 * 1024**2
_WAIT_S = 90.0


@dataclass(eq=False, slots=True)
class _Job:
    created: float
    task: asyncio.Task[dict[str, Any]] | None = None
    progress: dict[str, Any] | None = None
    preview: Previewed | None = None
    ended: float | None = None
    answer: dict[str, Any] | None = None
    size: int = 0
    is_cancelled: bool = False


class RunPodJobs:
    """Hold the jobs that came by these routes. At most *limit* may be unfinished."""

    def __init__(self, worker: Worker, *, limit: int, kept_characters: int = _KEPT_CHARACTERS) -> None:
        self._worker = worker
        self._kept_characters = kept_characters
        self._limit = limit
        self._jobs: OrderedDict[str, _Job] = OrderedDict()

    def start(self, body: Mapping[str, Any], *, is_sync: bool, on_end: Callable[[], None] = lambda: None) -> str:
        """Start a job and return its id. *on_end* is called when it ends. Raises InvalidRequest, QueueFull."""
        if not isinstance(body.get("input"), Mapping):
            raise InvalidRequest(f"`input` must be a JSON object; got {kind_of(body.get('input'))}.", field="input")
        self._forget_old()
        if sum(job.ended is None for job in self._jobs.values()) >= self._limit:
            raise QueueFull(f"{self._limit} jobs are unfinished already.", retry_after_s=30)
        # RunPod's ids say by their ending which route was used. It decides the size limit of the answer.
        job_id = f"sync-{uuid.uuid4()}" if is_sync else f"{uuid.uuid4()}"
        job = _Job(time.time())
        self._jobs[job_id] = job
        job.task = asyncio.create_task(self._perform(job_id, job, body))
        job.task.add_done_callback(lambda _task: on_end())
        return job_id

    async def wait(self, job_id: str, wait_s: float = _WAIT_S) -> dict[str, Any]:
        """Return the job as /runsync shows it, after its end or after *wait_s* seconds."""
        job = self._known(job_id)
        if job.task is not None:
            await asyncio.wait({job.task}, timeout=wait_s)
        return self.status(job_id)

    def status(self, job_id: str) -> dict[str, Any]:
        """Return the job as /status shows it. Raises UnknownJob."""
        job = self._known(job_id)
        shown: dict[str, Any] = {"id": job_id, "status": _word(job)}
        if job.ended is not None:
            shown |= {"executionTime": round((job.ended - job.created) * 1000), "delayTime": 0}
        if job.answer is not None:
            shown |= _finished(job.answer)
        elif job.progress is not None and job.ended is None:
            seen = {"preview_url": f"/preview/{job_id}"} if job.preview is not None else {}
            shown["output"] = job.progress | seen
        return shown

    def preview(self, job_id: str) -> Previewed | None:
        """Return the latest picture of a job that renders, if its engine sends any."""
        job = self._jobs.get(job_id)
        return job.preview if job is not None and job.ended is None else None

    async def cancel(self, job_id: str) -> dict[str, Any]:
        """Stop the job, and return it when nothing of it runs any more. Raises UnknownJob."""
        job = self._known(job_id)
        if job.task is not None and not job.task.done():
            job.is_cancelled = True
            job.task.cancel()
            await asyncio.wait({job.task})
        return self.status(job_id)

    async def close(self) -> None:
        """Stop every job."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None and not job.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _perform(self, job_id: str, job: _Job, body: Mapping[str, Any]) -> dict[str, Any]:
        def show(_job: dict[str, Any], progress: dict[str, Any]) -> None:
            job.progress = progress

        def make_call(
            request_id: str, runpod_id: str | None, report: Report, answer_limit_bytes: int, s3_config: object
        ) -> Call:
            def told(progress: Progress) -> None:
                if isinstance(progress, AwaitsTurn):
                    return  # it is IN_QUEUE until it has something to show
                job.preview = progress if isinstance(progress, Previewed) else job.preview
                report(progress)

            return Call(request_id, runpod_id, told, answer_limit_bytes, s3_config)

        asked = {"id": job_id, "input": body["input"], "s3Config": body.get("s3Config")}
        try:
            job.answer = await handle(
                asked,
                worker=self._worker,
                make_call=make_call,
                send=show,
                in_worker=True,
                max_answer_bytes=self._worker.settings.max_answer_bytes,
            )
            if remarks := remarks_on(body):
                job.answer["warnings"] = [*job.answer.get("warnings", ()), *remarks]
        finally:
            job.ended = time.time()
            log.info("job %s ended: %s in %.1f s", job_id, _word(job), job.ended - job.created)
            job.preview = None
        job.size = _characters(job.answer)
        return job.answer

    def _known(self, job_id: str) -> _Job:
        self._forget_old()
        if job_id not in self._jobs:
            hint = "Answers are kept for half an hour; the `status` action finds every job on the volume."
            raise UnknownJob(f"No job {job_id[:80]!r} is known here.", hint=hint)
        return self._jobs[job_id]

    def _forget_old(self) -> None:
        ended = [job_id for job_id, job in self._jobs.items() if job.ended is not None]
        old = {job_id for job_id in ended if time.time() - (self._jobs[job_id].ended or 0) > _KEPT_S}
        for job_id in (*old, *ended[: max(0, len(ended) - _KEPT)]):
            self._jobs.pop(job_id, None)
        kept = [job_id for job_id in ended if job_id in self._jobs]
        for job_id in kept[:-1]:
            if sum(job.size for job in self._jobs.values()) <= self._kept_characters:
                break
            del self._jobs[job_id]


def _word(job: _Job) -> str:
    if job.ended is None:
        return "IN_PROGRESS" if job.progress is not None else "IN_QUEUE"
    if job.is_cancelled:
        return "CANCELLED"
    if job.answer is None:
        return "FAILED"
    return "FAILED" if "error" in job.answer else "COMPLETED"


def _finished(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what RunPod makes of a handler's answer: a top-level error is moved up, everything else is the output."""
    if "error" not in answer:
        return {"output": dict(answer)}
    rest = {name: value for name, value in answer.items() if name != "error"}
    return {"error": answer["error"], "output": rest}


def _characters(value: object) -> int:
    """Return the length of all texts in *value*, for example of a video in an answer."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0
