"""
Keep malformed jobs out of the SDK's loops.

runpod 1.12.0 queues whatever RunPod hands out (serverless/modules/rp_scale.py, worker_state.py). A job whose id is a
number never counts as ended, so the worker takes no other job. A job that is not an object ends the worker.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

logger = logging.getLogger(__name__)

Fetch = Callable[..., Awaitable[list[Any] | None]]

#: Ids that can be part of a URL and of a header, as posting the result requires.
_ID = re.compile(r"(?!\.+$)[A-Za-z0-9._~:@+-]{1,256}")


def sound_jobs(fetch: Fetch) -> Fetch:
    """Return the SDK's `get_job`, *fetch*, without the jobs that cannot be answered. Each of those is logged."""

    async def fetch_sound(*args: Any) -> list[Any]:
        jobs = [_sound(job) for job in await fetch(*args) or []]
        return [job for job in jobs if job is not None]

    return fetch_sound


def _sound(job: object) -> dict[str, Any] | None:
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
