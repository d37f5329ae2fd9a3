"""
Give the memory of request bodies back to the system.

glibc keeps freed memory for itself: blocks of up to 32 MiB once one of that size was freed, and whatever lies below a
small object that still lives. 500 bodies of 450 kB left 268 MB behind, with no body alive. Only malloc_trim returns
what lies between. It looks at the whole heap, for 1 to 10 ms, so it is called once for many bodies.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

#: mallopt's name for the number of heaps (malloc.h).
_M_ARENA_MAX = -8
#: Less is not worth a look at the heap. It is the most that bodies leave behind.
_WORTH_BYTES = 8 * 1024**2
#: The last references to a body end a moment after its request.
_PAUSE_S = 1.0


def trim_of_libc() -> Callable[[], object] | None:
    """
    Return what gives freed memory back, or None where that needs nothing (musl, macOS, Windows).

    From now on, all new threads share the main heap. malloc_trim leaves the ends of other heaps alone, which have up to
    64 MiB each. Python's lock lets threads allocate in turns anyway.
    """
    try:
        libc = ctypes.CDLL(None)
        trim, set_option = libc.malloc_trim, libc.mallopt
    except (AttributeError, OSError, TypeError):
        return None
    set_option(_M_ARENA_MAX, 1)
    return lambda: trim(0)


class FreedMemory:
    """
    Call *trim* in a thread, *pause_s* seconds after bodies of 8 MiB or more together were freed.

    Bodies that are freed meanwhile count for the next time, so it is called at most once in *pause_s* seconds.
    """

    def __init__(self, trim: Callable[[], object] | None, *, pause_s: float = _PAUSE_S) -> None:
        self._trim = trim
        self._pause_s = pause_s
        self._size_bytes = 0
        self._waiting: asyncio.TimerHandle | None = None

    def add(self, size_bytes: int) -> None:
        """Note that *size_bytes* were freed, or will be in a moment. Must be called on the event loop."""
        self._size_bytes += size_bytes
        if self._trim is not None and self._waiting is None and self._size_bytes >= _WORTH_BYTES:
            self._waiting = asyncio.get_running_loop().call_later(self._pause_s, self._give_back, self._trim)

    def _give_back(self, trim: Callable[[], object]) -> None:
        self._waiting, self._size_bytes = None, 0
        asyncio.get_running_loop().run_in_executor(None, trim)
