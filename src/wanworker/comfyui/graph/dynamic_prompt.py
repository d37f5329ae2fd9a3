"""
Read a text as the browser does before it sends it: without comments, and with one choice of each `{red|blue}`. Pure.

The class says which of its texts are read so (`dynamicPrompts`). The time is in proportion to the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_COMMENT = re.compile(r"/[/*]")
_LINE = re.compile(r"[^\n\r\u2028\u2029]*")

#: One character, or one with a backslash that takes its meaning.
_SIGN = re.compile(r"\\([{|}])|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Hold a text as it is sent. `choices` is a group that left a choice, as written, or None."""

    text: str
    choices: str | None = None


@dataclass(slots=True)
class _Group:
    """Hold a group in braces: where it begins in the text, and where each option begins among the signs to send."""

    start: int
    options: list[int]


def sent_prompt(text: str) -> Prompt:
    """
    Return *text* as the browser sends it, but with the first of several choices.

    The browser picks one at random. A job that is sent again has to give the same graph.
    """
    bare = "".join(_between_comments(text))
    sent: list[str] = []
    choices: slice | None = None
    # Open groups are a list and no recursion, because a caller may open as many as a text is long.
    groups: list[_Group] = []
    for found in _SIGN.finditer(bare):
        if found[0] == "{":
            groups.append(_Group(found.start(), [len(sent)]))
        elif found[0] == "|" and groups:
            groups[-1].options.append(len(sent))
        elif found[0] == "}" and groups:
            choices = _closed(groups.pop(), sent, found.end()) or choices
        else:
            sent.append(found[1] or found[0])
    while groups:
        choices = _closed(groups.pop(), sent, len(bare)) or choices
    return Prompt("".join(sent), bare[choices] if choices else None)


def _between_comments(text: str) -> Iterator[str]:
    """Yield the parts of *text* that are no comment. A comment that nothing closes is text."""
    kept, at, may_close = 0, 0, True
    while found := _COMMENT.search(text, at):
        begin, end = found.span()
        if found[0] == "//":
            end = _LINE.match(text, end).end()  # type: ignore[union-attr]  # it matches nothing too
        else:
            closing = text.find("*/", end) if may_close else -1
            may_close = closing >= 0
            # Behind an open comment that is text, `*/` of the same signs is none, but `//` may be one.
            end = closing + 2 if may_close else begin + 1
        if end > begin + 1:
            yield text[kept:begin]
            kept = end
        at = end
    yield text[kept:]


def _closed(group: _Group, sent: list[str], end: int) -> slice | None:
    """Leave only the first option of *group* in *sent*. Return its place in the text if it left a choice."""
    spans = list(zip(group.options, [*group.options[1:], len(sent)], strict=True))
    first, stop = spans[0]
    # The lengths come first: so only what is about to be dropped is ever compared, and no sign twice.
    left = any(to - begin != stop - first or sent[begin:to] != sent[first:stop] for begin, to in spans[1:])
    del sent[stop:]
    return slice(group.start, end) if left else None
