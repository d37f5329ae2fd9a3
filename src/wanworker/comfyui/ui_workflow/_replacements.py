"""
Replace `%date:...%` and `%Node.widget%` in a text, as the browser does before it sends a file name. Pure.

The server itself replaces only `%width%`, `%height%` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from wanworker.comfyui.ui_workflow._document import Document, Sheet, UiNode
from wanworker.comfyui.ui_workflow._own_values import WidgetReader

_PATTERN = re.compile(r"%([^%]+)%")
_DATE = "date:"

#: The parts of a date, and how the browser names them: hours, minutes and seconds in small letters.
_PARTS: dict[str, Callable[[datetime], int]] = {
    "d": lambda now: now.day,
    "M": lambda now: now.month,
    "h": lambda now: now.hour,
    "m": lambda now: now.minute,
    "s": lambda now: now.second,
}
_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyyy|yyy|yy")

#: Characters that no file name may have.
_UNSAFE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')

#: The property by which a node can be named.
_NAME = "Node name for S&R"


class Replacements:
    """Replace the patterns in texts of *document*. *now* is the local time of the run."""

    def __init__(self, document: Document, reader: WidgetReader, now: datetime) -> None:
        self._document = document
        self._reader = reader
        self._now = now
        self._nodes: Sequence[UiNode] | None = None

    def __call__(self, text: str) -> str:
        """Return *text* with every pattern replaced that names a date or a widget. Other patterns stay."""
        return _PATTERN.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        name, dot, widget = found[1].partition(".")
        if not dot or "." in widget:
            return _dated(name[len(_DATE) :], self._now) if name.startswith(_DATE) else found[0]
        node = self._named(name)
        values = self._reader.values_of(node).values if node else {}
        return _UNSAFE.sub("_", _as_text(values[widget])) if widget in values else found[0]

    def _named(self, name: str) -> UiNode | None:
        """Return the first node of that name, or else of that title. A node without a name has that of its class."""
        if self._nodes is None:
            self._nodes = tuple(_all_nodes(self._document.top, self._document))
        named = (node for node in self._nodes if node.properties.get(_NAME, self._default_name(node)) == name)
        titled = (node for node in self._nodes if self._reader.title_of(node) == name)
        return next(named, None) or next(titled, None)

    def _default_name(self, node: UiNode) -> str | None:
        its_class = self._reader.class_of(node)
        saves = its_class is not None and its_class.is_output and "filename_prefix" in its_class.inputs
        return None if saves else node.type


def _all_nodes(sheet: Sheet, document: Document) -> Iterator[UiNode]:
    """Yield every node, the inside of a subgraph before its instance. No subgraph contains itself (_document.py)."""
    for node in sheet.nodes.values():
        inner = document.subgraphs.get(node.type)
        if inner is not None:
            yield from _all_nodes(inner, document)
        yield node


def _dated(pattern: str, now: datetime) -> str:
    def part(found: re.Match[str]) -> str:
        text = found[0]
        if text[0] in _PARTS:
            return str(_PARTS[text[0]](now)).zfill(len(text))
        return {"yy": f"{now.year}"[2:], "yyyy": f"{now.year}"}.get(text, text)

    return _PART.sub(part, pattern)


def _as_text(value: Any) -> str:
    """Write a value as JavaScript does."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return ",".join(map(_as_text, value)) if isinstance(value, list | tuple) else str(value)
