"""One child and the weights that it holds or loads."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable

from wanworker.clocks.awake import Silence
from wanworker.engines.resident import protocol
from wanworker.engines.resident.parent._process import ChildProcess, Died
from wanworker.engines.resident.parent._watch import Beat, watched
from wanworker.engines.resident.parent._watchdog import Hung, Patience, Watchdog
from wanworker.engines.resident.protocol import Failed, Loading, Model, Ready

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """How a load ended: the child's last event of it, and the seconds that it took."""

    event: protocol.Event | Died | Hung
    load_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Care:
    """How a load is watched: its limit as a whole in seconds, how patient, and what counts the time."""

    limit_s: float
    patience: Patience
    beat: Beat


@dataclasses.dataclass(frozen=True, slots=True)
class WarmChild:
    """A child process, its model, and the load that is under way or over; *listeners* are told how far it is."""

    link: ChildProcess
    model: Model
    loading: asyncio.Task[Loaded]
    listeners: list[Callable[[Loading], None]]

    @classmethod
    def begin(cls, link: ChildProcess, model: Model, care: Care, started: float | None = None) -> WarmChild:
        """Have the child behind *link* load *model*; *started* is when that began, by default now."""
        log.info("render process %d loads %s (%s)", link.pid, model.folder, model.device)
        since = time.monotonic() if started is None else started
        listeners: list[Callable[[Loading], None]] = []

        def take(event: Loading) -> None:
            for listener in listeners:
                listener(event)

        return cls(link, model, asyncio.create_task(_load(link, model, care, since, take)), listeners)

    async def loaded(self, listener: Callable[[Loading], None]) -> Loaded:
        """Wait for the load, whoever began it, and return how it ended; *listener* is told how far it is meanwhile."""
        self.listeners.append(listener)
        try:
            await asyncio.wait({self.loading})
        finally:
            self.listeners.remove(listener)
        return self.loading.result()

    def holds(self, model: Model) -> bool:
        """Say whether it lives with exactly this model, loaded or still loading."""
        has_failed = self.loading.done() and not self.is_ready
        return self.model == model and self.link.is_alive and not has_failed

    def can_change_to(self, model: Model) -> bool:
        """Say whether it can load *model* instead: on the same device it keeps what the two have in common."""
        return self.is_ready and self.link.is_alive and self.model.device == model.device

    @property
    def is_ready(self) -> bool:
        """The weights are loaded."""
        return self.loading.done() and not self.loading.cancelled() and isinstance(self.loading.result().event, Ready)


async def _load(
    link: ChildProcess, model: Model, care: Care, started: float, take: Callable[[Loading], None]
) -> Loaded:
    event: protocol.Event | Died | Hung
    try:
        async with Silence(care.limit_s):  # it says nothing on its way
            event = await watched(link, Watchdog(care.patience, stage="loading"), care.beat, _loaded(link, model, take))
    except TimeoutError:
        event = Hung(f"The model was not loaded within {care.limit_s:g} s.")
    return Loaded(event, time.monotonic() - started)


async def _loaded(link: ChildProcess, model: Model, take: Callable[[Loading], None]) -> protocol.Event | Died:
    await link.send(protocol.Load(model))
    while not isinstance(event := await link.event(), Ready | Failed | Died):
        if isinstance(event, Loading):
            take(event)
    return event
