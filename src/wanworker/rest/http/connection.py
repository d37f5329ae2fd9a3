"""
Find out whether the client received a whole response before it left.

For a server, a transfer is over when the kernel has taken the last byte, and a short video fits into the kernel's
buffers as a whole. So how the client leaves has to tell whether it got everything. A socket that is closed with unread
data sends a reset, and one whose data is still on the way has unacknowledged bytes.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import termios
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: The key of the connection in a request's state.
STATE_KEY = "connection"


class Connection:
    """Tell listeners how the connection ended: `True` if the client received everything."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[bool], None]] = []

    def on_end(self, listener: Callable[[bool], None]) -> None:
        """Call *listener* once, when the connection has ended."""
        self._listeners.append(listener)

    def ended(self, *, in_order: bool) -> None:
        """Call the listeners."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(in_order)


class WatchedProtocol(HttpToolsProtocol):
    """Extend uvicorn's protocol: put the Connection into the state of each request."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self._connection = Connection()
        self._left_unread = False
        super().__init__(config, server_state, {**app_state, STATE_KEY: self._connection}, *args, **kwargs)

    def eof_received(self) -> None:
        """Check, while the socket is still open, whether the client's side has acknowledged everything."""
        self._left_unread |= _unacknowledged_bytes(self.transport) > 0
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report how the connection ended. We may have ended it ourselves, after a silence."""
        self._left_unread |= _unacknowledged_bytes(self.transport) > 0
        super().connection_lost(exc)
        self._connection.ended(in_order=exc is None and not self._left_unread)


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return how many written bytes the client's side has not acknowledged yet; 0 where the system does not say."""
    buffered = transport.get_write_buffer_size()
    peer: socket.socket | None = transport.get_extra_info("socket")
    if peer is None:
        return buffered
    count = array.array("i", [0])
    try:
        fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, count)
    except OSError:
        return buffered
    return buffered + count[0]
