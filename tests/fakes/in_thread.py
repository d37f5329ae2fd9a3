"""A fake ComfyUI beside a test that cannot run an event loop itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from fakes.comfyui import FakeComfyUI


@contextlib.contextmanager
def in_thread(comfyui: FakeComfyUI) -> Iterator[None]:
    """Run the server in a loop of its own: Playwright's runs in this thread."""
    ready, done = threading.Event(), threading.Event()

    async def run() -> None:
        async with comfyui:
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join(30)
