"""Run coroutines for a caller who is not async, in an event loop of a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_END: Final = object()


class LoopThread:
    """
    Hold the thread, which starts with the first call.

    A thread is used so that the client also works where a loop runs already, as in a notebook.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(
        self, work: Callable[[Callable[[Any], None]], Coroutine[Any, Any, T]], on_said: Callable[[Any], object] | None
    ) -> T:
        """
        Run what *work* returns and return its result. What it says comes to *on_said*, in the caller's thread.

        If the caller is interrupted (Ctrl-C), or *on_said* raises, the coroutine is cancelled and waited for.
        """
        loop = self._started()
        said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        begun: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = loop.create_task(work(said.put))
            begun.append(task)
            task.add_done_callback(lambda _task: said.put(_END))

        loop.call_soon_threadsafe(begin)
        try:
            while (item := said.get()) is not _END:
                if on_said is not None:
                    on_said(item)
        except BaseException:
            loop.call_soon_threadsafe(lambda: begun[0].cancel())
            while said.get() is not _END:
                pass
            if not begun[0].cancelled():
                begun[0].exception()  # it is fetched, or asyncio would report it as never retrieved
            raise
        return begun[0].result()

    def stop(self) -> None:
        """End the thread. A later call starts a new one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    @property
    def is_running(self) -> bool:
        """Say whether the thread was started."""
        return self._loop is not None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="wanworker-client", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
