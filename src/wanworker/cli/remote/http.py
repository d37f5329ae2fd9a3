"""Send HTTP requests to one server. The key goes to no other address, and short outages are retried."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from wanworker.cli._base import CommandFailed, misused
from wanworker.cli.remote.target import complaint

#: How long to go on asking a server that does not answer, before a running job is given up.
_PATIENCE_S = 300.0

#: The time limits of a call. A request may have 10 MB, and a line may be slow.
_CALL_TIMEOUT_S = 300.0
_CHUNK_BYTES = 256 * 1024
_BUSY = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold a server's answer: the HTTP status, and the JSON or else the text."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Edges:
    """Hold the edges to the world besides sockets: the clock and how to wait."""

    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic


def base_url(text: str) -> URL:
    """Return the address that *text* names, without a slash at the end. Raises CommandFailed."""
    try:
        url = URL(text.rstrip("/"))
        host = url.host
    except ValueError:
        host = None
    if not host or url.scheme not in {"http", "https"}:
        raise misused(f"{text!r} is not an http(s) address.", hint="An address looks like http://127.0.0.1:8189.")
    if url.user or url.password:
        raise misused(
            "The address contains a login.", hint="Put the key into the environment: others can see arguments."
        )
    return url


class Remote:
    """
    Call paths below *base* with *key*. *key_name* is the variable that the key comes from; an error about the key names
    it.

    Redirects are not followed, because they would take the key along.
    """

    def __init__(
        self, session: aiohttp.ClientSession, base: URL, *, key: str, key_name: str, edges: Edges = Edges()
    ) -> None:
        self.base = base
        self._session = session
        self._key_name = key_name
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._edges = edges

    async def post_job(self, path: str, body: Mapping[str, Any], *, id_field: str) -> str:
        """
        Send a job once and return its id, the field *id_field* of the answer.

        A server that is busy (429) has not taken the job, so it is asked again. Raises CommandFailed.
        """
        give_up = self._edges.clock() + _PATIENCE_S
        while True:
            try:
                reply, retry_s = await self._call("POST", path, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise CommandFailed(f"{self.base} cannot be reached: {_reason(error)}.", code="UNREACHABLE") from error
            if reply.status != 429 or self._edges.clock() + retry_s > give_up:
                return self._job_id(self._checked(reply).body, id_field)
            await self._edges.sleep(retry_s)

    def _job_id(self, answer: object, id_field: str) -> str:
        job_id = answer.get(id_field) if isinstance(answer, Mapping) else None
        if not isinstance(job_id, str) or not job_id:
            raise CommandFailed(
                f"The answer of {self.base} has no {id_field}, which is the job's id: {str(answer)[:200]}"
            )
        return job_id

    async def ask(self, method: str, path: str, *, may_miss: bool = False) -> Reply:
        """
        Send a request that is safe to repeat, until there is an answer. Raises CommandFailed; *may_miss* accepts a 404.
        """
        give_up, pause_s = self._edges.clock() + _PATIENCE_S, 1.0
        while True:
            try:
                reply, retry_s = await self._call(method, path, None)
                trouble = f"it answers {reply.status}"
            except (aiohttp.ClientError, TimeoutError) as error:
                reply, retry_s, trouble = None, 0.0, _reason(error)
            if reply and reply.status not in _BUSY:
                return reply if may_miss and reply.status == 404 else self._checked(reply)
            pause_s = max(retry_s, min(15.0, pause_s * 2))
            if self._edges.clock() + pause_s > give_up:
                text = f"{self.base} has given no usable answer for {_PATIENCE_S:.0f} s: {trouble}."
                raise CommandFailed(text, code="UNREACHABLE", hint="The job may still be running there.")
            await self._edges.sleep(pause_s)

    async def download(self, path: str, part: Path) -> Reply:
        """Stream a file to *part*. Return an empty reply, or the server's refusal. Raises aiohttp.ClientError."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        url = f"{self.base}/{path}"
        async with self._session.get(url, headers=self._headers, allow_redirects=False, timeout=timeout) as answer:
            if answer.status != 200:
                return self._checked(Reply(answer.status, _parsed(await answer.text(errors="replace"))))
            with part.open("wb") as file:
                async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                    file.write(chunk)
            return Reply(200, None)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[Reply, float]:
        """Return the reply, and the seconds after which the server wants to be asked again."""
        url, timeout = f"{self.base}/{path}", aiohttp.ClientTimeout(total=_CALL_TIMEOUT_S, sock_connect=30)
        async with self._session.request(
            method, url, json=body, headers=self._headers, allow_redirects=False, timeout=timeout
        ) as answer:
            retry = answer.headers.get("Retry-After", "")
            retry_s = float(retry) if retry.isdecimal() else 1.0
            return Reply(answer.status, _parsed(await answer.text(errors="replace"))), min(retry_s, 60.0)

    def _checked(self, reply: Reply) -> Reply:
        """Return a good reply. Raises CommandFailed with the server's own message, or with ours."""
        if 200 <= reply.status < 300:
            return reply
        text, hint, code = complaint(reply.body)
        if reply.status in {401, 403}:
            raise misused(
                f"{self.base} refuses the key ({reply.status}).",
                hint=f"Set {self._key_name} to the key of this server.",
            )
        if 300 <= reply.status < 400:
            raise misused(
                f"{self.base} redirects to another address, which is not followed.", hint="Use the final address."
            )
        text = f"{self.base} answers {reply.status}{f': {text}' if text else '.'}"[:2000]
        if reply.status in {400, 404, 409, 413, 422}:
            raise misused(text, hint=hint)
        raise CommandFailed(text, hint=hint, code=code or f"HTTP_{reply.status}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text[:500]


def _reason(error: Exception) -> str:
    """Say what went wrong with a call. The URL is left out; some of aiohttp's texts repeat it."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.os_error.strerror or 'unreachable'})"
    return f"the connection broke off ({type(error).__name__})"
