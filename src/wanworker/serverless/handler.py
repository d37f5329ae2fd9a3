"""The handler: one RunPod job in, one answer out. It returns failures and never raises."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import signal
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from wanworker import logs
from wanworker.errors import InvalidRequest, WorkerError
from wanworker.serverless._progress import ProgressPosts, Report
from wanworker.serverless.answer import Unprinted, answer_limit_bytes, error_answer, fit_to_limit, strict
from wanworker.text.json_words import kind_of

logger = logging.getLogger(__name__)

#: The SDK's `progress_update`: takes the job, then the progress to show.
Send = Callable[[dict[str, Any], dict[str, Any]], object]

#: The SDK gives every local job this id, so it identifies none of them.
_LOCAL_ID = "local_test"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class MakeCall(Protocol):
    """Make the description of one call that the worker takes (wanworker.actions.base.Call)."""

    def __call__(
        self,
        request_id: str,
        runpod_id: str | None,
        report: Report,
        answer_limit_bytes: int,
        s3_config: object,
    ) -> Any:
        """Return the value that `perform` takes."""


class Performer(Protocol):
    """Define what the door needs of the worker (wanworker.app.Worker)."""

    @property
    def cards(self) -> int:
        """Return how many jobs can render on this machine at once."""

    def note_ready(self) -> None:
        """Note that jobs can be taken from now on."""

    def warm_up(self) -> None:
        """Begin in the background what jobs would wait for. Never waits, never raises."""

    async def perform(self, payload: object, call: Any) -> dict[str, Any]:
        """Return the answer. Raises WorkerError. On cancellation, returns only when all work has stopped."""

    async def close(self) -> None:
        """Stop everything that still runs."""


class JobHandler:
    """
    Handle jobs for the SDK for as long as its event loop runs.

    The SDK has no hook for the end of a worker, and it ends a local run with SystemExit. But however its loop ends, the
    tasks left in it are cancelled and waited for. So a task of the door waits in that loop, and closes the worker when
    it is cancelled.
    """

    def __init__(
        self,
        worker: Performer,
        make_call: MakeCall,
        *,
        send: Send,
        in_worker: bool,
        max_answer_bytes: int | None = None,
    ) -> None:
        """Prepare the door; *worker* says how many jobs it takes at once."""
        self._worker = worker
        self._handle = functools.partial(
            handle,
            worker=worker,
            make_call=make_call,
            send=send,
            in_worker=in_worker,
            max_answer_bytes=max_answer_bytes,
        )
        self._closing: asyncio.Task[None] | None = None

    def begin(self, concurrency: int) -> int:
        """
        Serve as the SDK's `concurrency_modifier`, the only thing that it calls in its loop before it asks for a job.

        Returns *concurrency*, or the number of the worker's cards if WAN_GPUS names more. The SDK does not call it in
        a local run; there, a warm-up would only compete with the one job.
        """
        if self._opened():
            self._worker.warm_up()
        return max(concurrency, self._worker.cards)

    async def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        """Answer *job*; see `handle`. An interrupted local run ends the process once all work has stopped."""
        if self._opened():
            await asyncio.sleep(0)  # let the task begin: one that is cancelled before its first step never cleans up
        if job["id"] == _LOCAL_ID:
            return await _interruptible(self._handle(job))
        return await self._handle(job)

    def _opened(self) -> bool:
        """Open the door unless it is open. Return whether this call opened it."""
        if self._closing is not None:
            return False
        self._closing = asyncio.create_task(self._close_with_the_loop())
        self._worker.note_ready()
        return True

    async def _close_with_the_loop(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self._worker.close()


async def handle(
    job: dict[str, Any],
    *,
    worker: Performer,
    make_call: MakeCall,
    send: Send,
    in_worker: bool,
    max_answer_bytes: int | None = None,
) -> dict[str, Any]:
    """
    Return the answer to *job*, or its failure with a top-level `error`, as strict JSON within RunPod's limit.

    Progress goes to *send* if RunPod listens: *in_worker*, and the job is no local test. What comes too quickly is
    dropped, and nothing is sent after this has returned. CancelledError is raised after the worker has stopped.
    """
    runpod_id = _runpod_id(job)
    request_id = runpod_id or str(uuid.uuid4())
    limit_bytes = answer_limit_bytes(str(job["id"]), max_answer_bytes)
    listening = in_worker and job["id"] != _LOCAL_ID
    # The worker replaces this request id by the caller's own as soon as it has read it.
    named = logs.request_id.set(request_id)
    posts = ProgressPosts(
        (lambda shown: send(job, strict(shown))) if listening else None, request_id=logs.request_id.get
    )
    call = make_call(request_id, runpod_id, posts.report, limit_bytes, job.get("s3Config"))
    try:
        answer = fit_to_limit(strict(await worker.perform(_payload(job), call)), limit_bytes)
        return Unprinted(answer) if listening else answer  # a local run prints the whole answer
    except WorkerError as error:
        logger.warning("The job failed: %s %s", error.code, error)
        return error_answer(error, logs.request_id.get())
    except Exception as error:  # a door catches everything, so that no traceback reaches the caller
        logger.exception("The job failed with an unexpected error.")
        return error_answer(error, logs.request_id.get())
    finally:
        await posts.drain()
        logs.request_id.reset(named)


async def _interruptible(answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """
    Cancel *answer* on Ctrl-C or SIGTERM, and then exit as a shell expects: with 128 plus the signal's number.

    In a local run, the SDK raises SystemExit on Ctrl-C from whatever line is running, and ignores SIGTERM.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    caught: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        caught.append(number)
        if task is not None:
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError):  # Windows
        for number in numbers:
            loop.add_signal_handler(number, interrupt, number)
    try:
        return await answer
    except asyncio.CancelledError:
        if caught:
            raise SystemExit(128 + caught[0]) from None
        raise
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)


def _runpod_id(job: Mapping[str, Any]) -> str | None:
    """Return RunPod's id of the job if it can be a request id, which becomes a file name."""
    job_id = job["id"]
    fits = isinstance(job_id, str) and job_id != _LOCAL_ID and _REQUEST_ID.fullmatch(job_id)
    return job_id if fits else None


def _payload(job: Mapping[str, Any]) -> Mapping[str, Any]:
    payload = job.get("input")
    if not isinstance(payload, Mapping):
        raise InvalidRequest(f"`input` must be a JSON object; got {kind_of(payload)}.", field="input")
    return payload
