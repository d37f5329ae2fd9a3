"""Check who calls: the API key, the browser's origin, and the size of the body."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wanworker.errors import RequestError
from wanworker.rest.http.error_responses import failure
from wanworker.rest.http.errors import Forbidden, TooLarge, Unauthorized

#: What a browser may load without the key: a static shell that asks for the key, and the health checks.
_OPEN_PATHS = frozenset({"/", "/ui", "/ping", "/ready"})
_OPEN_FOLDER = "/ui/"

#: A picture of 32 MB (media/inputs/reader.py) as base64, and the other fields.
MAX_BODY_BYTES = 44_000_000


class Guard:
    """
    Answer 401, 403 and 413 before any route is asked.

    *is_local* is a server without a key that this machine alone is to reach: it answers to no other name than this
    machine's, or a page could reach it by a name of its own that leads here (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, *, key: str | None, is_local: bool = False, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._app = app
        self._key = key
        self._is_local = is_local
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["path"], headers)
        if refusal is not None:
            await failure(refusal)(scope, receive, send)
            return
        await _Bounded(self._app, self._max_body_bytes)(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> RequestError | None:
        if _is_foreign(headers):
            return Forbidden("The request comes from another site's page.")
        if self._is_local and not _is_address(headers.get("host", "")):
            hint = "Use localhost; or set WAN_API_KEY, or REST_ALLOW_OPEN=true where a proxy guards this server."
            return Forbidden("This server answers requests to localhost only.", hint=hint)
        is_open = path in _OPEN_PATHS or path.startswith(_OPEN_FOLDER)
        if self._key is not None and not is_open and not self._has_key(headers):
            return Unauthorized("This server needs its API key.")
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            return _too_large(self._max_body_bytes)
        return None

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), (self._key or "").encode())


class _Bounded:
    """Count a body that did not declare its size."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise _too_large(self._max_bytes)
            return message

        await self._app(scope, bounded, send)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes:,} bytes.")


def _is_address(host: str) -> bool:
    """Say whether *host* is `localhost` or a number: only names can be made to lead elsewhere."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _is_foreign(headers: Headers) -> bool:
    """Say whether a browser sends this for a page of another origin: no page may drive somebody's local server."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
        return True
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
