"""Print results on stdout and errors on stderr, without control characters."""

from __future__ import annotations

import json
import sys
from typing import Any


def say(label: str, text: str) -> None:
    """Print a line of a result."""
    print(f"{label:<15}{_indented(text, 15)}")


def complain(label: str, text: str) -> None:
    """Print a line of a failure on stderr."""
    print(f"{label:<8}{_indented(text, 8)}", file=sys.stderr)


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
