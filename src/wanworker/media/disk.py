"""Run blocking file work in a thread: report a full disk, and leave no partial file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from wanworker.errors import DiskFull

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Run *work* in a thread; cancelled, wait for its end before letting CancelledError through.

    A thread cannot be stopped. Whoever cancels removes the job's folder next, and nothing may write into it then.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # Fetched, or asyncio reports it as never retrieved.
        raise


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Enclose the writing of *path*: it is gone unless the block ends well. Raises DiskFull when space runs out."""
    try:
        yield path
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(f"No space left for {path.name} in {path.parent}.") from error
        raise
