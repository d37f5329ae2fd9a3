"""Make text from outside harmless: write as escapes what would break a line or control a terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NO_PRINTABLE_ASCII = re.compile(r"[^ -~]")

#: How many names a log line lists, and how many characters of each.
_MOST_NAMES, _NAME_CHARS = 30, 60


def one_line(text: str) -> str:
    """
    Return *text* as printable ASCII on one line, for logs and headers.

    Every other character is written as an escape (`\\n`, `\\x1b`, `\\u2028`), lone surrogates included.
    """
    return _NO_PRINTABLE_ASCII.sub(lambda match: _escape(match[0]), text)


def on_its_lines(text: str) -> str:
    """
    Return *text* for people: its lines and the letters of all languages stay, as in a terminal.

    Control characters, lone surrogates and marks that turn the direction of text are written as escapes.
    """
    return "".join(char if char.isprintable() or char == "\n" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def listed(names: Iterable[str]) -> str:
    """
    Return *names* in their order for a log line: the first thirty, each cut to a length, and a count of the others.
    """
    known = list(names)
    shown = ", ".join(name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}..." for name in known[:_MOST_NAMES])
    return f"{shown} and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else shown
