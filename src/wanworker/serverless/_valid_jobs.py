"""
Keep malformed jobs out of the SDK's loops, and ask for jobs no faster than they can come.

runpod 1.12.0 queues whatever RunPod hands out (serverless/modules/rp_scale.py, worker_state.py). A job whose id is a
number never counts as ended, so the worker takes no other job. A job that is not an object ends the worker.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

logger = logging.getLogger(__name__)

Fetch = Callable[..., Awaitable[list[Any] | None]]

#: Seconds between two questions after the first failure and after the tenth.
SHORT_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0

#: Ids that can be part of a URL and of a header, as posting the result requires.
_ID = re.compile(r"(?!\.+$)[A-Za-z0-9._~:@+-]{1,256}")


def valid_jobs(
    fetch: Fetch,
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Fetch:
    """
    Return the SDK's `get_job`, *fetch*, without the jobs that cannot be answered. Each of those is logged.

    The SDK asks again at once, whatever the answer was: an address that refuses connections cost a whole core and
    50 MB of log a minute. After a failure the next question waits, twice as long each time, LONGEST_PAUSE_S at most.
    An answer without a job that was not held, as a long poll is, is followed by a short wait.
    """
    failures = 0

    async def fetch_valid(*args: Any) -> list[Any]:
        nonlocal failures
        asked_at = clock()
        try:
            answer = await fetch(*args)
        except Exception:
            await pause(min(LONGEST_PAUSE_S, SHORT_PAUSE_S * 2**failures))
            failures = min(failures + 1, 10)
            raise
        failures = 0
        jobs = [job for job in map(_valid, answer or []) if job is not None]
        if not jobs and clock() - asked_at < SHORT_PAUSE_S:
            await pause(SHORT_PAUSE_S)
        return jobs

    return fetch_valid


def _valid(job: object) -> dict[str, Any] | None:
    """Return *job* in a form that the SDK can keep, or None if it has no id under which it could be answered."""
    if not isinstance(job, dict):
        logger.warning("A job was dropped: it must be an object, but is %s.", type(job).__name__)
        return None
    job_id = job.get("id")
    if isinstance(job_id, int) and not isinstance(job_id, bool):
        job_id = str(job_id)
    if not (isinstance(job_id, str) and _ID.fullmatch(job_id)):
        logger.warning("A job was dropped: it cannot be answered under the id %.80a.", job_id)
        return None
    # The SDK makes each key an attribute of its own record of the job.
    kept = {name: value for name, value in job.items() if name != "self" and not name.startswith("_")}
    if not isinstance(kept.get("batchId"), str):
        kept.pop("batchId", None)
    return {**kept, "id": job_id, "input": job.get("input")}
