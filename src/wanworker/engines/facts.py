"""What the engines can do on this machine, looked up once and kept with its age."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp

from wanworker.engines.roster import Roster
from wanworker.models.hardware import Gpu, gpus
from wanworker.spec import TASKS

_COMFYUI_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Each engine's word on each of its tasks (`ready` or what is missing), the cards, and ComfyUI's state."""

    engines: Mapping[str, Mapping[str, str]]
    gpus: tuple[Gpu, ...]
    comfyui_status: str

    @property
    def can_render_real(self) -> bool:
        """An engine other than the miniature is ready for at least one task."""
        return any("ready" in tasks.values() for name, tasks in self.engines.items() if name != "mini")


class FactKeeper:
    """Answer from the last look; look again when asked to, or when there was none yet."""

    def __init__(self, roster: Roster, comfyui_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._roster = roster
        self._comfyui_url = comfyui_url
        self._clock = clock
        self._kept: tuple[Facts, float] | None = None

    async def current(self, *, refresh: bool) -> tuple[Facts, float]:
        """Return the facts and their age in seconds; at most a few seconds, then something did not answer."""
        if refresh or self._kept is None:
            comfyui_status, engines, cards = await asyncio.gather(
                comfyui_state(self._comfyui_url),
                asyncio.to_thread(_engine_words, self._roster),
                asyncio.to_thread(gpus),
            )
            self._kept = (Facts(engines, cards, comfyui_status), self._clock())
        facts, seen = self._kept
        return facts, self._clock() - seen


async def comfyui_state(url: str) -> str:
    """Return `online` when a ComfyUI server answers at *url*, `offline` when none does."""
    timeout = aiohttp.ClientTimeout(total=_COMFYUI_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/system_stats") as answer:
            return "online" if answer.status == 200 and "system" in await answer.json() else "offline"
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return "offline"


def _engine_words(roster: Roster) -> dict[str, dict[str, str]]:
    words: dict[str, dict[str, str]] = {}
    for row in roster.rows:
        states = {task: roster.readiness(row.name, task) for task in TASKS if task in row.capabilities.tasks}
        words[row.name] = {
            task: "ready" if state.is_ready else "; ".join((*state.missing, *state.lacking))
            for task, state in states.items()
        }
    return words
