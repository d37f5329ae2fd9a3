"""Finish the start and the end of programs, even if the task is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def started(starting: Coroutine[Any, Any, T], end: Callable[[T], Coroutine[Any, Any, None]]) -> T:
    """
    Return the result of *starting*. If this task is cancelled meanwhile, *end* has ended it before this raises.

    If uvloop were cancelled in the middle of a start, the program would keep running without anybody knowing.
    """
    task = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await to_the_end(_ended(task, end))
        raise


async def _ended(task: asyncio.Future[T], end: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    try:
        what = await task
    except (OSError, ValueError):
        return  # it never started
    await end(what)


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish *work* even if this task is cancelled meanwhile. Then raise CancelledError."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and not task.cancelled():
        task.result()
        raise cancelled
    task.result()
