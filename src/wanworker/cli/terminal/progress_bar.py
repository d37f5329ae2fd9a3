"""A progress bar of one line, or plain lines where the output is no terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from wanworker.text.printable import one_line

_CELLS = 30

#: Without a terminal, a line for each stage and for each so many points of percentage.
_LINE_EVERY = 10


def bar_text(shown: Mapping[str, Any], elapsed_s: float) -> str:
    """Return `[####......]  40 %  sampling 6/15  12 s, about 18 s left` for progress in its JSON form. Pure."""
    percent = float(shown.get("progress") or 0)
    filled = min(_CELLS, int(percent / 100 * _CELLS))
    text = f"[{'#' * filled}{'.' * (_CELLS - filled)}] {percent:3.0f} %  {shown.get('stage') or 'starting'}"
    if shown.get("step") is not None and shown.get("steps"):
        text += f" {shown['step']}/{shown['steps']}"
    text += f"  {elapsed_s:.0f} s"
    if shown.get("eta_s"):
        text += f", about {shown['eta_s']:.0f} s left"
    return one_line(text)


class Bar:
    """Draw progress on *stream*: one line over and over on a terminal, else a line now and then."""

    def __init__(self, stream: TextIO, *, width: int) -> None:
        self._stream = stream
        self._width = width
        self._on_terminal = stream.isatty()
        self._percent = 0.0
        self._line_of: tuple[str, int] | None = None

    @classmethod
    def on_stderr(cls) -> Bar:
        """Return a bar as wide as the terminal."""
        return cls(sys.stderr, width=shutil.get_terminal_size().columns)

    def draw(self, shown: Mapping[str, Any], elapsed_s: float) -> None:
        """Show where the job is; the percentage never falls."""
        self._percent = max(self._percent, float(shown.get("progress") or 0))
        shown = {**shown, "progress": self._percent}
        text = bar_text(shown, elapsed_s)
        if self._on_terminal:
            self._write(f"\r{text[: self._width - 1]:<{self._width - 1}}")
            return
        line_of = (str(shown.get("stage") or ""), int(self._percent) // _LINE_EVERY)
        if line_of != self._line_of:
            self._line_of = line_of
            self._write(f"{text}\n")

    def close(self) -> None:
        """Leave the terminal's line to what comes next."""
        if self._on_terminal:
            self._write(f"\r{'':<{self._width - 1}}\r")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
