"""Follow a job from its submission to its end, and cancel it when the caller is cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.client._answers import JobStatus, OnProgress
from wanworker.client.errors import ClientError, WaitedTooLong
from wanworker.client.targets.base import Target

#: How long a stopped caller may take to cancel the job on the target.
_CANCEL_S = 15.0

#: A function that learns of a job that was cancelled because its caller was: its id ("" if it never arrived), and why
#: it may still be running, None if it was stopped.
OnCancelled = Callable[[str, ClientError | None], object]


@dataclass(frozen=True, slots=True)
class Patience:
    """
    Say how long to wait for a job in seconds; None is for ever. `queue_s` limits the time before it begins.

    `poll_s` is between two questions: RunPod allows 2000 in 10 s, and people want to see something move.
    """

    total_s: float | None = None
    queue_s: float | None = None
    poll_s: float = 1.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic


async def wait(target: Target, job_id: str, on_progress: OnProgress | None, patience: Patience) -> JobStatus:
    """
    Ask until the job is over, and return its last status. A job that failed is a status with an error.

    Raises ClientError; WaitedTooLong if the job is not over in time. It then goes on.
    """
    began = queued = patience.clock()
    while True:
        status = await target.status(job_id)
        if status.is_over:
            return status
        if on_progress is not None:
            on_progress(status)
        now = patience.clock()
        if status.state != "queued":
            queued = now  # RunPod queues a job again whose worker was lost: its wait begins anew
        _check_time(status, now - began, now - queued, patience)
        await patience.sleep(patience.poll_s)


def _check_time(status: JobStatus, waited_s: float, queued_s: float, patience: Patience) -> None:
    job_id, hint = status.job_id, "The job goes on. Cancel it, or wait for it again."
    if patience.queue_s is not None and status.state == "queued" and queued_s > patience.queue_s:
        text = f"The job {job_id} has waited in the queue for {queued_s:.0f} s."
        raise WaitedTooLong(text, code="QUEUED_TOO_LONG", hint=hint, job_id=job_id)
    if patience.total_s is not None and waited_s > patience.total_s:
        raise WaitedTooLong(f"The job {job_id} has not ended within {patience.total_s:g} s.", hint=hint, job_id=job_id)


async def follow(
    target: Target,
    body: Mapping[str, Any],
    on_progress: OnProgress | None,
    on_cancelled: OnCancelled,
    patience: Patience,
) -> JobStatus:
    """
    Send *body*, wait until the job is over, and return its last status.

    A caller who stops waiting (a cancellation, an exception of *on_progress*, WaitedTooLong) has the job cancelled too,
    because a job that runs on costs money, even if its id has not arrived yet: *on_cancelled* hears of it. Raises
    ClientError.
    """
    starting = asyncio.ensure_future(target.start(body))
    try:
        job_id = await asyncio.shield(starting)
        return await wait(target, job_id, on_progress, patience)
    except BaseException as error:
        # Any other error of the client came from the target: there is nothing to stop, or nobody to ask.
        if not isinstance(error, ClientError) or isinstance(error, WaitedTooLong):
            await _cancel(target, starting, on_cancelled)
        raise


async def follow_plan(
    target: Target, planning: Coroutine[Any, Any, JobStatus], on_cancelled: OnCancelled, patience: Patience
) -> JobStatus:
    """Await *planning*, which is a job of the target, to its end, and return its last status; see `follow`."""
    asking = asyncio.ensure_future(planning)
    try:
        status = await asyncio.shield(asking)
        return status if status.is_over else await wait(target, status.job_id, None, patience)
    except BaseException as error:
        if not isinstance(error, ClientError):
            await _cancel(target, _id_of(asking), on_cancelled)
        raise


async def _id_of(asking: asyncio.Future[JobStatus]) -> str:
    return (await asking).job_id


async def _cancel(target: Target, starting: Awaitable[str], on_cancelled: OnCancelled) -> None:
    job_id, failure = "", None
    try:
        async with asyncio.timeout(_CANCEL_S):
            job_id = await starting
            await target.cancel(job_id)
    except ClientError as error:
        failure = error
    except TimeoutError:
        failure = WaitedTooLong("No answer came in time.")
    on_cancelled(job_id, failure)
