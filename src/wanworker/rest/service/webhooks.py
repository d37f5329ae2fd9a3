"""
Send webhooks when jobs end: signed, retried, and to public addresses only.

The form is that of Standard Webhooks (spec 1.0.0). webhook-id stays the same over all attempts, so that a receiver can
drop a second copy. webhook-signature is `v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import io
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
from yarl import URL

from wanworker.errors import RequestError
from wanworker.media.inputs.peer import checked_peer
from wanworker.media.inputs.urls import Resolve, checked_addresses, parse_url, resolve_by_system, shown
from wanworker.media.outputs.line_speed import seconds_for
from wanworker.media.threads import in_thread
from wanworker.serverless.answer import strict

log = logging.getLogger(__name__)

#: Waits in seconds before the second, third ... attempt: about 35 minutes in all.
BACK_OFF_S = (2.0, 10.0, 60.0, 300.0, 1800.0)
#: How long an attempt may take beside the time that its bytes need on a slow line.
_PATIENCE_S = 15.0
#: How many deliveries run at once, so that a slow receiver does not hold a socket for every job.
_AT_ONCE = 8
_PREFIX = "whsec_"
_GONE = 410


@dataclass(frozen=True, slots=True)
class Network:
    """Hold the edges of a delivery: how names are resolved, how to wait, and the time (unix seconds)."""

    resolve: Resolve = resolve_by_system
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Callable[[], float] = time.time


class Webhooks:
    """
    Deliver messages. *secret* signs them; *allow_hosts* are private hosts that the operator allows.

    *patience_s* is how long an attempt may take beside the time that its bytes need on a slow line.
    """

    def __init__(
        self,
        *,
        secret: str | None,
        allow_hosts: Sequence[str] = (),
        back_off_s: Sequence[float] = BACK_OFF_S,
        patience_s: float = _PATIENCE_S,
        network: Network = Network(),
    ) -> None:
        self._key = None if secret is None else _key_of(secret)
        self._allow_hosts = tuple(allow_hosts)
        self._back_off_s = tuple(back_off_s)
        self._patience_s = patience_s
        self._network = network
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def deliver(self, url: str, status: Mapping[str, Any]) -> bool:
        """
        POST `{"type", "timestamp", "data": status}` until the receiver accepts it (any 2xx).

        Returns False if it was given up. A 410, and an address that we may not connect to, end it at once. Redirects
        are not followed.
        """
        body = _body(status, self._network.clock())
        return await self.post(url, str(status["job_id"]), lambda: body, self._back_off_s)

    async def post(self, url: str, job_id: str, make_body: Callable[[], bytes], waits_s: Sequence[float]) -> bool:
        """
        POST a JSON body as `deliver` does, with *waits_s* seconds before the second, third ... attempt.

        Each attempt calls *make_body* in a thread, at its turn, so that a large body is not held before or after it.
        """
        message_id = f"msg_{job_id}"
        for wait_s in (*waits_s, None):
            async with self._turns:
                verdict = await self._attempt(url, message_id, make_body)
            if verdict is not None:
                return verdict
            if wait_s is not None:
                await self._network.sleep(wait_s)
        log.warning("the webhook of job %s was given up", job_id)
        return False

    async def _attempt(self, url: str, message_id: str, make_body: Callable[[], bytes]) -> bool | None:
        """Return True if it was accepted, False if it was refused for good, None to try again."""
        try:
            target = parse_url(url.strip())
            addresses = await checked_addresses(target, self._allow_hosts, self._network.resolve)
        except RequestError as error:
            log.warning("the webhook %s was not sent: %s", message_id, error)
            return False if error.code == "INPUT_REFUSED" else None
        headers, body = await in_thread(self._message, message_id, make_body)
        try:
            answered = await self._post(target, addresses[0], headers, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("the webhook %s did not reach %s: %s", message_id, shown(target), type(error).__name__)
            return None
        if 200 <= answered < 300:
            return True
        log.warning("the webhook %s was answered %s by %s", message_id, answered, shown(target))
        return False if answered == _GONE else None

    async def _post(self, url: URL, address: str, headers: Mapping[str, str], body: bytes) -> int:
        """Connect to the address that was checked. The name is used only in the Host header and the TLS handshake."""
        host = url.raw_host or ""
        named = host if url.is_default_port() else f"{host}:{url.port}"
        timeout = aiohttp.ClientTimeout(total=seconds_for(len(body), self._patience_s))
        connector = aiohttp.TCPConnector(socket_factory=checked_peer({address}.__contains__))
        jar = aiohttp.DummyCookieJar()
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar, trust_env=False) as session,
            session.post(
                url.with_host(address),
                data=io.BytesIO(body),  # sent in pieces: bytes would hold up the event loop
                headers={**headers, "Host": named},
                server_hostname=host if url.scheme == "https" else None,
                allow_redirects=False,
            ) as answer,
        ):
            return answer.status

    def _message(self, message_id: str, make_body: Callable[[], bytes]) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body. Blocks: a body may have 20 MB."""
        body = make_body()
        timestamp = str(int(self._network.clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "wanworker",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, message_id, timestamp, body)
        return headers, body


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the value of webhook-signature."""
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode(), hashlib.sha256)
    signed.update(body)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def _key_of(secret: str) -> bytes:
    """Return the key. Text after `whsec_` is base64; any other text is the key itself."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            log.warning("WEBHOOK_SECRET begins with whsec_, but the rest is not base64; it is used as plain text")
    return secret.encode()


def _body(status: Mapping[str, Any], now: float) -> bytes:
    kind = "job.completed" if status["status"] == "completed" else "job.failed"
    timestamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    return json.dumps({"type": kind, "timestamp": timestamp, "data": strict(status)}, separators=(",", ":")).encode()
