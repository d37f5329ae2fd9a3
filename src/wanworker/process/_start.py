"""Start programs and finish their ends whole, whoever cancels meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def started(starting: Coroutine[Any, Any, T], end: Callable[[T], Coroutine[Any, Any, None]]) -> T:
    """
    Return what *starting* starts; when this task is cancelled meanwhile, *end* has ended it first.

    Cancelled in the middle, uvloop would leave the program running, and nobody would know of it.
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
        return  # it never came up
    await end(what)


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish *work* even when this task is cancelled meanwhile; then let the cancellation through."""
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
