"""Add response headers: redirects that work behind a proxy, answers that are what they say, no page in a frame."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The page asks for the API key: no other site may show it under its own buttons. (A meta element cannot say this.)
_OF_THE_PAGE = {"Content-Security-Policy": "frame-ancestors 'none'"}
#: An answer may quote a caller: no browser may take it for a page.
_OF_ALL = {"X-Content-Type-Options": "nosniff"}


class ResponseHeaders:
    """Complete the headers of every answer of *app*; *page* is where the page lies."""

    def __init__(self, app: ASGIApp, *, page: str = "/ui") -> None:
        self._app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as *app* does, with the headers completed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._complete(scope["path"], message["status"], MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, completed)

    def _complete(self, path: str, status: int, headers: MutableHeaders) -> None:
        headers.update(_OF_ALL)
        if path == self._page or path.startswith(f"{self._page}/"):
            headers.update(_OF_THE_PAGE)
        if status == HTTPStatus.TEMPORARY_REDIRECT and "location" in headers:
            headers["location"] = relative(headers["location"], path)


def relative(location: str, path: str) -> str:
    """
    Return the address *location*, to which *path* is redirected, so that whatever a proxy put before both stays.

    Only a slash at the end may come or go, as Starlette redirects; any other address is returned as it is. Pure.
    """
    target = urlsplit(location)
    name = path.rstrip("/").rpartition("/")[2]
    query = f"?{target.query}" if target.query else ""
    if target.path == f"{path}/":
        return f"{name}/{query}"
    if path.endswith("/") and target.path == path.rstrip("/"):
        return f"../{name}{query}"
    return location
