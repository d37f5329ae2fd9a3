"""Read the queue of a ComfyUI server and take prompts out of it, by the newest routes that the server has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from wanworker.comfyui.client.connection import Connection, ServerRefused, as_object

#: The answers of a server that does not have a route.
_NO_ROUTE = frozenset({404, 405})

_LIST, _CANCEL = "/api/jobs", "/api/jobs/{id}/cancel"
_WAITING, _RUNNING = "pending", "in_progress"


@dataclass(frozen=True, slots=True)
class Queue:
    """Hold the ids of the prompts on the server, of all clients. `pending` are in the order in which they will run."""

    running: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()


class Jobs:
    """
    Ask one server about its queue.

    `GET /api/jobs` (0.10.0 has it, 0.3.64 does not) lists ids without graphs. `POST /api/jobs/{id}/cancel` (0.26 and
    later) takes a prompt out wherever it is. A server without them answers 404 or 405. That is remembered, and the
    older routes are used: `/queue`, which sends every graph along, and `/interrupt`.
    """

    def __init__(self, http: Connection) -> None:
        self._http = http
        self._lacks: set[str] = set()

    async def queue(self) -> Queue:
        """Return the ids of all running and waiting prompts."""
        query = {"status": f"{_WAITING},{_RUNNING}"}
        told = await self._tried(_LIST, "GET", _LIST, query)
        jobs = told.get("jobs") if isinstance(told, dict) else None
        return _queue_of(jobs) if isinstance(jobs, list) else await self._old_queue()

    async def cancel(self, prompt_id: str) -> None:
        """
        Take this prompt out of the queue, or interrupt it if it runs. Prompts of others are not touched.

        An interrupt that comes before the first node begins may be forgotten, so ask again until the prompt is gone.
        """
        path = _CANCEL.format(id=quote(prompt_id, safe=""))
        if await self._tried(_CANCEL, "POST", path) is None:
            # In this order: between the two, a waiting prompt may begin to run, but a running one never waits again.
            await self._http.json("POST", "/queue", {"delete": [prompt_id]})
            await self._http.json("POST", "/interrupt", {"prompt_id": prompt_id})

    async def _tried(self, route: str, method: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return the answer of a newer route, or None if the server lacks it or refuses."""
        if route in self._lacks:
            return None
        try:
            return await self._http.json(method, path, query=query)
        except ServerRefused as error:
            if error.answered in _NO_ROUTE:
                self._lacks.add(route)
            # The list fails as a whole (500) if anyone's prompt has odd extra data. The older route does not read them.
            return None

    async def _old_queue(self) -> Queue:
        listed = as_object(await self._http.json("GET", "/queue"), "/queue")
        waiting = sorted(_items(listed.get("queue_pending")), key=lambda item: _rank(item[0]))
        return Queue(_ids(_items(listed.get("queue_running"))), _ids(waiting))


def _queue_of(jobs: list[Any]) -> Queue:
    known = [job for job in jobs if isinstance(job, dict) and isinstance(job.get("id"), str)]
    running = tuple(job["id"] for job in known if job.get("status") == _RUNNING)
    waiting = sorted(
        (job for job in known if job.get("status") == _WAITING), key=lambda job: _rank(job.get("priority"))
    )
    return Queue(running, tuple(job["id"] for job in waiting))


def _rank(number: object) -> float:
    """Return a prompt's number. The server takes the lowest one first; one that was sent to the front is below 0."""
    return number if isinstance(number, int | float) else 0.0


def _items(listed: object) -> list[list[Any]]:
    items = listed if isinstance(listed, list) else []
    return [item for item in items if isinstance(item, list) and len(item) > 1]


def _ids(items: list[list[Any]]) -> tuple[str, ...]:
    return tuple(str(item[1]) for item in items)
