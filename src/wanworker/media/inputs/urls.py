"""Parse a caller's URL once, print it without its secrets, and resolve it to allowed addresses."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from yarl import URL

from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media.inputs.addresses import is_listed, is_public

#: A function from a host name and a port to addresses. Raises OSError or UnicodeError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_URL_CHARS = 8192
_HOST = re.compile(r"[\w.:-]+", re.ASCII)
_MOST_LABEL_CHARS, _MOST_NAME_CHARS = 63, 253
_SEND_OTHERWISE = "Send a public http(s) URL, or the file itself as base64 text."


def parse_url(text: str, base: URL | None = None) -> URL:
    """
    Read a URL, relative to *base* if given. Raises InputRefused for one that no server of pictures would have.

    The same parsed URL is checked and connected to, so both see the same host. ASCII text stays as it is written,
    because encoding it again would break the signatures of some storage services.
    """
    if len(text) > _URL_CHARS:
        message = f"the URL is too long: it has {len(text):,} characters, and at most {_URL_CHARS:,} are read."
        raise InputRefused(message, hint=_SEND_OTHERWISE)
    if re.search(r"[\x00-\x1f\x7f\\]", text):
        raise InputRefused("the URL has control characters or backslashes in it.", hint=_SEND_OTHERWISE)
    try:
        url = URL(text, encoded=text.isascii() and " " not in text)
        url = base.join(url) if base is not None else url
        host = url.raw_host or ""
    except ValueError as error:
        raise InputRefused("the URL cannot be parsed.", hint=_SEND_OTHERWISE) from error
    if url.scheme not in {"http", "https"}:
        given = f"has the scheme {url.scheme[:20]!r}" if url.scheme else f"{text[:60]!r} has no scheme"
        raise InputRefused(f"the URL {given}; only http and https are fetched.", hint=_SEND_OTHERWISE)
    if "@" in url.raw_authority:
        raise InputRefused(
            f"the URL of {host[:80]!r} holds a user name; such URLs are not fetched.", hint=_SEND_OTHERWISE
        )
    if not is_host(host):
        raise InputRefused("the URL names no valid host.", hint=_SEND_OTHERWISE)
    return url


def is_host(host: str) -> bool:
    """Say whether *host* is an address, or a name that a resolver takes: no part of it is empty or too long."""
    if _HOST.fullmatch(host) is None:
        return False
    labels = host.removesuffix(".").split(".")
    fits = all(1 <= len(label) <= _MOST_LABEL_CHARS for label in labels) and len(host) <= _MOST_NAME_CHARS
    return fits or ":" in host


def shown(url: URL) -> str:
    """Return *url* for a message: without query and fragment, and shortened."""
    text = f"{url.scheme}://{url.raw_authority}{url.raw_path}"
    return text if len(text) <= 120 else f"{text[:117]}..."


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Return the addresses of *host* by the system's resolver. Raises OSError or UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked_addresses(url: URL, allow_hosts: Sequence[str], resolve: Resolve) -> Sequence[str]:
    """Resolve the host once. Return its addresses if every one of them may be connected to."""
    host = url.raw_host or ""
    addresses = await _addresses_of(url, host, resolve)
    if is_listed(host, allow_hosts):
        return addresses
    if not all(is_public(address) or is_listed(address, allow_hosts) for address in addresses):
        # The message does not name the address, with which a caller could map the operator's network.
        raise InputRefused(
            f"{shown(url)} leads to a private or reserved address.",
            hint=f"{_SEND_OTHERWISE} The operator can list private hosts in WAN_ALLOW_HOSTS.",
        )
    return addresses


async def _addresses_of(url: URL, host: str, resolve: Resolve) -> Sequence[str]:
    try:
        return (str(ip_address(host)),)
    except ValueError:
        pass  # The host is a name, or a number in a spelling that only a resolver understands.
    try:
        addresses = await resolve(host, url.port or 0)
    except (OSError, UnicodeError) as error:
        raise InputUnavailable(f"{shown(url)}: the host name cannot be resolved.") from error
    if not addresses:
        raise InputUnavailable(f"{shown(url)}: the host name has no address.")
    return addresses
