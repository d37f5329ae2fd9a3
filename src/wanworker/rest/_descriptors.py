"""Let the process have enough files open for its connections."""

from __future__ import annotations

import resource

#: A thousand connections, and what records, videos and children need. More would never be used.
_WANTED = 4096


def raise_file_limit(wanted: int = _WANTED) -> int:
    """Raise how many files this process may have open towards *wanted*, as far as the system lets it; return that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    except (OSError, ValueError):
        return soft
    return best
