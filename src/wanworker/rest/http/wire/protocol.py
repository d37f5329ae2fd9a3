"""Speak HTTP/1.1 within limits. uvicorn's httptools protocol does not limit heads, pipelining or stalled clients."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

import httptools

from wanworker.errors import WorkerError
from wanworker.rest.http.connection import WatchedProtocol
from wanworker.rest.http.errors import BrokenRequest, Busy, HeadTooLarge, Slow
from wanworker.rest.http.limits import Limits
from wanworker.rest.http.wire._answers import as_bytes, closing
from wanworker.rest.http.wire._connections import OpenConnections
from wanworker.rest.http.wire._timers import Timers
from wanworker.rest.http.wire._transport import OwnedTransport

#: How much is parsed at a time. A limit can be exceeded by this much.
_PIECE_BYTES = 16 * 1024

#: What a load balancer asks. It is answered however many connections there are.
_PROBES = frozenset({b"/ping", b"/ready"})

#: No route reads the body of a request with these methods, so it is not kept.
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class _NoMore(Exception):
    """Stop the parser. The rest of this connection is not read."""


def protocol_of(limits: Limits) -> type[LimitedProtocol]:
    """Return the protocol class of one server, whose connections are counted together."""
    return cast("type[LimitedProtocol]", type("ServersProtocol", (LimitedProtocol,), {
        "limits": limits, "open_connections": OpenConnections(limits),
    }))  # fmt: skip


class LimitedProtocol(WatchedProtocol):
    """
    Refuse what is too much with an answer of the usual form, then close the connection so that the client can read it.

    A request's head is limited in size, in its number of headers and in time. A body that arrives after its answer is
    discarded for a moment. A client that does not read is cut off. Bodies that a route reads are limited by
    body_limits.py.
    """

    limits: Limits
    open_connections: OpenConnections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = closing(self.app, lambda scope: scope is self.scope and not self._in_head)
        self._owned: OwnedTransport = cast("OwnedTransport", None)
        self._received: deque[memoryview] = deque()
        self._in_head = True
        self._has_begun = False
        self._head_bytes = 0
        self._field_bytes = 0
        self._unread_bytes = 0
        self._is_deaf = False
        self._is_stopping = False
        self._is_extra = False
        self._refusal: WorkerError | None = None
        self._timers = Timers(self.loop)

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection, unless there is no place for it."""
        self._owned = OwnedTransport(cast("asyncio.Transport", transport), self)
        super().connection_made(cast("asyncio.Transport", self._owned))
        if not self.open_connections.join(self):
            self._owned.real.abort()
            return
        self._is_extra = self.open_connections.is_full
        self._timers.start("head", self.limits.head_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._is_deaf = True
        self._received.clear()
        self.open_connections.leave(self)
        self._timers.stop()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes in small pieces, unless other requests wait before them."""
        self._unset_keepalive_if_required()
        if self._is_deaf:
            self._throw_away(len(data))
            return
        self._received.append(memoryview(data))
        self._parse()

    def pause_writing(self) -> None:
        """Start the time in which the client has to read."""
        super().pause_writing()
        self._timers.start("send", self.limits.send_s, self._cut_off)

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        self._timers.stop("send")

    def shutdown(self) -> None:
        """End an idle connection or an incomplete request. A request that is being answered goes on."""
        self._is_stopping = True
        if self._owned.is_hung_up:
            self._owned.real.close()
        elif not self._in_head and not self.cycle.response_started:
            self._refuse(Busy("The server is stopping."))
        super().shutdown()

    # Called by the parser

    def on_message_begin(self) -> None:
        """Begin to count the size of a head."""
        self._has_begun = True
        self._field_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the address."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header. Headers that follow a body are dropped."""
        self._count_head(len(name) + len(value) + 4)
        if not self._in_head:
            return
        if len(self.headers) >= self.limits.headers:
            self._fail(HeadTooLarge(f"The request has more than {self.limits.headers} headers."))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request on, unless there are too many."""
        self._timers.stop("head")
        is_probe = self.url.partition(b"?")[0] in _PROBES
        if self._is_extra and self.open_connections.is_full and not is_probe:
            self._fail(Busy("The server has too many connections."))
        if len(self.pipeline) >= self.limits.pipelined:
            self._fail(Busy("Too many requests wait on this connection."))
        super().on_headers_complete()
        self.open_connections.works(self)
        self._in_head, self._has_begun = False, False
        self._head_bytes = self._unread_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Keep the part of a body that a route may read."""
        self._head_bytes = 0
        if self.cycle.response_complete or self.scope["method"] in _BODILESS:
            self._throw_away(len(body))
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin to wait for the next head."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    # Called by uvicorn

    def on_response_complete(self) -> None:
        """Parse what has arrived meanwhile."""
        super().on_response_complete()
        if self.cycle.response_complete and not self._owned.is_closing():
            self.open_connections.waits(self)
            self._time_head()
        self.loop.call_soon(self._parse)

    # Called by the transport and OpenConnections

    def reading_resumed(self) -> None:
        """Parse what was held, after the caller has returned."""
        if self._received:
            self.loop.call_soon(self._parse)

    def hang_up(self) -> None:
        """
        Close the connection after discarding the rest of the request.

        A close with unread bytes sends a reset, which can reach the client before the answer.
        """
        transport = self._owned
        transport.is_hung_up = True
        self._is_deaf = True
        is_whole = self._in_head and not (self._refusal or self._received or self._has_begun)
        self._received.clear()
        self.open_connections.waits(self)
        if is_whole or self._is_stopping or not transport.real.can_write_eof():
            transport.real.close()
            self._timers.start("send", self.limits.send_s, self._cut_off)
            return
        transport.real.write_eof()
        transport.is_paused = False
        transport.hold(False)
        self._timers.start("linger", self.limits.linger_s, self._cut_off)

    def evict(self) -> None:
        """Close the connection at once to make room for another, even if the client has not read everything."""
        if (self._has_begun or self._head_bytes) and not self._owned.is_closing():
            self._refuse(Busy("The server needs this connection for others: the request took too long."))
        if self._owned.get_write_buffer_size():
            self._cut_off()
        else:
            self._owned.is_hung_up = self._is_deaf = True
            self._timers.stop("linger")
            self._owned.real.close()

    # Internal steps

    def _parse(self) -> None:
        while self._received and not (self._is_deaf or self._owned.is_paused or self.pipeline):
            data = self._received.popleft()
            if len(data) > _PIECE_BYTES:
                self._received.appendleft(data[_PIECE_BYTES:])
            self._parse_piece(data[:_PIECE_BYTES])
        if not self._is_deaf:
            self._owned.hold(bool(self._received))
            self._time_head()

    def _parse_piece(self, piece: memoryview) -> None:
        self._head_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # This server speaks no other protocol. The request is answered, but what follows it is not HTTP.
            self._end_after_answer()
            return
        except httptools.HttpParserError:
            self._refuse(self._refusal or BrokenRequest("This is not an HTTP request."))
            return
        if self._head_bytes > self.limits.head_bytes:
            self._refuse(self._too_large())

    def _count_head(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > self.limits.head_bytes:
            self._fail(self._too_large())

    def _too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"The request's address and headers are larger than {self.limits.head_bytes:,} bytes.")

    def _fail(self, error: WorkerError) -> None:
        self._refusal = error
        raise _NoMore

    def _refuse(self, error: WorkerError) -> None:
        """Answer with *error* and hang up. If an earlier answer is under way, close the connection after it."""
        self._refusal = error
        if self._in_head and self.cycle is not None and not self.cycle.response_complete:
            self._end_after_answer()
        elif not self._in_head and self.pipeline:
            self._cut_off()  # an answer to this request is only sent after its body has arrived
        else:
            self._answer(error)

    def _answer(self, error: WorkerError) -> None:
        is_begun = False
        if not self._in_head:
            is_begun = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not is_begun and not self._owned.is_closing():
            self._owned.write(as_bytes(error))
        self._owned.close()

    def _end_after_answer(self) -> None:
        self._is_deaf = True
        self._received.clear()
        self.cycle.keep_alive = False

    def _throw_away(self, size: int) -> None:
        self._unread_bytes += size
        if self._unread_bytes > self.limits.body_bytes:
            self._cut_off()

    def _cut_off(self) -> None:
        self._left_unread = True
        self._owned.is_hung_up = True
        self._owned.real.abort()

    def _time_head(self) -> None:
        if self._in_head and (self._has_begun or self._head_bytes) and "head" not in self._timers:
            self._timers.start("head", self.limits.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._has_begun or self._head_bytes:
            self._refuse(Slow(f"The request's head did not come within {self.limits.head_s:g} s."))
        elif not self._is_deaf:
            self._owned.close()
