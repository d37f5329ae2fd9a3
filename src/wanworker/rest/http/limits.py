"""Limit what a server gives to its clients: bytes, seconds and connections."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Open files that are kept for the process itself: records, videos, pipes to children, the log.
_OWN_FILES = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """
    The bounds of one server. They are per server and never per address: behind a proxy all clients have one.

    connections: all that are open. When they are used up, a newcomer takes the place of whoever has waited longest
    without a whole request; if all are busy, it may ask for /ping and /ready alone, in one of the spare ones.
    head_bytes, headers: 32 KiB and 100, as most servers have it; browsers and proxies stay far below.
    head_s: from the connection, or from the first byte after a pause, until the head is whole.
    body_bytes: a picture of 32 MB (media/inputs/reader.py) as base64, and the other fields.
    body_s, body_rate: a body may take body_s and one second more for each body_rate bytes that came (10 kB/s).
    bodies_bytes: of all bodies together that are received, or belong to a job of /v2/{endpoint}/run that has not ended.
    send_s: how long a client may read nothing (less than 48 KiB) of an answer that is ready.
    linger_s: how long the rest of a refused body is thrown away, so that its sender can read the refusal.
    pipelined: requests that wait behind one that is being answered.
    streams: streams of events that are open.
    """

    connections: int = 1000
    spare_connections: int = 50
    head_bytes: int = 32 * 1024
    headers: int = 100
    head_s: float = 10.0
    body_bytes: int = 44_000_000
    body_s: float = 30.0
    body_rate: int = 10_000
    bodies_bytes: int = 256 * 1024**2
    send_s: float = 120.0
    linger_s: float = 3.0
    pipelined: int = 8
    streams: int = 200

    def within(self, files: int) -> Limits:
        """Return these limits with no more connections than a process can have that may have *files* open."""
        room = max(16, files - _OWN_FILES - self.spare_connections)
        return replace(self, connections=min(self.connections, room))


LIMITS = Limits()
