"""Send a file by HTTP PUT: guarded against private addresses, streamed, tried again within bounds."""

from __future__ import annotations

import functools
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from wanworker.media.inputs.addresses import is_listed, is_numeric, is_public
from wanworker.media.inputs.peer import checked_peer
from wanworker.media.outputs.line_speed import seconds_for

Sleep = Callable[[float], Awaitable[None]]

#: Pauses between the attempts, in seconds.
_PAUSES_S = (1.0, 3.0, 9.0)


class UploadFailed(Exception):
    """The file was not taken. The text says why, without any key. The video is still where it was."""


class _PublicOnly(aiohttp.ThreadedResolver):
    """Refuse names that lead to a private address. This is checked where the connection gets its addresses."""

    def __init__(self, allow_hosts: tuple[str, ...], named: str) -> None:
        super().__init__()
        self._allow_hosts = allow_hosts
        self._named = named

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for address in found:
            if not is_listed(host, self._allow_hosts):
                _check_address(address["host"], self._allow_hosts, self._named)
        return found


def open_session(size_bytes: int) -> aiohttp.ClientSession:
    """Open a session to any host, which gives up on a line that is too slow for *size_bytes*."""
    return _session(aiohttp.TCPConnector(), size_bytes)


def guarded_session(host: str, size_bytes: int, *, allow_hosts: tuple[str, ...], named: str) -> aiohttp.ClientSession:
    """
    Open a session that reaches only public addresses, and the hosts that the operator allows.

    *host* is the one that will be asked, *named* is what the message calls it. Raises UploadFailed, at once or when it
    connects, for a private address.
    """
    if is_numeric(host):  # an address, or a spelling of one, for which aiohttp does not use the resolver
        _check_address(host, allow_hosts, named)
    connector = aiohttp.TCPConnector(
        resolver=_PublicOnly(allow_hosts, named),
        socket_factory=checked_peer(functools.partial(_may_connect, host, allow_hosts)),
    )
    return _session(connector, size_bytes)


async def put_file(
    session: aiohttp.ClientSession, url: URL, path: Path, headers: dict[str, str]
) -> tuple[int, str | None, bytes]:
    """
    Stream *path* to *url* once. Return the status, where a redirect leads, and the beginning of what was answered.

    Redirects are not followed. Raises aiohttp's errors, and OSError if *path* cannot be read.
    """
    with path.open("rb") as file:
        async with session.put(url, data=file, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers.get("Location"), await response.content.read(4000)


def is_taken(status: int) -> bool:
    """Say whether the file was taken."""
    return status in {200, 201, 202, 204}


def is_transient(status: int) -> bool:
    """Say whether another attempt may succeed where this one got *status*."""
    return status >= 500 or status in {408, 429}


async def retried(
    attempt: Callable[[], Awaitable[tuple[str, bool]]], *, told: Callable[[Exception], str], sleep: Sleep
) -> str:
    """
    Call *attempt* up to four times. Return the reason why the last one failed, or nothing.

    *attempt* returns the reason of a failure or nothing, and whether another attempt may succeed. A broken connection
    may; *told* says in words what broke.
    """
    reason = ""
    for pause_s in (0.0, *_PAUSES_S):
        if pause_s:
            await sleep(pause_s)
        try:
            reason, can_pass = await attempt()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            reason, can_pass = told(error), not isinstance(error, aiohttp.InvalidURL)
        if not reason or not can_pass:
            break
    return reason


def may_reach(host: str, allow_hosts: tuple[str, ...]) -> bool:
    """Say whether *host* may be asked, as far as it can be told without looking up a name."""
    return not is_numeric(host) or _may_connect(host, allow_hosts, host)


def _session(connector: aiohttp.TCPConnector, size_bytes: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=seconds_for(size_bytes), sock_connect=15),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _may_connect(host: str, allow_hosts: tuple[str, ...], address: str) -> bool:
    return is_public(address) or is_listed(address, allow_hosts) or is_listed(host, allow_hosts)


def _check_address(address: str, allow_hosts: tuple[str, ...], named: str) -> None:
    if not _may_connect(address, allow_hosts, address):
        raise UploadFailed(f"{named} leads to a private address, which only WAN_ALLOW_HOSTS can allow.")
