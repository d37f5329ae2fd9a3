"""What the engines can do on this machine, looked up once and kept with its age."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wanworker.engines.roster import Roster
from wanworker.models.hardware import Gpu, gpus
from wanworker.spec import TASKS

if TYPE_CHECKING:
    from wanworker.comfyui.server import Status
    from wanworker.engines.comfyui import ComfyUI

#: A server that computes may take seconds to answer; health is not to wait longer than this.
_COMFYUI_TIMEOUT_S = 4.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Each engine's word on each of its tasks (`ready` or what is missing), the cards, and ComfyUI's state."""

    engines: Mapping[str, Mapping[str, str]]
    gpus: tuple[Gpu, ...]
    comfyui_status: Status

    @property
    def can_render_real(self) -> bool:
        """An engine other than the miniature is ready for at least one task."""
        return any("ready" in tasks.values() for name, tasks in self.engines.items() if name != "mini")


class FactKeeper:
    """Answer from the last look; look again when asked to, or when there was none yet."""

    def __init__(self, roster: Roster, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._roster = roster
        self._clock = clock
        self._kept: tuple[Facts, float] | None = None

    async def current(self, *, refresh: bool) -> tuple[Facts, float]:
        """
        Return the facts and their age in seconds; at most a few seconds, then something did not answer.

        ComfyUI's state is always the newest known: every job that uses the server tells of it.
        """
        if refresh or self._kept is None:
            server = await _asked_comfyui(self._roster)
            engines, cards = await asyncio.gather(
                asyncio.to_thread(_engine_words, self._roster), asyncio.to_thread(gpus)
            )
            self._kept = (Facts(engines, cards, server), self._clock())
        facts, seen = self._kept
        engine = _comfyui(self._roster)
        known = facts if engine is None else dataclasses.replace(facts, comfyui_status=engine.status)
        return known, self._clock() - seen


def _comfyui(roster: Roster) -> ComfyUI | None:
    """Return the ComfyUI engine of this worker; a worker may be built without."""
    if not any(row.name == "comfyui" for row in roster.rows):
        return None
    from wanworker.engines.comfyui import ComfyUI  # not at the worker's start

    engine = roster.engine("comfyui")
    return engine if isinstance(engine, ComfyUI) else None


async def _asked_comfyui(roster: Roster) -> Status:
    engine = _comfyui(roster)
    if engine is None:
        return "offline"
    try:
        async with asyncio.timeout(_COMFYUI_TIMEOUT_S):
            return await engine.probe()
    except TimeoutError:
        return engine.status


def _engine_words(roster: Roster) -> dict[str, dict[str, str]]:
    words: dict[str, dict[str, str]] = {}
    for row in roster.rows:
        states = {task: roster.readiness(row.name, task) for task in TASKS if task in row.capabilities.tasks}
        words[row.name] = {
            task: "ready" if state.is_ready else "; ".join((*state.missing, *state.lacking))
            for task, state in states.items()
        }
    return words
