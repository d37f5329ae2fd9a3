"""
Decide which internet addresses a caller's URL can lead to. Pure.

The networks are those of IANA's IPv4 and IPv6 special-purpose address registries (RFC 6890 and its successors). They
are listed here because the answers of `ipaddress.is_global` differ between Python releases, and because it calls
6to4, Teredo and translated addresses public whatever they carry inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

#: Spellings of an address that inet_aton and similar functions read: `127.1`, `2130706433`, `0x7f.1`, `0177.0.0.1`.
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}\.?", re.IGNORECASE)

Address = IPv4Address | IPv6Address

_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services: a public number that only its machines reach
        "169.254.0.0/16",  # link-local; the metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; broadcast
    )
)

#: Everything outside is loopback, mapped, unique local, link-local, multicast, or not assigned.
_GLOBAL_V6 = IPv6Network("2000::/3")

_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)

#: The well-known prefix of RFC 6052: a network without IPv4 reaches all of IPv4 through it.
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str | Address) -> bool:
    """
    Say whether *address* is a public unicast address. Text that is not an address is not public.

    An IPv4 address that is mapped into IPv6 or behind NAT64 is judged by itself. Teredo and 6to4 are always refused,
    because no file server has such an address.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        inner = _inner_v4(parsed)
        if inner is None:
            return parsed in _GLOBAL_V6 and not any(parsed in network for network in _SPECIAL_V6)
        parsed = inner
    return not any(parsed in network for network in _SPECIAL_V4)


def _inner_v4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a mapped or NAT64 address stands for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


def is_numeric(host: str) -> bool:
    """Say whether *host* is an address, or a spelling that some programs read as one, and not a name."""
    return ":" in host or _NUMERIC.fullmatch(host) is not None


def is_listed(host: str, allowed: Iterable[str]) -> bool:
    """Say whether *host*, a name or an address, is one of *allowed*. Case, brackets and a trailing dot are ignored."""
    return _canonical(host) in {_canonical(entry) for entry in allowed}


def _canonical(host: str) -> str:
    bare = host.strip().strip("[]").rstrip(".").lower()
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare
