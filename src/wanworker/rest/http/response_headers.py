"""Add response headers: relative redirects, no guessing of content types, and no showing inside other sites' pages."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The pages ask for the API key, so no other site may show them in a frame. (A meta element cannot forbid that.)
_OF_THE_PAGES = {"Content-Security-Policy": "frame-ancestors 'none'"}
#: An answer may quote a caller, so no browser may take it for a page.
_OF_ALL = {"X-Content-Type-Options": "nosniff"}


class ResponseHeaders:
    """Complete the headers of every answer of *app*. *pages* are the paths of the pages."""

    def __init__(self, app: ASGIApp, *, pages: tuple[str, ...] = ("/ui", "/docs")) -> None:
        self._app = app
        self._pages = pages

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
        if any(path == page or path.startswith(f"{page}/") for page in self._pages):
            headers.update(_OF_THE_PAGES)
        if status == HTTPStatus.TEMPORARY_REDIRECT and "location" in headers:
            headers["location"] = relative(headers["location"], path)


def relative(location: str, path: str) -> str:
    """
    Return *location*, to which *path* is redirected, as a relative address, so that a proxy's own prefix stays.

    Only addresses that differ from *path* by a slash at the end are changed, as in Starlette's redirects. Pure.
    """
    target = urlsplit(location)
    name = path.rstrip("/").rpartition("/")[2]
    query = f"?{target.query}" if target.query else ""
    if target.path == f"{path}/":
        return f"{name}/{query}"
    if path.endswith("/") and target.path == path.rstrip("/"):
        return f"../{name}{query}"
    return location
