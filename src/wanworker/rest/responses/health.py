"""Answer `GET /` and readiness from facts that are refreshed in the background."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

from pydantic import BaseModel, Field

import wanworker
from wanworker.app import Worker
from wanworker.engines.machine.facts import Facts
from wanworker.jobs.runner import Runner
from wanworker.rest.schemas.generate import TASK

log = logging.getLogger(__name__)

_REFRESH_S = 30.0


class Queue(BaseModel):
    """The queue of this server."""

    length: int = Field(description="Jobs that wait.")
    running: int = Field(description="Jobs that render.")
    limit: int = Field(description="How many may wait.")


class Card(BaseModel):
    """A card of this server, or its place on the processor."""

    number: int
    name: str | None = Field(description="The name of the GPU; null on the processor.")
    memory_mib: int | None = Field(description="The memory of the GPU.")
    state: Literal["free", "busy", "resting"] = Field(description="`resting`: left out for a while after a failure.")
    holds: str | None = Field(description="The engine and the model that were loaded last.")
    job: str | None = Field(description="The id of the job that renders there.")
    last_failure: str | None = Field(description="Why it failed the last time.")
    last_failure_age_s: float | None = Field(description="How long ago that was, in seconds.")


class Health(BaseModel):
    """The API's status."""

    status: Literal["ok", "starting"]
    version: str
    engine: str | None = Field(description="What would render a request that names no engine.")
    comfyui_status: Literal["online", "starting", "offline"]
    queue: Queue
    cards: list[Card] = Field(description="Where jobs render, one on each. See WAN_GPUS.")


class HealthService:
    """Keep the facts fresh, so that answers need not wait."""

    def __init__(self, worker: Worker, runner: Runner, *, refresh_s: float = _REFRESH_S) -> None:
        self._worker = worker
        self._runner = runner
        self._refresh_s = refresh_s
        self._facts: Facts | None = None

    async def watch(self) -> None:
        """Refresh the facts at intervals, until cancelled."""
        while True:
            try:
                self._facts = await self._looked()
            except Exception:  # one failure must not end the refreshing
                log.exception("the engines could not be checked")
            await asyncio.sleep(self._refresh_s)

    async def _looked(self) -> Facts:
        """Return fresh facts. The first time, the worker's own first probe is used."""
        keeper = self._worker.facts
        facts, age_s = await keeper.current(refresh=False)
        if age_s < self._refresh_s:
            return facts
        await keeper.look()
        return (await keeper.current(refresh=False))[0]

    @property
    def is_ready(self) -> bool:
        """Say whether some engine can render the task of POST /generate."""
        return self.engine is not None

    @property
    def engine(self) -> str | None:
        """
        Return the engine that renders requests without `engine`; None if none can render, or before the first probe.
        """
        if self._facts is None:
            return None
        asked = self._worker.settings.engine
        ready = [name for name, tasks in self._facts.engines.items() if tasks.get(TASK) == "ready"]
        if not self._worker.settings.mini:
            ready = [name for name in ready if name != "mini"]
        if asked != "auto":
            return asked if asked in ready else None
        return "comfyui" if "comfyui" in ready else next(iter(ready), None)

    def to_json(self) -> dict[str, Any]:
        """Return what GET / answers."""
        gpus = self._facts.cards if self._facts is not None else {}
        return {
            "status": "ok" if self._facts is not None else "starting",
            "version": wanworker.__version__,
            "engine": self.engine,
            "comfyui_status": self._facts.comfyui_status if self._facts is not None else "offline",
            "queue": {
                "length": self._runner.waiting,
                "running": len(self._runner.running),
                "limit": self._runner.limit,
            },
            "cards": [view.to_json(gpus.get(view.card.number)) for view in self._worker.registry.cards.views()],
        }
