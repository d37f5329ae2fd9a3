"""Show where a job is: a bar that rich redraws, or plain lines where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from wanworker.cli.terminal.signals import holding_signals
from wanworker.text.printable import on_its_lines

if TYPE_CHECKING:
    from wanworker.cli.terminal._rich_bar import RichBar
    from wanworker.progress import Progress

#: Without a terminal, a line is written for each stage and whenever the percentage has risen by this much.
_LINE_EVERY = 10


def progress_text(shown: Mapping[str, Any], elapsed_s: float | None) -> str:
    """Return ` 40 %  sampling 6/15  12 s, about 18 s left` for progress in its JSON form. None: unknown. Pure."""
    stage = " ".join(on_its_lines(str(shown.get("stage") or "starting")).split())  # it may come from a server
    detail = " ".join(on_its_lines(str(shown.get("detail") or "")).split())
    text = f"{float(shown.get('progress') or 0):3.0f} %  {stage} {detail}".rstrip()
    if shown.get("step") is not None and shown.get("steps"):
        text += f" {shown['step']}/{shown['steps']}"
    if elapsed_s is not None:
        text += f"  {elapsed_s:.0f} s"
    if shown.get("eta_s"):
        text += f", about {shown['eta_s']:.0f} s left"
    return text


class LiveProgress:
    """Show progress on *stream* while the context is open. The percentage never falls."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._bar: RichBar | None = None
        self._is_on = False
        self._percent = 0.0
        self._line_of: tuple[str, int] | None = None

    def __enter__(self) -> LiveProgress:
        self._started = self._clock()
        self._is_on = True
        if self._stream.isatty():
            from wanworker.cli.terminal._rich_bar import bar_on

            self._bar = bar_on(self._stream, progress_text)
        try:
            if self._bar is not None:
                with holding_signals():
                    self._bar.start()
            self.show({})
        except BaseException:  # a signal came while the bar started; show the cursor again
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Show nothing more, and leave the terminal's line free."""
        self._is_on = False
        if self._bar is not None:
            with holding_signals():
                self._bar.stop()

    def report(self, progress: Progress) -> None:
        """Take a render's progress."""
        self.show(progress.to_json())

    def show(self, shown: Mapping[str, Any]) -> None:
        """Take progress in its JSON form."""
        if not self._is_on:
            return
        self._percent = max(self._percent, float(shown.get("progress") or 0))
        shown = {**shown, "progress": self._percent}
        if self._bar is not None:
            self._bar.show(shown)
            return
        line_of = (str(shown.get("stage") or ""), int(self._percent) // _LINE_EVERY)
        if line_of != self._line_of:
            self._line_of = line_of
            print(progress_text(shown, self._clock() - self._started), file=self._stream, flush=True)
