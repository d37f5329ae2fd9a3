"""
Read a text as the browser does before it sends it: without comments, and with one choice of each `{red|blue}`. Pure.

The class says which of its texts are read so (`dynamicPrompts`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n\r\u2028\u2029]*", re.DOTALL)

#: One character, or one with a backslash that takes its meaning.
_SIGN = re.compile(r"\\([{|}])|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Hold a text as it is sent. `choices` is a group that left a choice, as written, or None."""

    text: str
    choices: str | None = None


@dataclass(slots=True)
class _Group:
    """Hold a group in braces that begins at `start`, or the whole text. An option is a list of its parts."""

    start: int
    options: list[list[str]] = field(default_factory=lambda: [[]])


def sent_prompt(text: str) -> Prompt:
    """
    Return *text* as the browser sends it, but with the first of several choices.

    The browser picks one at random. A job that is sent again has to give the same graph.
    """
    bare = _COMMENT.sub("", text)
    groups, choices = [_Group(0)], None
    # Open groups are a list and no recursion, because a caller may open as many as a text is long.
    for found in _SIGN.finditer(bare):
        is_inside = len(groups) > 1
        if found[0] == "{":
            groups.append(_Group(found.start()))
        elif found[0] == "|" and is_inside:
            groups[-1].options.append([])
        elif found[0] == "}" and is_inside:
            choices = _closed(groups, bare, found.end()) or choices
        else:
            groups[-1].options[-1].append(found[1] or found[0])
    while len(groups) > 1:
        choices = _closed(groups, bare, len(bare)) or choices
    return Prompt("".join(groups[0].options[0]), choices)


def _closed(groups: list[_Group], text: str, end: int) -> str | None:
    """Put the first option of the last group into the one around it. Return the group if it left a choice."""
    group = groups.pop()
    options = ["".join(option) for option in group.options]
    groups[-1].options[-1].append(options[0])
    return text[group.start : end] if len(set(options)) > 1 else None
