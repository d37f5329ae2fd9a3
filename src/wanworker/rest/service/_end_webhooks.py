"""Tell webhooks what RunPod's /status shows of jobs that ended, after a restart too, with bounds on what waits."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from wanworker.clocks.awake import Silence
from wanworker.errors import WorkerError
from wanworker.jobs.runner import WRITTEN_AT_ONCE
from wanworker.jobs.store.kept_ends import KeptEnds
from wanworker.media.threads import in_thread
from wanworker.process import to_the_end
from wanworker.rest.service.webhooks import Webhooks

log = logging.getLogger(__name__)

#: RunPod's pauses before the second and the third attempt of a webhook, and what the attempts may take together with
#: their wait for others.
_WAITS_S = (10.0, 10.0)
_LONGEST_S = 300.0
#: How many may wait, and how many characters their answers may have together. Each answer is held until then.
_MOST = 100
_MOST_CHARACTERS = 128 * 1024**2
#: How often it is looked for what processes left that ended before they had told it.
_EVERY_S = 15.0

_CUT_OFF = (
    "The server ended before it could tell how this job did. If there is a video, the action `status` finds it by this "
    "id as request_id; otherwise send the job again."
)


class EndWebhooks:
    """
    Hold the deliveries over *webhooks*: at most *most*, with answers of *most_characters* together.

    Each is in *kept* from the start of its job until it was delivered or given up, so that a later process delivers
    what this one leaves. A volume that takes nothing fails no job: then a restart loses its webhook. Each change there
    takes one of *turns*.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        kept: KeptEnds,
        *,
        most: int = _MOST,
        most_characters: int = _MOST_CHARACTERS,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        self._webhooks = webhooks
        self._kept = kept
        self._most = most
        self._most_characters = most_characters
        self._turns = turns or asyncio.Semaphore(WRITTEN_AT_ONCE)
        self._noting: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[asyncio.Task[None], int] = {}
        self._retold: set[str] = set()

    def expect(self, url: str, job_id: str) -> asyncio.Task[None]:
        """Note that *url* has to hear of a job that starts. The task ends when that is on the volume, or cannot be."""
        self._noting[job_id] = asyncio.create_task(self._note(url, job_id))
        return self._noting[job_id]

    def tell(self, url: str, job_id: str, shown: Mapping[str, Any], characters: int) -> None:
        """
        POST *shown* to *url* from now on, as JSON. What goes wrong is logged, and changes nothing.

        *characters* is the length of its texts. It is dropped if that is too much beside what waits already.
        """
        waiting = len(self._waiting)
        if waiting >= self._most or (waiting and sum(self._waiting.values()) + characters > self._most_characters):
            log.warning("the webhook of job %s was dropped: %s others wait for slow receivers", job_id, waiting)
            self._begin(self._forget(job_id), 0)
        else:
            self._begin(self._deliver(url, job_id, shown), characters)

    async def watch(self) -> None:
        """Tell what processes left that ended before they had told it, now and at intervals, until cancelled."""
        while True:
            await self.take_up()
            await asyncio.sleep(_EVERY_S)

    async def take_up(self) -> None:
        """Begin to tell what processes left; as much of it as may wait."""
        try:
            left = await in_thread(self._kept.left)
        except WorkerError as error:
            log.warning("kept webhooks could not be looked for: %s", error)
            return
        for job_id in left:
            if job_id not in self._retold and len(self._waiting) < self._most:
                self._retold.add(job_id)
                self._begin(self._deliver_left(job_id), 0)

    async def close(self) -> None:
        """Leave what waits to the next process."""
        await asyncio.sleep(0)  # a delivery that is cancelled before its first step would keep nothing
        deliveries = list(self._waiting)
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, *self._noting.values(), return_exceptions=True)
        await in_thread(self._kept.close)

    def _begin(self, work: Coroutine[Any, Any, None], characters: int) -> None:
        task = asyncio.create_task(work)
        self._waiting[task] = characters
        task.add_done_callback(self._waiting.pop)

    async def _deliver(self, url: str, job_id: str, shown: Mapping[str, Any]) -> None:
        def body() -> bytes:
            return json.dumps(shown, separators=(",", ":")).encode()

        # A server that stops now leaves it to the next process, also with others before it at the volume.
        await to_the_end(self._keep_end(url, job_id, body))
        await self._post(url, job_id, body)

    async def _keep_end(self, url: str, job_id: str, body: Callable[[], bytes]) -> None:
        await self._noted(job_id)
        await self._on_volume(job_id, lambda name: self._kept.put(name, url, body()))

    async def _deliver_left(self, job_id: str) -> None:
        """Deliver what another process kept. A job that had not ended then never will."""

        def body() -> bytes:
            _, end = self._kept.get(job_id) or ("", b"")
            return end or json.dumps({"id": job_id, "status": "FAILED", "error": _CUT_OFF}).encode()

        try:
            async with self._turns:
                kept = await in_thread(self._kept.get, job_id)
            if kept is None:
                await self._on_volume(job_id, self._kept.remove)
                return
            await self._on_volume(job_id, self._kept.put, *kept)  # it is ours now
            log.info("the webhook of job %s is delivered: the process that had it ended", job_id)
            await self._post(kept[0], job_id, body)
        except WorkerError as error:
            log.warning("the webhook of job %s could not be read from the volume: %s", job_id, error)
        finally:
            self._retold.discard(job_id)

    async def _post(self, url: str, job_id: str, body: Callable[[], bytes]) -> None:
        try:
            async with Silence(_LONGEST_S):
                await self._webhooks.post(url, job_id, body, _WAITS_S)
        except TimeoutError:
            log.warning("the webhook of job %s was given up: others took too long", job_id)
        await self._forget(job_id)

    async def _forget(self, job_id: str) -> None:
        await self._noted(job_id)
        await self._on_volume(job_id, self._kept.remove)

    async def _note(self, url: str, job_id: str) -> None:
        await self._on_volume(job_id, self._kept.put, url)

    async def _noted(self, job_id: str) -> None:
        """Wait until what `expect` began is over: it must not be written after what comes later."""
        if (noting := self._noting.pop(job_id, None)) is not None:
            await asyncio.wait({noting})

    async def _on_volume(self, job_id: str, change: Callable[..., None], *what: str | bytes) -> None:
        try:
            async with self._turns:
                await in_thread(change, job_id, *what)
        except WorkerError as error:
            log.warning("what is kept of the webhook of job %s could not be changed: %s", job_id, error)
