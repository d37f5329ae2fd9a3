"""Allow this process to have enough files open for its connections."""

from __future__ import annotations

import resource

#: Enough for a thousand connections, and for records, videos and children.
_WANTED = 4096


def raise_file_limit(wanted: int = _WANTED) -> int:
    """Raise the limit of open files towards *wanted*, as far as the system allows. Return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    except (OSError, ValueError):
        return soft
    return best
