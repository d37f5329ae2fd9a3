"""Answer /jobs. Clients that ask for the same page within a moment share one reading of the records."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response

from wanworker.media.threads import in_thread
from wanworker.rest.http.error_responses import answer
from wanworker.rest.responses.page_files import Body
from wanworker.rest.service.jobs import JobService

#: How many seconds a page is kept while no job starts or ends here. Changes by other processes appear that much later.
_HOLDS_S = 0.5
_PAGES = 8
#: While a page is being made anew, the one before is answered, if it is at most this many times as old as it is kept.
_STALE_HOLDS = 4
_SMALL_PAGE = 50
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class _Page:
    """Hold when a page was begun, the task that makes its text, and the text of the page before it."""

    made_at: float
    text: asyncio.Task[Body]
    before: Body | None


class Listings:
    """Return pages of jobs. *clock* gives seconds."""

    def __init__(self, service: JobService, *, holds_s: float = _HOLDS_S, clock: Callable[[], float]) -> None:
        self._service = service
        self._holds_s = holds_s
        self._clock = clock
        self._pages: OrderedDict[Hashable, _Page] = OrderedDict()

    async def respond(self, limit: int, cursor: str | None, headers: Headers) -> Response:
        """Return the page as JSON, in the form that a client with *headers* takes. Raises InvalidRequest."""
        key = (limit, cursor, self._service.state)
        page = self._pages.get(key)
        age_s = self._clock() - page.made_at if page is not None else math.inf
        if page is None or age_s >= self._holds_s:
            before = page.text if page is not None and age_s < self._holds_s * _STALE_HOLDS else None
            page = _Page(self._clock(), asyncio.create_task(self._page(limit, cursor)), _made(before))
            self._pages[key] = page
            self._pages.move_to_end(key)
            while len(self._pages) > _PAGES:
                self._pages.popitem(last=False)
        # Who comes while the next page is being made gets the one before, if that is young enough.
        if page.before is not None and not page.text.done():
            return page.before.answer(headers, _JSON)
        # A client that leaves does not cancel the page for the others.
        return (await asyncio.shield(page.text)).answer(headers, _JSON)

    async def _page(self, limit: int, cursor: str | None) -> Body:
        page = await self._service.listing(limit, cursor)
        # Writing a thousand jobs as JSON takes a tenth of a second. For fifty, a thread would cost more than it saves.
        is_large = len(page["jobs"]) > _SMALL_PAGE
        return await in_thread(_body, page) if is_large else _body(page)


def _body(page: dict[str, Any]) -> Body:
    return Body.of(bytes(answer(page).body))


def _made(text: asyncio.Task[Body] | None) -> Body | None:
    """Return the text of a page that was made without an error."""
    is_made = text is not None and text.done() and not text.cancelled() and text.exception() is None
    return text.result() if is_made and text is not None else None
