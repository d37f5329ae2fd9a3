"""Run blocking file work in threads that are waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Run *work* in a thread. If this is cancelled, wait for the end of *work* before raising CancelledError.

    A thread cannot be stopped. The caller who cancels next removes the job's folder, and nothing may write into it
    then.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # The exception is fetched, or asyncio would report it as never retrieved.
        raise


@contextlib.asynccontextmanager
async def entered(block: contextlib.AbstractContextManager[T]) -> AsyncIterator[T]:
    """
    Enter *block*, and leave it, in a thread. A block that was entered is left, whatever is cancelled meanwhile.

    It must not swallow errors.
    """
    made: list[T] = []
    try:
        await in_thread(lambda: made.append(block.__enter__()))
        yield made[0]
    except BaseException as error:
        if made:
            await in_thread(block.__exit__, type(error), error, error.__traceback__)
        raise
    await in_thread(block.__exit__, None, None, None)
