"""Tell webhooks what RunPod's /status shows of jobs that ended, with bounds on what waits to be told."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from wanworker.rest.service.webhooks import Webhooks

log = logging.getLogger(__name__)

#: RunPod's pauses before the second and the third attempt of a webhook, and what the attempts may take together with
#: their wait for others.
_WAITS_S = (10.0, 10.0)
_LONGEST_S = 300.0
#: How many may wait, and how many characters their answers may have together. Each answer is held until then.
_MOST = 100
_MOST_CHARACTERS = 128 * 1024**2


class EndWebhooks:
    """Hold the deliveries over *webhooks*: at most *most*, with answers of *most_characters* together."""

    def __init__(self, webhooks: Webhooks, *, most: int = _MOST, most_characters: int = _MOST_CHARACTERS) -> None:
        self._webhooks = webhooks
        self._most = most
        self._most_characters = most_characters
        self._waiting: dict[asyncio.Task[None], int] = {}

    def tell(self, url: str, job_id: str, shown: Mapping[str, Any], characters: int) -> None:
        """
        POST *shown* to *url* from now on, as JSON. What goes wrong is logged, and changes nothing.

        *characters* is the length of its texts. It is dropped if that is too much beside what waits already.
        """
        waiting = len(self._waiting)
        if waiting >= self._most or (waiting and sum(self._waiting.values()) + characters > self._most_characters):
            log.warning("the webhook of job %s was dropped: %s others wait for slow receivers", job_id, waiting)
            return
        delivery = asyncio.create_task(self._deliver(url, job_id, shown))
        self._waiting[delivery] = characters
        delivery.add_done_callback(self._waiting.pop)

    async def close(self) -> None:
        """Give up what waits."""
        deliveries = list(self._waiting)
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)

    async def _deliver(self, url: str, job_id: str, shown: Mapping[str, Any]) -> None:
        def body() -> bytes:
            return json.dumps(shown, separators=(",", ":")).encode()

        try:
            async with asyncio.timeout(_LONGEST_S):
                await self._webhooks.post(url, job_id, body, _WAITS_S)
        except TimeoutError:
            log.warning("the webhook of job %s was given up: others took too long", job_id)
