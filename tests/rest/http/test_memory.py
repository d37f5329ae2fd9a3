"""When the memory of bodies is given back to the system."""

import asyncio
import threading

from wanworker.rest.http._memory import FreedMemory

MIB = 1024**2


class Trim:
    """Count the calls; each lets `called` go."""

    def __init__(self):
        self.threads = []
        self.loop = asyncio.get_running_loop()
        self.called = asyncio.Event()

    def __call__(self):
        self.threads.append(threading.current_thread())
        self.loop.call_soon_threadsafe(self.called.set)

    async def once(self):
        async with asyncio.timeout(20):
            await self.called.wait()
        self.called.clear()


async def test_many_bodies_are_given_back_at_once_and_later_ones_again():
    trim = Trim()
    freed = FreedMemory(trim, pause_s=0)
    for _ in range(9):
        freed.add(MIB)
    await trim.once()
    first = len(trim.threads)
    freed.add(9 * MIB)
    await trim.once()

    assert (1, 2) == (first, len(trim.threads))
    assert threading.main_thread() not in trim.threads


async def test_little_is_kept_until_it_is_much():
    trim = Trim()
    freed = FreedMemory(trim, pause_s=0)
    for _ in range(7):
        freed.add(MIB)
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert [] == trim.threads
    freed.add(MIB)
    await trim.once()
    assert 1 == len(trim.threads)


async def test_where_malloc_gives_back_by_itself_nothing_is_called():
    FreedMemory(None, pause_s=0).add(100 * MIB)
