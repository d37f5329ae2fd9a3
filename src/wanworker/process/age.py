"""Measure the age of this process, which is how long its start took."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def _boot_time_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def age_s(stat: Path = Path("/proc/self/stat"), now: Callable[[], float] = _boot_time_s) -> float | None:
    """
    Return the seconds since this process was started, or None if the system does not say (not Linux).

    In proc(5), field 22 is the start in clock ticks after boot. The second field, in parentheses, may hold anything.
    """
    try:
        ticks = int(stat.read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, now() - ticks / os.sysconf("SC_CLK_TCK"))
