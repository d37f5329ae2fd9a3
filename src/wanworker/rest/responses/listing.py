"""Answer /jobs. Clients that ask for the same page within a moment share one reading of the records."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable

from starlette.datastructures import Headers
from starlette.responses import Response

from wanworker.media.disk import in_thread
from wanworker.rest.http.error_responses import answer
from wanworker.rest.responses.page_files import Body
from wanworker.rest.service.jobs import JobService

#: How many seconds a page is kept while no job starts or ends here. Changes by other processes appear that much later.
_HOLDS_S = 0.5
_PAGES = 8


class Listings:
    """Return pages of jobs. *clock* gives seconds."""

    def __init__(self, service: JobService, *, holds_s: float = _HOLDS_S, clock: Callable[[], float]) -> None:
        self._service = service
        self._holds_s = holds_s
        self._clock = clock
        self._pages: OrderedDict[Hashable, tuple[float, asyncio.Task[Body]]] = OrderedDict()

    async def respond(self, limit: int, cursor: str | None, headers: Headers) -> Response:
        """Return the page as JSON, in the form that a client with *headers* takes. Raises InvalidRequest."""
        key = (limit, cursor, self._service.state)
        made_at, page = self._pages.get(key, (0.0, None))
        if page is None or self._clock() - made_at >= self._holds_s:
            page = asyncio.create_task(self._page(limit, cursor))
            self._pages[key] = (self._clock(), page)
            self._pages.move_to_end(key)
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        # A client that leaves does not cancel the page for the others.
        return (await asyncio.shield(page)).answer(headers, "application/json")

    async def _page(self, limit: int, cursor: str | None) -> Body:
        page = await self._service.listing(limit, cursor)
        # Writing a thousand jobs as JSON takes a tenth of a second.
        return await in_thread(lambda: Body.of(bytes(answer(page).body)))
