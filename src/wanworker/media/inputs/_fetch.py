"""
Download a caller's URL: the only module that does.

What it stops: every scheme but http and https; a host that is, or resolves to, anything but public addresses (see
addresses.py), however it is spelt; a redirect to such a host; a name that answers differently when it is asked
again, since it is asked once and the connection goes to the addresses that were checked; user names in URLs; proxies,
cookies and credentials of the worker's own environment; too many bytes, too much time, too many redirects, compressed
answers that grow.

What it does not stop: a public server that relays to a private one, a port of a public host that is no file server's,
anything on a host that the operator lists in `allow_hosts`, and a file that is malicious in itself: picture.py
and reader.py judge that.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from wanworker.clocks.awake import Silence
from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media.inputs.peer import checked_peer
from wanworker.media.inputs.urls import Resolve, checked_addresses, parse_url, resolve_by_system, shown
from wanworker.media.new_file import new_file
from wanworker.media.threads import in_thread
from wanworker.text.system_words import system_words

_CHUNK_BYTES = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"User-Agent": "wanworker", "Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limit one download. `timeout_s` covers all of it, including name look-ups and redirects."""

    max_bytes: int
    timeout_s: float
    max_redirects: int = 5
    connect_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Network:
    """Hold the edges of a download: how names are resolved, how sockets are opened (None: as usual), whom to trust."""

    resolve: Resolve = resolve_by_system
    open_socket: aiohttp.connector.SocketFactoryType | None = None
    tls: ssl.SSLContext | None = None


async def fetch(
    url: str,
    target: Path,
    *,
    limits: FetchLimits,
    allow_hosts: Sequence[str] = (),
    network: Network = Network(),
) -> None:
    """
    Download *url* into *target*. If not all of it arrives, *target* is removed.

    *allow_hosts* are names or addresses that may be private, because the operator allows them.

    Raises InputRefused for a URL, an address or a size that is not accepted; InputUnavailable if the server cannot be
    reached, answers with an error or takes too long; and DiskFull. No message has the URL's query, which may hold a
    signature.
    """
    start = parse_url(url.strip())
    try:
        async with Silence(limits.timeout_s):
            await _follow(start, target, limits, allow_hosts, network)
    except TimeoutError as error:
        raise InputUnavailable(
            f"{shown(start)} did not arrive within {limits.timeout_s:g} s.",
            hint="Send a smaller file, or put it on a faster server.",
        ) from error


async def _follow(url: URL, target: Path, limits: FetchLimits, allow_hosts: Sequence[str], network: Network) -> None:
    """Follow redirects by hand, so that every hop passes the same checks as the first."""
    hop = url
    for _ in range(limits.max_redirects + 1):
        addresses = await checked_addresses(hop, allow_hosts, network.resolve)
        async with _answer(hop, addresses, limits, network) as answer:
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or location is None:
                await _save(answer, hop, target, limits.max_bytes)
                return
        hop = parse_url(location, base=hop)
    raise InputUnavailable(f"{shown(url)} redirected more than {limits.max_redirects} times.")


class _Checked(AbstractResolver):
    """Give aiohttp the addresses that were checked, instead of a second look-up."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp's signature
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Do nothing, because nothing is held."""


@asynccontextmanager
async def _answer(
    url: URL, addresses: Sequence[str], limits: FetchLimits, network: Network
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Ask for *url* at one of *addresses*. Errors of aiohttp in the block become InputUnavailable."""
    connector = aiohttp.TCPConnector(
        resolver=_Checked(addresses),
        use_dns_cache=False,
        force_close=True,
        ssl=network.tls or True,
        socket_factory=checked_peer(frozenset(addresses).__contains__, network.open_socket),
    )
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers=_HEADERS,
    )
    try:
        async with session, session.get(url, allow_redirects=False) as answer:
            yield answer
    except aiohttp.ClientError as error:
        raise InputUnavailable(f"{shown(url)}: {_reason(error)}.") from error


async def _save(answer: aiohttp.ClientResponse, url: URL, target: Path, max_bytes: int) -> None:
    """Stream the body into *target*."""
    _check_head(answer, url, max_bytes)
    received = 0
    with new_file(target), target.open("wb") as file:
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(url, max_bytes)
            await in_thread(file.write, chunk)


def _check_head(answer: aiohttp.ClientResponse, url: URL, max_bytes: int) -> None:
    if not 200 <= answer.status < 300:
        hint = "The link may have expired or need a login: send a fresh one." if answer.status in {401, 403} else None
        raise InputUnavailable(f"{shown(url)} answered {answer.status}.", hint=hint)
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    if encoding not in {"", "identity"}:
        raise InputUnavailable(
            f"{shown(url)} answered with Content-Encoding {encoding[:20]!r}, though none was asked for.",
            hint="Store the file uncompressed, or send it as base64 text.",
        )
    if (answer.content_length or 0) > max_bytes:
        raise _too_large(url, max_bytes)


def _too_large(url: URL, max_bytes: int) -> InputRefused:
    return InputRefused(f"{shown(url)} is larger than {max_bytes:,} bytes.", hint="Send a smaller file.")


def _reason(error: aiohttp.ClientError) -> str:
    """Say what went wrong, by the error's type. The text of some of these errors repeats the whole URL."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its TLS certificate is not valid for this host"
    if isinstance(error, aiohttp.ServerTimeoutError):
        return "no connection in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({system_words(error.os_error)})"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return "the transfer broke off"
    return f"no usable answer ({type(error).__name__})"
