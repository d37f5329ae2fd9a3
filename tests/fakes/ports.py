"""
Ports of loopback for servers that a test starts later, starts again, or never.

A port that was looked up and let go again may be another program's a moment later: of the tests beside, say. So each
port is held, bound without listening. Who connects is refused, the system gives it to nobody else, and a server that
sets SO_REUSEADDR, as all of ours do, can listen there all the same.
"""

from __future__ import annotations

import atexit
import socket

_HELD: dict[int, socket.socket] = {}


def held_port() -> int:
    """Return a free port, held until it is released or this process ends."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    port = int(bound.getsockname()[1])
    _HELD[port] = bound
    return port


def release(port: int) -> None:
    """Hold *port* no longer; nothing happens if it was not held."""
    if bound := _HELD.pop(port, None):
        bound.close()


@atexit.register
def _release_all() -> None:
    for port in list(_HELD):
        release(port)
