"""Print results on stdout and errors on stderr, without control characters."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from wanworker.text.printable import on_its_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Longer lines are hard to read. In a pipe or a file, lines are not folded, so that programs find whole ones.
_WIDEST, _UNFOLDED = 140, 100_000


def say(label: str, text: str, *, out: TextIO | None = None) -> None:
    """Print a line of a result, on stdout if no other stream is given."""
    print(f"{label:<15}{_indented(text, 15)}", file=out)


def complain(label: str, text: str) -> None:
    """Print a line of a failure on stderr."""
    print(f"{label:<8}{_indented(text, 8)}", file=sys.stderr)


def width_of_stdout() -> int:
    """Return how many characters a line of a table may have."""
    return min(_WIDEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _UNFOLDED


def show(table: RenderableType) -> None:
    """Print a rich table on stdout, folded to the terminal's width. Its text is not read as markup."""
    from rich.console import Console

    # Without a height, rich takes a terminal without abilities (TERM=dumb) for one of 80 columns, whatever its width.
    console = Console(width=width_of_stdout(), height=25, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))  # rich pads lines with spaces


def say_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2))


def without_data(value: Any, *, keep_thumbnails: bool = False) -> Any:
    """Return *value* without the files in it, which are saved elsewhere. Pure."""
    if isinstance(value, Mapping):
        left_out = {"data"} if keep_thumbnails else {"data", "thumbnail"}
        kept = {key: item for key, item in value.items() if key not in left_out}
        return {key: without_data(item, keep_thumbnails=keep_thumbnails) for key, item in kept.items()}
    if isinstance(value, list):
        return [without_data(item, keep_thumbnails=keep_thumbnails) for item in value]
    return value


def video_facts(width: int | None, height: int | None, frames: int | None, fps: float | None) -> str:
    """Return `1280x704, 121 frames, 24 fps`. Pure."""
    return f"{width}x{height}, {frames} frames, {fps or 0:g} fps"


def _indented(text: str, width: int) -> str:
    """Indent every line of *text* below its first, so that none can be taken for a line of ours."""
    return on_its_lines(text).replace("\n", f"\n{'':<{width}}")
