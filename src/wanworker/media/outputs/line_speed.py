"""Say how long sending may take on a slow line. Pure."""

from __future__ import annotations

_SLOWEST_BYTES_PER_S = 500_000

#: How long an upload may take beside the time that its bytes need on a slow line, in seconds.
PATIENCE_S = 60.0


def seconds_for(size_bytes: int, patience_s: float = PATIENCE_S) -> float:
    """Return how long sending *size_bytes* may take."""
    return patience_s + size_bytes / _SLOWEST_BYTES_PER_S
