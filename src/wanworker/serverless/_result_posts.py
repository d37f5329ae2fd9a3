"""
Post a result again that RunPod did not take.

runpod 1.12.0 (serverless/modules/rp_http.py) gives up a result at the first 429, at the first broken connection, and
after three 5xx; the video is then lost. Posting the same result twice does no harm, so it is also posted again where
the first post may have arrived.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError, ClientResponseError

from wanworker.clocks.awake import LONGEST_GAP_S, AwakeClock

logger = logging.getLogger(__name__)

Send = Callable[..., Awaitable[None]]

#: The waits before each further post, and the limit for all of them. The worker takes no other job meanwhile.
_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_PATIENCE_S = 120.0

_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}

#: Marks results. Progress goes through the same function, but is not worth a second post.
_is_result: contextvars.ContextVar[bool] = contextvars.ContextVar("is_result", default=False)


def marked_as_result(send_result: Send) -> Send:
    """Return the SDK's *send_result*, marking its posts as results of jobs."""

    async def send(*args: Any, **options: Any) -> None:
        token = _is_result.set(True)
        try:
            await send_result(*args, **options)
        finally:
            _is_result.reset(token)

    return send


def patient(
    transmit: Send,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    longest_gap_s: float = LONGEST_GAP_S,
) -> Send:
    """
    Return the SDK's *transmit*, which now posts a result again while that may help. Raises the last post's error.

    A worker that was frozen meanwhile, for more than *longest_gap_s*, has as much time left as before.
    """

    async def post(*args: Any) -> None:
        now = AwakeClock(clock, longest_gap_s=longest_gap_s)
        async with now.looking():
            await posted(now, args)

    async def posted(now: AwakeClock, args: tuple[Any, ...]) -> None:
        for least_s in _WAITS_S if _is_result.get() else ():
            try:
                return await transmit(*args)
            except (ClientError, TimeoutError, OSError) as error:
                wait_s = min(max(least_s, _asked_wait_s(error)), _PATIENCE_S - now())
                if not _may_pass(error) or wait_s <= 0:
                    raise
                logger.warning("RunPod did not take the result (%s); it is posted again in %g s.", _said(error), wait_s)
            await sleep(wait_s)
        return await transmit(*args)

    return post


def _may_pass(error: Exception) -> bool:
    if not isinstance(error, ClientResponseError):
        return True  # the connection broke, before or after the result arrived
    return error.status in _PASSING or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _asked_wait_s(error: Exception) -> float:
    """Return the seconds of a Retry-After header, or 0 if it is missing or a date."""
    headers = getattr(error, "headers", None) or {}
    text = str(headers.get("Retry-After", ""))
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _said(error: Exception) -> str:
    return f"HTTP {error.status}" if isinstance(error, ClientResponseError) else type(error).__name__
