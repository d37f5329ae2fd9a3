"""Download a link that an answer contains: without the key, and from public addresses only."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from wanworker.client.errors import Refused, ResultLost

_MAX_BYTES = 16 * 1000**3
_TIMEOUT_S = 3600.0
_CHUNK_BYTES = 256 * 1024


class _Private(OSError):
    """The address is not public. No packet was sent."""


async def save_link(url: str, part: Path, *, allow_hosts: Sequence[str] = ()) -> None:
    """
    Download *url* to *part*. It may lead to a host in *allow_hosts*, and otherwise to public addresses only.

    No message has the query of the URL, which may hold a signature. Raises Refused, ResultLost.
    """
    link = URL(url, encoded=url.isascii() and " " not in url)
    name = f"{link.scheme}://{link.host}{link.path}"[:120]
    if link.scheme not in {"http", "https"} or not link.host:
        raise Refused(f"The answer links to {name!r}, which is not an http(s) address.")
    is_allowed = link.host in allow_hosts
    connector = aiohttp.TCPConnector(socket_factory=None if is_allowed else _public_only, force_close=True)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S, sock_connect=30, sock_read=60)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session,
            # A host that may be private must not lead to another one: its connections are not checked.
            session.get(link, headers={"Accept-Encoding": "identity"}, allow_redirects=not is_allowed) as answer,
        ):
            if answer.status != 200:
                hint = "The link may have expired." if answer.status in {401, 403, 404} else ""
                raise ResultLost(f"{name} answers {answer.status}.", code="DOWNLOAD_FAILED", hint=hint)
            await _write(answer, part, name)
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, _Private):
            hint = "Allow the host by name if it is yours."
            raise Refused(f"{name} leads to a private or reserved address.", hint=hint) from error
        raise ResultLost(f"{name} cannot be reached.", code="DOWNLOAD_FAILED") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        text = f"The download of {name} broke off ({type(error).__name__})."
        raise ResultLost(text, code="DOWNLOAD_FAILED") from error


async def _write(answer: aiohttp.ClientResponse, part: Path, name: str) -> None:
    received = 0
    with part.open("wb") as file:
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            received += len(chunk)
            if received > _MAX_BYTES:
                raise ResultLost(f"{name} is larger than {_MAX_BYTES:,} bytes.", code="DOWNLOAD_FAILED")
            file.write(chunk)


def _public_only(addr_info: Any) -> socket.socket:
    """Open a socket for a public address: the socket's own address leaves no doubt, whatever the URL says."""
    family, kind, protocol, _, peer = addr_info
    if not ip_address(str(peer[0]).partition("%")[0]).is_global:
        raise _Private(errno.EACCES, "the address is not public")
    return socket.socket(family, kind, protocol)
