"""Show a progress bar that is redrawn while a command waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from wanworker.cli.terminal.progress_bar import Bar
from wanworker.progress import Progress

_DRAW_S = 0.2


class LiveProgress:
    """Draw *bar* from entering to leaving."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._shown: Mapping[str, Any] = {}
        self._started = time.monotonic()
        self._drawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LiveProgress:
        self._drawing = asyncio.create_task(self._draw())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    async def end(self) -> None:
        """Draw no more, and leave the terminal's line to what comes next."""
        if self._drawing is None:
            return
        drawing, self._drawing = self._drawing, None
        drawing.cancel()
        self._bar.close()
        await asyncio.gather(drawing, return_exceptions=True)

    def report(self, progress: Progress) -> None:
        """Take a render's progress."""
        self.show(progress.to_json())

    def show(self, shown: Mapping[str, Any]) -> None:
        """Take progress in its JSON form."""
        self._shown = shown
        if self._drawing is not None:
            self._bar.draw(shown, time.monotonic() - self._started)

    async def _draw(self) -> None:
        while True:
            self._bar.draw(self._shown, time.monotonic() - self._started)
            await asyncio.sleep(_DRAW_S)
