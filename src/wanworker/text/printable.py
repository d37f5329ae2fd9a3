"""Write text from outside so that it stays where it is put: on its line, without codes for the terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

#: How many names a log line lists, and how many characters of each.
_MOST_NAMES, _NAME_CHARS = 30, 60


def one_line(text: str) -> str:
    """
    Return *text* as printable ASCII on one line.

    Control characters are written as escapes (`\\n`, `\\x1b`), and so is everything that is not ASCII (`\\u2028`),
    lone surrogates included. ASCII text without control characters is returned as it is.
    """
    shown = _CONTROL.sub(lambda match: _SHORT.get(match[0], f"\\x{ord(match[0]):02x}"), text)
    return shown.encode("ascii", "backslashreplace").decode("ascii")


def listed(names: Iterable[str]) -> str:
    """
    Return *names* in their order for a log line: the first thirty, each cut to a length, and a count of the others.
    """
    known = list(names)
    shown = ", ".join(name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}..." for name in known[:_MOST_NAMES])
    return f"{shown} and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else shown
