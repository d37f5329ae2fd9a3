"""Send one HTTP request to a ComfyUI server, and translate foreign exceptions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from wanworker.errors import EngineError, EngineFailed, EngineUnavailable, InputRefused, RequestError
from wanworker.text.json_words import kind_of
from wanworker.text.system_words import system_words

#: The documented text (worker-api.md, "ComfyUI Offline").
NOT_RESPONDING = "ComfyUI server is not responding"

#: How many received bytes may wait before the sender is held back. A large buffer saves wake-ups for 60 MB files.
_READ_BUFFER_BYTES = 1 << 20

#: The most bytes of an answer's JSON, and of a websocket message, after decompression. The largest real ones have about
#: 15 MB: object_info of hundreds of node packs, or an error with its prompt's pictures.
LARGEST_ANSWER_BYTES = 32 * 1024**2


#: The statuses that a proxy sends when the server behind it does not answer (52x: Cloudflare, RunPod's proxy).
_NOBODY_BEHIND = frozenset({502, 503, 504, 520, 521, 522, 523, 524})


class Unreachable(EngineUnavailable):
    """No connection could be made, so nothing of the request has reached the server."""


class ServerRefused(EngineFailed):
    """The server answered with an HTTP error. `answered` is the status, `body` the answer (parsed if it is JSON)."""

    def __init__(self, message: str, *, status: int, body: object, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.answered = status
        self.body = body


class Connection:
    """
    Hold one server's address, token and connection pool.

    *connect_s* limits connecting, *answer_s* a whole ordinary request, and *idle_s* the silence within the transfer of
    a file, however large. All are in seconds.
    """

    def __init__(self, base_url: str, *, token: str | None, connect_s: float, answer_s: float, idle_s: float) -> None:
        url = URL(base_url)
        if url.scheme not in {"http", "https"} or not url.host:
            raise RequestError(f"A ComfyUI address looks like http://host:8188; got {base_url[:80]!r}.")
        self.url = url
        self._connect_s, self._answer_s, self._idle_s = connect_s, answer_s, idle_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._opened: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Return the session. It is made on first use, because it belongs to the running event loop."""
        if self._opened is None or self._opened.closed:
            self._opened = aiohttp.ClientSession(
                headers=self._headers, timeout=self.ordinary(), read_bufsize=_READ_BUFFER_BYTES
            )
        return self._opened

    async def close(self) -> None:
        """Close the connections. A later request opens new ones."""
        if self._opened is not None:
            await self._opened.close()

    def ordinary(self, answer_s: float | None = None) -> aiohttp.ClientTimeout:
        """Return the limits of a request that is answered at once."""
        return aiohttp.ClientTimeout(total=answer_s or self._answer_s, sock_connect=self._connect_s)

    def transfer(self) -> aiohttp.ClientTimeout:
        """Return the limits of a request that transfers a file."""
        return aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s, sock_read=self._idle_s)

    def at(self, path: str, query: Mapping[str, str] | None = None) -> URL:
        """Return the address of *path* below the base address. The parts of *path* are quoted."""
        return self.url.with_path(self.url.raw_path.rstrip("/") + path, encoded=True).with_query(query)

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Open one request. Raises EngineUnavailable (no server), InputRefused (413) or ServerRefused (another HTTP
        error).
        """
        try:
            async with self.session.request(method, self.at(path, query), allow_redirects=False, **options) as response:
                if response.status not in {200, 206}:
                    raise await _refusal(response, path)
                yield response
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise self.unavailable(error) from error

    async def json(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None,
        answer_s: float | None = None,
    ) -> Any:  # fmt: skip
        """Send *body* as JSON, if given, and return the answer's JSON, or None for an empty answer."""
        options: dict[str, Any] = {"timeout": self.ordinary(answer_s)}
        if body is not None:
            options |= {"data": json.dumps(body).encode(), "headers": {"Content-Type": "application/json"}}
        async with self.request(method, path, query=query, **options) as response:
            return await self.parsed(response, path)

    async def parsed(self, response: aiohttp.ClientResponse, path: str) -> Any:
        """
        Return the JSON of an answer, or None for an empty one. Raises EngineFailed if it is not JSON or too large.
        """
        text = await _read(response)
        if text is None:
            message = f"The server at {self.place} answers {path} with more than {LARGEST_ANSWER_BYTES:,} bytes."
            raise EngineFailed(message, hint="Check the ComfyUI address.")
        try:
            return json.loads(text) if text.strip() else None
        except (ValueError, RecursionError) as error:
            message = f"The server at {self.place} does not answer like ComfyUI: {path} gave no JSON."
            raise EngineFailed(message, hint="Check the ComfyUI address.") from error

    @property
    def place(self) -> str:
        """Return the address for a message: without user, password or query."""
        return str(self.url.with_user(None).with_query(None))

    def unavailable(self, error: BaseException) -> EngineUnavailable:
        """Return the documented error for a server that does not answer. Its hint names the server and the cause."""
        never_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        kind = Unreachable if never_sent else EngineUnavailable
        return kind(NOT_RESPONDING, hint=f"Is ComfyUI running at {self.place}? The cause: {_cause(error)}.")


def _cause(error: BaseException) -> str:
    """Say why there is no answer. The address is left out: aiohttp's own texts repeat it, and more."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({system_words(error.os_error)})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"the connection broke off ({type(error).__name__})"


def as_object(answer: object, path: str) -> dict[str, Any]:
    """Return the *answer* of *path* if it is a JSON object. Raises EngineFailed for anything else."""
    if not isinstance(answer, dict):
        message = f"The server does not answer like ComfyUI: {path} gave {kind_of(answer)}, not an object."
        raise EngineFailed(message, hint="Check the ComfyUI address.")
    return answer


async def _read(response: aiohttp.ClientResponse) -> bytearray | None:
    """Return the body, or None if it is too large."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_ANSWER_BYTES:
            response.close()
            return None
    return body


async def _refusal(response: aiohttp.ClientResponse, path: str) -> EngineError | InputRefused:
    text = (await _read(response) or b"").decode(errors="replace")
    try:
        body: object = json.loads(text)
    except (ValueError, RecursionError):
        body = text
    if response.status == 413:
        return InputRefused(f"Larger than the ComfyUI server takes: {text.strip()[:200]}")
    if response.status in _NOBODY_BEHIND:
        return EngineUnavailable(NOT_RESPONDING, hint=f"HTTP {response.status} from what stands in front of it.")
    message = f"The ComfyUI server answered HTTP {response.status} to {response.method} {path}."
    hint = "Check the token." if response.status in {401, 403} else None
    if response.status in {301, 302, 307, 308}:
        hint = "The address is redirected: use the one that it points to."
    return ServerRefused(message, status=response.status, body=body, hint=hint)
