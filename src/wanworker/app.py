"""The composition root: build the parts from the settings and wire them. No other module wires."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from wanworker import logs
from wanworker.actions import ACTIONS
from wanworker.actions.base import Call, Context
from wanworker.actions.envelope import resolve
from wanworker.actions.request.fields import naming_unknown
from wanworker.actions.request.s3_config import own_bucket
from wanworker.engines import ENGINES
from wanworker.engines.base import EngineRow
from wanworker.engines.machine.facts import MachineFacts
from wanworker.engines.preload import Preloader
from wanworker.engines.registry import EngineRegistry
from wanworker.jobs.model import is_request_id
from wanworker.jobs.output_paths import remove_half_made
from wanworker.jobs.store.job_store import JobStore
from wanworker.media.inputs.reader import InputReader
from wanworker.media.scratch import remove_abandoned
from wanworker.media.threads import in_thread
from wanworker.process.age import age_s
from wanworker.render import Renderer
from wanworker.settings import Settings
from wanworker.text.printable import listed
from wanworker.videos.job_route import VideoRoutes, is_routed
from wanworker.videos.models import VideoModels

log = logging.getLogger(__name__)


class Worker:
    """Perform actions: what a door calls, once for each job."""

    def __init__(self, settings: Settings, *, engines: Sequence[EngineRow] = ENGINES) -> None:
        self.settings = settings
        self.registry = EngineRegistry(engines, settings)
        self.store = JobStore(settings.jobs_dir, at_death=functools.partial(remove_half_made, settings.out_dir))
        self.inputs = InputReader(allow_hosts=settings.allow_hosts, roots=settings.input_roots)
        self.renderer = Renderer(
            store=self.store,
            registry=self.registry,
            out_dir=settings.out_dir,
            models_dir=str(settings.ckpt_dir),
            mini_allowed=settings.mini,
        )
        self.preloader = Preloader(self.registry, settings.preload, asked=settings.engine, mini_allowed=settings.mini)
        self.facts = MachineFacts(self.registry, preloads=lambda: self.preloader.preloads)
        self.video_models = VideoModels(self.registry)
        self._video_routes = VideoRoutes(self.store, self.video_models)
        self._recovering = asyncio.Lock()
        self._has_recovered = False

    @classmethod
    def from_settings(cls, settings: Settings, *, sends_on: bool = True) -> Worker:
        """
        Build a worker with every engine of the table. Starts nothing and touches no disk.

        Without *sends_on* it has no engine that renders on other machines: a worker of an endpoint would send its jobs
        to itself.
        """
        return cls(settings, engines=[row for row in ENGINES if sends_on or row.remote_slots is None])

    @property
    def cards(self) -> int:
        """Return how many jobs can render on this machine at once: one on each card of WAN_GPUS."""
        return len(self.registry.cards.numbers)

    def note_ready(self) -> None:
        """Note that jobs can be taken from now on. The timings of the first video say how long the start took."""
        if (start_s := age_s()) is not None:
            self.renderer.note_start(start_s)

    def warm_up(self) -> None:
        """
        Begin once, in the background, what jobs would wait for: WAN_PRELOAD's engines, and health's first probe.

        Never waits and never raises. Must be called on the event loop that `close` is called on.
        """
        self.preloader.begin()
        self.facts.begin()

    async def perform(self, payload: object, call: Call) -> dict[str, Any]:
        """Perform the action or the route that *payload* asks for and return its answer. Raises WorkerError."""
        if isinstance(payload, Mapping) and is_routed(payload):
            await self.recover_once()

            async def act(fields: dict[str, Any], reserve_bytes: int) -> dict[str, Any]:
                limit_bytes = call.answer_limit_bytes - reserve_bytes
                return await self._act(fields, dataclasses.replace(call, answer_limit_bytes=limit_bytes))

            return await self._video_routes.answer(payload, act)
        return await self._act(payload, call)

    async def _act(self, payload: object, call: Call) -> dict[str, Any]:
        action, fields = resolve(payload, ACTIONS)
        bucket, remarks = own_bucket(call.s3_config, allow_hosts=self.settings.allow_hosts)
        named = fields.get("request_id")
        if isinstance(named, str) and is_request_id(named):
            logs.request_id.set(named)
        await self.recover_once()
        log.info("%s with fields %s", action.name, listed(sorted(fields)) or "none")
        context = Context(
            call=call,
            settings=self.settings,
            renderer=self.renderer,
            store=self.store,
            inputs=self.inputs,
            facts=self.facts,
            registry=self.registry,
            own_bucket=bucket,
        )
        with naming_unknown(action.fields, fields):
            answer = await action.run(fields, context)
        return answer | {"warnings": [*answer.get("warnings", ()), *remarks]} if remarks else answer

    async def close(self) -> None:
        """Stop what the engines started, and what is still starting."""
        await self.facts.close()
        await self.preloader.close()
        await self.registry.close()
        await in_thread(self.store.close)
        self.inputs.close()

    async def recover_once(self) -> None:
        """
        Mark the jobs and remove the folders that an earlier process of this door left. Whoever calls waits for the end.

        This must not happen at import, whose state FlashBoot freezes.
        """
        async with self._recovering:
            if not self._has_recovered:
                self._has_recovered = True
                await in_thread(self._recover)

    def _recover(self) -> None:
        remove_abandoned()
        for job in self.store.recover():
            log.warning("job %s was interrupted: the worker that rendered it is gone", job.request_id)
