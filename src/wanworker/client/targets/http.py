"""Send HTTP requests to one server. The key goes to no other address, and short outages are retried."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from wanworker.client._answers import OnWarning, warnings_in
from wanworker.client.errors import Busy, ClientError, Refused, ResultLost, TargetFailed, Unauthorised, Unreachable
from wanworker.client.targets.base import complaint, is_web_page
from wanworker.clocks.awake import LONGEST_GAP_S, AwakeClock
from wanworker.text.system_words import system_words

#: The time limits of a call. A request may have 10 MB, and a line may be slow.
_CALL_TIMEOUT_S = 300.0
_CHUNK_BYTES = 256 * 1024

#: JSON of more bytes is read in a thread, because that takes a noticeable time.
_LARGE_BYTES = 64 * 1024
_BUSY = frozenset({429, 500, 502, 503, 504})
_REFUSALS = frozenset({400, 404, 405, 409, 410, 413, 415, 422})
_STILL_THERE = "The server still has it. Download it again later."
_FIRST_BYTE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold a server's answer: the HTTP status, and the JSON or else the text."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Edges:
    """
    Hold the edges to the world besides sockets: the clock and how to wait.

    `patience_s` is how long to go on asking a server that does not answer, or that is full. A server that takes a
    question and then is silent gets `quiet_s` for it at least. If more than `longest_gap_s` passes between two looks at
    the clock, this process was frozen, and nobody is blamed for that time.
    """

    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    patience_s: float = 300.0
    quiet_s: float = 10.0
    longest_gap_s: float = LONGEST_GAP_S

    def awake(self) -> AwakeClock:
        """Return a clock for what is waited for."""
        return AwakeClock(self.clock, longest_gap_s=self.longest_gap_s)


def base_url(text: str) -> URL:
    """Return the address that *text* names, without a slash at the end. Raises Refused."""
    try:
        url = URL(text.rstrip("/"))
        host = url.host
    except ValueError:
        host = None
    if not host or url.scheme not in {"http", "https"}:
        raise Refused(f"{text!r} is not an http(s) address.", hint="An address looks like http://127.0.0.1:8189.")
    if url.user or url.password:
        raise Refused("The address contains a login.", hint="Give the key by itself, not in the address.")
    return url


class Remote:
    """
    Call paths below *base* with *key*.

    Redirects are not followed, because they would take the key along.
    """

    def __init__(self, session: aiohttp.ClientSession, base: URL, *, key: str, edges: Edges = Edges()) -> None:
        self.base = base
        self._session = session
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._edges = edges

    async def post_job(
        self, path: str, body: Mapping[str, Any], *, id_field: str, on_warning: OnWarning | None = None
    ) -> str:
        """
        Send a job as `post` does and return its id, the field *id_field* of the answer. Raises ClientError.

        *on_warning* hears each warning of the answer.
        """
        answer = (await self.post(path, body)).body
        job_id = self._job_id(answer, id_field)
        if on_warning is not None:
            for line in warnings_in(answer):
                on_warning(line)
        return job_id

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """
        Send *body* once and return the answer.

        A server that is busy (429) has not taken it, so it is asked again. Raises ClientError.
        """
        now = self._edges.awake()
        async with now.looking():
            while True:
                try:
                    reply, retry_s = await self._call("POST", path, body)
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise Unreachable(f"{self.base} cannot be reached: {_reason(error)}.") from error
                pause_s = max(1.0, retry_s)
                if reply.status != 429 or now() + pause_s > self._edges.patience_s:
                    return self._checked(reply)
                await self._edges.sleep(pause_s)

    def _job_id(self, answer: object, id_field: str) -> str:
        job_id = answer.get(id_field) if isinstance(answer, Mapping) else None
        if not isinstance(job_id, str) or not job_id:
            raise TargetFailed(
                f"The answer of {self.base} has no {id_field}, which is the job's id: {str(answer)[:200]}"
            )
        return job_id

    async def ask(
        self, method: str, path: str, *, may_miss: bool = False, is_answer: Callable[[Any], bool] = lambda _body: True
    ) -> Reply:
        """
        Send a request that is safe to repeat, until there is an answer. Raises ClientError; *may_miss* accepts a 404.

        *is_answer* says whether the body of a good reply is one: a proxy before the server may answer 200 with its own.
        """
        now = self._edges.awake()
        async with now.looking():
            return await self._asked(method, path, may_miss, is_answer, now)

    async def _asked(
        self, method: str, path: str, may_miss: bool, is_answer: Callable[[Any], bool], now: Callable[[], float]
    ) -> Reply:
        pause_s, quiet_s = 1.0, max(self._edges.quiet_s, self._edges.patience_s)
        while True:
            try:
                reply, retry_s = await self._call(method, path, None, quiet_s=quiet_s)
                trouble = f"it answers {reply.status}"
            except (aiohttp.ClientError, TimeoutError) as error:
                reply, retry_s, trouble = None, 0.0, _reason(error)
            if reply and reply.status not in _BUSY:
                is_missing = may_miss and reply.status == 404 and not is_web_page(reply.body)
                checked = reply if is_missing else self._checked(reply)
                if reply.status == 404 or is_answer(checked.body):
                    return checked
                trouble = f"it answers {str(checked.body)[:200]!r}"
            pause_s = max(retry_s, min(15.0, pause_s * 2))
            if now() + pause_s > self._edges.patience_s:
                asked_s = max(self._edges.patience_s, now())
                text = f"{self.base} has given no usable answer for {asked_s:.0f} s: {trouble}."
                raise Unreachable(text, hint="The job may still be running there.")
            await self._edges.sleep(pause_s)

    async def download(self, path: str, part: Path) -> None:
        """
        Stream a file to *part*. A transfer that breaks off goes on where it was, if the server still has the same file.

        Raises ResultLost if no byte has come for `patience_s`, and ClientError if the server refuses.
        """
        transfer = _Transfer(part)
        now, give_up, pause_s = self._edges.awake(), self._edges.patience_s, 1.0
        async with now.looking():
            while True:
                before = transfer.received
                try:
                    trouble = await self._transfer(path, transfer)
                except (aiohttp.ClientError, TimeoutError) as error:
                    trouble = _reason(error)
                if not trouble:
                    return
                if transfer.received > before:
                    give_up, pause_s = now() + self._edges.patience_s, 1.0
                if now() + pause_s > give_up:
                    text, hint = f"The file could not be downloaded from {self.base}: {trouble}.", _STILL_THERE
                    raise ResultLost(text, code="DOWNLOAD_FAILED", hint=hint)
                await self._edges.sleep(pause_s)
                pause_s = min(15.0, pause_s * 2)

    async def _transfer(self, path: str, transfer: _Transfer) -> str:
        """Take what comes. Return an empty text if all is here, else what is wrong. Raises aiohttp's errors."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        headers = {**self._headers, "Accept-Encoding": "identity", **transfer.headers}
        url = f"{self.base}/{path}"
        async with self._session.get(url, headers=headers, allow_redirects=False, timeout=timeout) as answer:
            if answer.status in _BUSY:
                return f"it answers {answer.status}"
            if answer.status not in {200, 206}:
                self._checked(Reply(answer.status, await _read(answer)))
            return await transfer.take(answer)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, quiet_s: float | None = None
    ) -> tuple[Reply, float]:
        """
        Return the reply, and the seconds after which the server wants to be asked again.

        Raises TimeoutError if no byte came for *quiet_s*.
        """
        url = f"{self.base}/{path}"
        timeout = aiohttp.ClientTimeout(total=_CALL_TIMEOUT_S, sock_connect=30, sock_read=quiet_s)
        # A request may have 10 MB and an answer 20 MB, each as one JSON text: the event loop has others to serve.
        data = None if body is None else await asyncio.to_thread(_written, body)
        headers = self._headers if data is None else {**self._headers, "Content-Type": "application/json"}
        async with self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout
        ) as answer:
            retry = answer.headers.get("Retry-After", "")
            retry_s = float(retry) if retry.isdecimal() else 1.0
            return Reply(answer.status, await _read(answer)), min(retry_s, 60.0)

    def _checked(self, reply: Reply) -> Reply:
        """Return a good reply. Raises ClientError with the server's own message, or with ours."""
        if 200 <= reply.status < 300:
            return reply
        text, hint, code = complaint(reply.body)
        if reply.status in {401, 403}:
            text = f"{self.base} refuses the key ({reply.status})."
            raise Unauthorised(text, hint="Give the key of this server.")
        if 300 <= reply.status < 400:
            text = f"{self.base} redirects to another address, which is not followed."
            raise Refused(text, hint="Use the final address.")
        text = f"{self.base} answers {reply.status}{f': {text}' if text else '.'}"[:2000]
        kind: type[ClientError] = Refused if reply.status in _REFUSALS else TargetFailed
        if reply.status == 429:
            kind, hint = Busy, hint or "Send the job again later."
        raise kind(text, hint=hint, code=code or f"HTTP_{reply.status}")


class _Transfer:
    """Write a file as it comes, in one or several transfers."""

    def __init__(self, part: Path) -> None:
        self.received = 0
        self._part = part
        self._version = ""

    @property
    def headers(self) -> dict[str, str]:
        """Ask for the rest of the same file; a server that has another by now sends all of that."""
        if not self.received or not self._version:
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": self._version}

    async def take(self, answer: aiohttp.ClientResponse) -> str:
        """Write what comes. Return an empty text if all is here, else what is wrong."""
        goes_on = _FIRST_BYTE.fullmatch(answer.headers.get("Content-Range", "")) if answer.status == 206 else None
        if answer.status == 206 and (goes_on is None or int(goes_on[1]) != self.received):
            self.received, self._version = 0, ""
            return "it sends another part than the one that was asked for"
        expected = int(goes_on[2]) if goes_on else answer.content_length
        if goes_on is None:
            tag = answer.headers.get("ETag", "")
            self.received, self._version = 0, "" if tag.startswith("W/") else tag
        with self._part.open("ab" if goes_on else "wb") as file:
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                file.write(chunk)
                self.received += len(chunk)
        return "" if expected in {None, self.received} else f"{self.received} of {expected} bytes came"


def _written(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()


async def _read(answer: aiohttp.ClientResponse) -> Any:
    """Return the JSON of *answer*, or else the beginning of its text."""
    content = await answer.read()
    if len(content) > _LARGE_BYTES:
        return await asyncio.to_thread(_parsed, content, answer.get_encoding())
    return _parsed(content, answer.get_encoding())


def _parsed(content: bytes, encoding: str) -> Any:
    text = content.decode(encoding, errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text[:500]


def _reason(error: Exception) -> str:
    """Say what went wrong with a call. The URL is left out; some of aiohttp's texts repeat it."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({system_words(error.os_error)})"
    return f"the connection broke off ({type(error).__name__})"
