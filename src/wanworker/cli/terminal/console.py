"""Print results on stdout and errors on stderr, without control characters."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Longer lines are hard to read; in a pipe or a file nothing is folded, so that programs find whole lines.
_WIDEST, _UNFOLDED = 140, 100_000


def say(label: str, text: str) -> None:
    """Print a line of a result."""
    print(f"{label:<15}{_indented(text, 15)}")


def complain(label: str, text: str) -> None:
    """Print a line of a failure on stderr."""
    print(f"{label:<8}{_indented(text, 8)}", file=sys.stderr)


def width_of_stdout() -> int:
    """Return how many characters a line of a table may have."""
    return min(_WIDEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _UNFOLDED


def show(table: RenderableType) -> None:
    """Print what rich lays out, folded to the terminal's width, on stdout. Text in it is taken as it is."""
    from rich.console import Console

    console = Console(width=width_of_stdout(), markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))  # rich fills lines up with spaces


def say_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2))


def video_facts(width: int | None, height: int | None, frames: int | None, fps: float | None) -> str:
    """Return `1280x704, 121 frames, 24 fps`. Pure."""
    return f"{width}x{height}, {frames} frames, {fps or 0:g} fps"


def _indented(text: str, width: int) -> str:
    """Keep every line of *text* below its first: none of them can pass for a line of ours."""
    return plain(text).replace("\n", f"\n{'':<{width}}")


def plain(text: str) -> str:
    """Return *text* without control characters, lines apart: it may come from a server. Pure."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
