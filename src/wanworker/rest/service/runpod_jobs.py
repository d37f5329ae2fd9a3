"""Answer RunPod's own calls, so that a client of a RunPod endpoint works with this server."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.engines.base import Report
from wanworker.engines.preview import Previewed
from wanworker.errors import InvalidRequest, UnknownJob
from wanworker.jobs.runner import QueueFull
from wanworker.progress import AwaitsTurn, Progress
from wanworker.rest.schemas.runpod import Terms, terms_of
from wanworker.rest.service._end_webhooks import EndWebhooks
from wanworker.rest.service.intake import check_url
from wanworker.rest.service.webhooks import Webhooks
from wanworker.serverless.handler import handle
from wanworker.text.json_words import kind_of

log = logging.getLogger(__name__)

#: How many answers are kept for /status, the newest ones; each may hold a video. RunPod keeps them for 30 minutes.
_KEPT = 32
_KEPT_S = 1800.0
#: How many characters all kept answers may have. The newest one stays, however large.
_KEPT_CHARACTERS = 128 * 1024**2
_WAIT_S = 90.0

#: Call something later, as a loop's `call_later` does.
CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


def _call_later(wait_s: float, action: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(wait_s, action)


@dataclass(eq=False, slots=True)
class _Job:
    created: float
    terms: Terms
    began: float | None = None
    timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    ran_out: str | None = None
    task: asyncio.Task[dict[str, Any]] | None = None
    noting: asyncio.Task[None] | None = None
    progress: dict[str, Any] | None = None
    preview: Previewed | None = None
    ended: float | None = None
    answer: dict[str, Any] | None = None
    size: int = 0
    is_stopping: bool = False
    is_cancelled: bool = False


class RunPodJobs:
    """
    Hold the jobs that came by these routes. At most *limit* may be unfinished. *webhooks* tell callers of their ends.
    """

    def __init__(
        self,
        worker: Worker,
        webhooks: Webhooks,
        *,
        limit: int,
        kept_characters: int = _KEPT_CHARACTERS,
        call_later: CallLater = _call_later,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        self._worker = worker
        self._end_webhooks = EndWebhooks(webhooks, worker.store.ends, turns=turns)
        self._call_later = call_later
        self._is_closing = False
        self._kept_characters = kept_characters
        self._limit = limit
        self._unfinished: dict[str, _Job] = {}
        self._over: OrderedDict[str, _Job] = OrderedDict()

    def start(self, body: Mapping[str, Any], *, is_sync: bool, on_end: Callable[[], None] = lambda: None) -> str:
        """Start a job and return its id. *on_end* is called when it ends. Raises InvalidRequest, QueueFull."""
        if not isinstance(body.get("input"), Mapping):
            raise InvalidRequest(f"`input` must be a JSON object; got {kind_of(body.get('input'))}.", field="input")
        terms = terms_of(body)
        if terms.webhook is not None:
            check_url(terms.webhook, "webhook", hint="Send a public http(s) URL.")
        self._forget_old()
        if len(self._unfinished) >= self._limit:
            raise QueueFull(f"{self._limit} jobs are unfinished already.", retry_after_s=30)
        # RunPod's ids say by their ending which route was used. It decides the size limit of the answer.
        job_id = f"sync-{uuid.uuid4()}" if is_sync else f"{uuid.uuid4()}"
        job = _Job(time.time(), terms)
        self._unfinished[job_id] = job
        if terms.webhook is not None:
            job.noting = self._end_webhooks.expect(terms.webhook, job_id)
        job.task = asyncio.create_task(self._perform(job_id, job, body))
        job.task.add_done_callback(lambda _task: self._ended(job_id, job, on_end))
        self._limit_time(job, "ttl", terms.ttl_s)
        self._limit_time(job, "executionTimeout", terms.execution_s)
        return job_id

    async def taken(self, job_id: str) -> None:
        """Wait until it is on the volume who has to hear of the job's end, before its id is handed out."""
        noting = self._known(job_id).noting
        if noting is not None:
            await asyncio.wait({noting})

    async def watch(self) -> None:
        """Tell webhooks what an earlier process could not, until cancelled."""
        await self._end_webhooks.watch()

    async def wait(self, job_id: str, wait_s: float = _WAIT_S) -> dict[str, Any]:
        """Return the job as /runsync shows it, after its end or after *wait_s* seconds."""
        job = self._known(job_id)
        if job.task is not None:
            await asyncio.wait({job.task}, timeout=wait_s)
        return self.status(job_id)

    def status(self, job_id: str) -> dict[str, Any]:
        """Return the job as /status shows it. Raises UnknownJob."""
        return _shown(job_id, self._known(job_id))

    def preview(self, job_id: str) -> Previewed | None:
        """Return the latest picture of a job that renders, if its engine sends any."""
        job = self._unfinished.get(job_id)
        return job.preview if job is not None else None

    async def cancel(self, job_id: str) -> dict[str, Any]:
        """Stop the job, and return it when nothing of it runs any more. Raises UnknownJob."""
        job = self._known(job_id)
        if job.task is not None and not job.task.done():
            job.is_cancelled = _stop(job) or job.is_cancelled
            await asyncio.wait({job.task})
        return self.status(job_id)

    async def close(self) -> None:
        """Stop every job. The next process tells of those that this cuts off."""
        self._is_closing = True
        tasks = [job.task for job in self._unfinished.values() if job.task is not None]
        for job in self._unfinished.values():
            _stop(job)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._end_webhooks.close()

    def _ended(self, job_id: str, job: _Job, on_end: Callable[[], None]) -> None:
        """Note the end of a job, of one too that was stopped before its first step."""
        job.ended = time.time()
        job.preview, job.size = None, _characters(job.answer)
        del self._unfinished[job_id]
        self._over[job_id] = job  # the order of their ends is that in which they are forgotten
        log.info("job %s ended: %s in %.1f s", job_id, _word(job), job.ended - job.created)
        for timer in job.timers.values():
            timer.cancel()
        on_end()
        if job.terms.webhook is not None and (job.answer is not None or not self._is_closing):
            self._end_webhooks.tell(job.terms.webhook, job_id, _shown(job_id, job), job.size)

    def _limit_time(self, job: _Job, name: str, limit_s: float | None) -> None:
        """Stop *job* in *limit_s* seconds, on account of the field *name* of its policy."""

        def stop() -> None:
            if _stop(job):
                job.ran_out = name

        if limit_s is not None:
            job.timers[name] = self._call_later(limit_s, stop)

    def _note_turn(self, job: _Job, *, waits: bool) -> None:
        """Let the time of execution begin when the job has its turn. A job can wait again, for another card."""
        name = "executionTimeout"
        if waits:
            job.began = None
            if name in job.timers:
                job.timers.pop(name).cancel()
        elif job.began is None:
            job.began = time.time()
            if name not in job.timers:
                self._limit_time(job, name, job.terms.execution_s)

    async def _perform(self, job_id: str, job: _Job, body: Mapping[str, Any]) -> dict[str, Any]:
        def show(_job: dict[str, Any], progress: dict[str, Any]) -> None:
            job.progress = progress

        def make_call(
            request_id: str, runpod_id: str | None, report: Report, answer_limit_bytes: int, s3_config: object
        ) -> Call:
            def told(progress: Progress) -> None:
                self._note_turn(job, waits=isinstance(progress, AwaitsTurn))
                if isinstance(progress, AwaitsTurn):
                    return  # it is IN_QUEUE until it has something to show
                job.preview = progress if isinstance(progress, Previewed) else job.preview
                report(progress)

            return Call(request_id, runpod_id, told, answer_limit_bytes, s3_config)

        asked = {"id": job_id, "input": body["input"], "s3Config": body.get("s3Config")}
        job.answer = await handle(
            asked,
            worker=self._worker,
            make_call=make_call,
            send=show,
            in_worker=True,
            max_answer_bytes=self._worker.settings.max_answer_bytes,
        )
        if job.terms.warnings:
            job.answer["warnings"] = [*job.answer.get("warnings", ()), *job.terms.warnings]
        return job.answer

    def _known(self, job_id: str) -> _Job:
        self._forget_old()
        job = self._unfinished.get(job_id) or self._over.get(job_id)
        if job is None:
            hint = "Answers are kept for half an hour; the `status` action finds every job on the volume."
            raise UnknownJob(f"No job {job_id[:80]!r} is known here.", hint=hint)
        return job

    def _forget_old(self) -> None:
        characters = sum(job.size for job in self._over.values())
        while self._over:
            oldest = next(iter(self._over.values()))
            is_old = time.time() - (oldest.ended or 0) > _KEPT_S
            too_large = len(self._over) > 1 and characters > self._kept_characters
            if not (is_old or too_large or len(self._over) > _KEPT):
                return
            self._over.popitem(last=False)
            characters -= oldest.size


def _stop(job: _Job) -> bool:
    """Stop *job* and return True, or False if it has ended or is stopped already. A second stop would cut the first."""
    if job.task is None or job.task.done() or job.is_stopping:
        return False
    job.is_stopping = True
    job.task.cancel()
    return True


def _shown(job_id: str, job: _Job) -> dict[str, Any]:
    """Return the job as /status shows it."""
    shown: dict[str, Any] = {"id": job_id, "status": _word(job)}
    if job.ended is not None:
        began = job.began or job.created
        shown["executionTime"] = round((job.ended - began) * 1000)
        shown["delayTime"] = round((began - job.created) * 1000)
    if job.answer is not None:
        shown |= _finished(job.answer)
    elif shown["status"] == "TIMED_OUT":
        shown["error"] = f"The job did not end within policy.{job.ran_out}."
    elif job.progress is not None and job.ended is None:
        seen = {"preview_url": f"/preview/{job_id}"} if job.preview is not None else {}
        shown["output"] = job.progress | seen
    return shown


def _word(job: _Job) -> str:
    if job.ended is None:
        return "IN_PROGRESS" if job.progress is not None else "IN_QUEUE"
    if job.is_cancelled:
        return "CANCELLED"
    if job.answer is None:
        return "TIMED_OUT" if job.ran_out else "FAILED"
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
