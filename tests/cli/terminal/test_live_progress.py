from __future__ import annotations

import asyncio
import io

from wanworker.cli.terminal.live_progress import LiveProgress
from wanworker.cli.terminal.progress_bar import Bar
from wanworker.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_the_bar_shows_the_newest_progress_and_that_time_passes() -> None:
    terminal = Terminal()

    async with LiveProgress(Bar(terminal, width=80)) as live:
        live.report(Progress("sampling", 0.4, 6, 15))
        shown_at_once = terminal.getvalue()
        while terminal.getvalue() == shown_at_once:  # it draws by itself as well; pytest's timeout is the limit
            await asyncio.sleep(0)

    assert "40 %  sampling 6/15" in shown_at_once
    assert terminal.getvalue().count("sampling") > shown_at_once.count("sampling")
    assert terminal.getvalue().endswith(f"\r{'':<79}\r")


async def test_nothing_is_drawn_after_the_end() -> None:
    terminal = Terminal()

    async with LiveProgress(Bar(terminal, width=80)) as live:
        await live.end()
        cleared = terminal.getvalue()
        live.show({"stage": "late"})

    assert cleared == terminal.getvalue()
