"""Post progress to RunPod: throttled, the newest only, never falling, and finished before the answer."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from wanworker.clocks.awake import AwakeClock
from wanworker.progress import Progress

#: The function that a render calls with each new progress.
Report = Callable[[Progress], None]

logger = logging.getLogger(__name__)

#: How often to check whether a post has ended. The SDK's posts take 5 to 50 ms.
_LOOK_S = 0.005


class ProgressPosts:
    """
    Post one job's progress.

    *send* is the SDK's `progress_update` bound to the job. It starts a thread that posts, and does not wait for it.
    Such threads can overtake each other, and one that arrives after the result puts the job back to IN_PROGRESS for
    good (runpod-python#250). So each post waits for the one before, and `drain` waits for the last. *send* is None
    where nobody listens. A post that takes longer than *patience_s* is given up. A job that ends within *grace_s*
    (health, or a finished job asked for again) posts nothing, because it would have to wait for its own post.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], object] | None,
        *,
        request_id: Callable[[], str],
        grace_s: float = 0.05,
        interval_s: float = 1.0,
        patience_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._send = send
        self._request_id = request_id
        self._grace_s = grace_s
        self._interval_s = interval_s
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self._latest: dict[str, Any] = {}
        self._percent = 0.0
        self._news = asyncio.Event()
        self._drained = False
        self._posting: asyncio.Task[None] | None = None
        self._threads: tuple[threading.Thread, ...] = ()

    def report(self, progress: Progress) -> None:
        """Take the newest progress. Must be called on the event loop; does nothing after `drain`."""
        if self._send is None or self._drained:
            return
        shown = progress.to_json()
        self._percent = max(self._percent, shown["progress"])
        self._latest = {
            "request_id": self._request_id(),
            "status": "RUNNING",
            **shown,
            "progress": self._percent,
        }
        self._news.set()
        if self._posting is None:
            self._posting = asyncio.create_task(self._post_news(self._send))

    async def drain(self) -> None:
        """Post nothing more, and return when the last post has arrived. Progress not yet posted is dropped."""
        self._drained = True
        if self._posting is None:
            return
        self._posting.cancel()
        (outcome,) = await asyncio.gather(self._posting, return_exceptions=True)
        if isinstance(outcome, Exception):
            logger.warning("Progress could not be posted: %s", outcome)
        await self._last_post()

    async def _post_news(self, send: Callable[[dict[str, Any]], object]) -> None:
        await self._sleep(self._grace_s)
        while True:
            await self._news.wait()
            self._news.clear()
            before = set(threading.enumerate())
            send(self._latest)
            # The SDK does not return its thread, so it is found among all threads: it is a daemon, which threads of an
            # executor that start at the same moment are not.
            self._threads = tuple(each for each in threading.enumerate() if each not in before and each.daemon)
            await self._last_post()
            await self._sleep(self._interval_s)

    async def _last_post(self) -> None:
        now = AwakeClock(self._clock)
        while any(thread.is_alive() for thread in self._threads) and now() < self._patience_s:
            await self._sleep(_LOOK_S)
