"""
Check the address that a socket is about to be connected to.

An HTTP library does not use its resolver for a host that it takes for an address itself, and libraries differ in what
they take for one (`2130706433`, `127.1`). The socket's own address leaves no doubt.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from aiohttp.connector import SocketFactoryType


class PeerRefused(OSError):
    """The address may not be connected to. No packet was sent."""


def checked_peer(may_connect: Callable[[str], bool], open_socket: SocketFactoryType | None = None) -> SocketFactoryType:
    """
    Return a function that opens sockets for aiohttp, but only for addresses that *may_connect* accepts.

    For others the socket raises PeerRefused, which aiohttp turns into ClientConnectorError. *open_socket* opens the
    socket (None: as usual).
    """

    def opened(addr_info: Any) -> socket.socket:
        family, kind, protocol, _, peer = addr_info
        if not may_connect(str(peer[0])):
            raise PeerRefused(errno.EACCES, "the address is not one that was checked")
        return open_socket(addr_info) if open_socket else socket.socket(family, kind, protocol)

    return opened
