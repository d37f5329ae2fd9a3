"""
Check the address that a socket is about to be connected to.

An HTTP library asks no resolver where it takes a host for an address itself, and libraries differ in what they take
for one (`2130706433`, `127.1`). The socket's own address leaves nothing to differ about.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from aiohttp.connector import SocketFactoryType


class PeerRefused(OSError):
    """The address is none that may be connected to; no packet was sent."""


def checked_peer(may_connect: Callable[[str], bool], open_socket: SocketFactoryType | None = None) -> SocketFactoryType:
    """
    Return what opens sockets for aiohttp, and only for addresses of which *may_connect* says yes.

    The socket raises PeerRefused otherwise; aiohttp turns that into ClientConnectorError. *open_socket* opens it (None:
    as usual).
    """

    def opened(addr_info: Any) -> socket.socket:
        family, kind, protocol, _, peer = addr_info
        if not may_connect(str(peer[0])):
            raise PeerRefused(errno.EACCES, "the address is not one that was checked")
        return open_socket(addr_info) if open_socket else socket.socket(family, kind, protocol)

    return opened
