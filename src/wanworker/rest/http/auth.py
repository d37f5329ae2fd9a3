"""Check each request before its body is read: the API key, the browser's origin, and the body's size."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from wanworker.errors import RequestError
from wanworker.rest.http.body_limits import BodyLimits, too_large
from wanworker.rest.http.error_responses import failure
from wanworker.rest.http.errors import Forbidden, Unauthorized
from wanworker.rest.http.limits import LIMITS, Limits

#: What may be loaded without the key: the health checks, and the two pages, static shells that ask for the key. The
#: schema says no more than the documentation that everybody can read.
OPEN_PATHS = frozenset({"/", "/ui", "/docs", "/openapi.json", "/ping", "/ready"})
_OPEN_FOLDERS = ("/ui/", "/docs/")


class Guard:
    """
    Answer 401, 403 and 413 before any route is called.

    *is_local* means a server without a key, which only this machine should reach. It answers only to this machine's own
    names. Otherwise a page could reach it under a name of its own that resolves to this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, key: str | None, is_local: bool = False, limits: Limits = LIMITS) -> None:
        self._app = app
        self._bounded = BodyLimits(app, limits)
        self._key = key
        self._is_local = is_local
        self._max_body_bytes = limits.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["path"], headers)
        if refusal is not None:
            await failure(refusal, scope["path"])(scope, receive, send)
            return
        await self._bounded(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> RequestError | None:
        if _is_foreign(headers):
            return Forbidden("The request comes from another site's page.")
        if self._is_local and not _is_address(headers.get("host", "")):
            hint = "Use localhost; or set WAN_API_KEY, or REST_ALLOW_OPEN=true where a proxy guards this server."
            return Forbidden("This server answers requests to localhost only.", hint=hint)
        is_open = path in OPEN_PATHS or path.startswith(_OPEN_FOLDERS)
        if self._key is not None and not is_open and not self._has_key(headers):
            return Unauthorized("This server needs its API key.")
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            return too_large(self._max_body_bytes)
        return None

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), (self._key or "").encode())


def _is_address(host: str) -> bool:
    """Say whether *host* is `localhost` or an IP address. Other names can be made to resolve to this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _is_foreign(headers: Headers) -> bool:
    """
    Say whether a browser sends this for a page of another origin. Such a page must not use somebody's local server.
    """
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
        return True
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:  # a broken [address], which no browser sends
        return True
