"""
Replace `%date:...%` and `%Node.widget%` in a text, as the browser does before it sends a file name. Pure.

The server itself replaces only `%width%`, `%height%` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from wanworker.comfyui.ui_workflow._document import PRIMITIVE, Document, Sheet, UiNode
from wanworker.comfyui.ui_workflow._links import OwnValue, Value, primitive_linked_to, shown_by_instance
from wanworker.comfyui.ui_workflow._own_values import WidgetReader
from wanworker.comfyui.ui_workflow._subgraphs import CONTROL_WORDS, SubgraphPath, Unfolded
from wanworker.comfyui.ui_workflow._widgets import CONTROL_NAME, control_of

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

#: The names of the browser's own widgets: the value of a primitive, and the text of a note.
_PRIMITIVE_WIDGET, _NOTE_WIDGET = "value", "text"

#: The nodes of the browser alone that show something, and their titles.
_TITLES = {PRIMITIVE: "Primitive", "Note": "Note", "MarkdownNote": "Markdown Note"}

#: No name of a file is longer, so the rest of a value is not put in: patterns would multiply it.
_MOST_CHARS = 300


class Replacements:
    """Replace the patterns in texts of *document*. *now* is the local time of the run."""

    def __init__(self, document: Document, unfolded: Unfolded, reader: WidgetReader, now: datetime) -> None:
        self._document = document
        self._unfolded = unfolded
        self._reader = reader
        self._now = now

    def __call__(self, text: str) -> str:
        """Return *text* with every pattern replaced that names a date or a widget. Other patterns stay."""
        return _PATTERN.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        name, dot, widget = found[1].partition(".")
        if not dot or "." in widget:
            return _dated(name[len(_DATE) :], self._now) if name.startswith(_DATE) else found[0]
        # A node without a name has that of its class. A title counts where there is no such name.
        pair = self._by_name.get(name) or self._by_title.get(name)
        value = next(self._shown(*pair, widget), None) if pair else None
        return found[0] if value is None else _UNSAFE.sub("_", _as_text(value.value)[:_MOST_CHARS])

    @cached_property
    def _nodes(self) -> Sequence[tuple[Sheet, UiNode]]:
        """Hold every node once, the inside of a subgraph before its first instance."""
        return tuple(_all_nodes(self._document.top, self._document, set()))

    @cached_property
    def _by_name(self) -> Mapping[str, tuple[Sheet, UiNode]]:
        """Hold the first node of each name."""
        named = [(pair[1].properties.get(_NAME, self._default_name(pair[1])), pair) for pair in self._nodes]
        return {name: pair for name, pair in reversed(named) if isinstance(name, str)}

    @cached_property
    def _by_title(self) -> Mapping[str, tuple[Sheet, UiNode]]:
        """Hold the first node of each title. A subgraph's instance has that of the subgraph."""
        return {self._title_of(pair[1]): pair for pair in reversed(self._nodes)}

    @cached_property
    def _places(self) -> Mapping[int, Sequence[SubgraphPath]]:
        """Hold the places of each instance, by its identity: one definition's node may be in several places."""
        found: dict[int, list[SubgraphPath]] = {}
        for outer in self._unfolded.places.values():
            for node in outer.sheet.nodes.values():
                place = self._unfolded.inside(outer, node)
                if place is not None:
                    found.setdefault(id(node), []).append(place)
        return found

    def _shown(self, sheet: Sheet, node: UiNode, widget: str) -> Iterator[Value]:
        """Yield the values that a widget of *node* shows, the first one first."""
        seen, open_nodes = {node.id}, [self._steps(sheet, node, widget)]
        # A list and no recursion, because a chain of primitives may be long or a circle.
        while open_nodes:
            step = next(open_nodes[-1], None)
            if step is None:
                open_nodes.pop()
            elif isinstance(step, Value):
                yield step
            elif step.id not in seen:
                seen.add(step.id)
                open_nodes.append(self._steps(sheet, step, _PRIMITIVE_WIDGET))

    def _steps(self, sheet: Sheet, node: UiNode, widget: str) -> Iterator[Value | UiNode]:
        """Yield what a widget of *node* shows: values, and primitives whose value it shows."""
        yield from map(Value, self._of_the_browser(sheet, node, widget))
        for slot in node.inputs:
            origin = primitive_linked_to(sheet, slot) if slot.widget == widget else None
            yield from [origin] if origin else []
        for place in self._places.get(id(node), ()):
            yield from map(Value, self._held(place, widget))
        own = self._reader.values_of(node).values
        yield from [Value(own[widget])] if widget in own else []

    def _of_the_browser(self, sheet: Sheet, node: UiNode, widget: str) -> Iterator[Any]:
        """Yield the values of a widget that only the browser has."""
        saved = node.values if isinstance(node.values, tuple) else ()
        default = self._controls(node).get(widget)
        if default is not None:
            words = (value for value in saved if isinstance(value, str) and value in CONTROL_WORDS)
            yield next(words, default)
        if node.type == PRIMITIVE and widget == _PRIMITIVE_WIDGET:
            # One that sets nothing has no widget.
            yield from saved if any(link.origin == node.id for link in sheet.links.values()) else ()
        elif node.type in _TITLES and widget == _NOTE_WIDGET:
            yield from saved

    def _controls(self, node: UiNode) -> Mapping[str, str]:
        """Return the names of the widgets that say what to do with a seed after a run, with their defaults."""
        its_class = self._reader.class_of(node)
        if its_class is None:
            return {CONTROL_NAME: "fixed"} if node.type == PRIMITIVE else {}
        return dict(control for item in its_class.inputs.values() if (control := control_of(item)))

    def _held(self, place: SubgraphPath, widget: str) -> Iterator[Any]:
        """Yield what the instance of *place* shows as *widget*."""
        held = shown_by_instance(self._unfolded, place, widget)
        if isinstance(held, OwnValue):
            values = self._reader.values_of(held.node).values
            yield from [values[held.widget]] if held.widget in values else []
        elif held is not None:
            yield held.value

    def _default_name(self, node: UiNode) -> str | None:
        """Return the name of a node that the file gives none. Only the server's classes have one."""
        its_class = self._reader.class_of(node)
        saves = its_class is not None and its_class.is_output and "filename_prefix" in its_class.inputs
        return None if saves or its_class is None else node.type

    def _title_of(self, node: UiNode) -> str:
        inner = self._document.subgraphs.get(node.type)
        default = _TITLES.get(node.type) if inner is None else inner.name
        return node.title or default or self._reader.title_of(node)


def _all_nodes(sheet: Sheet, document: Document, seen: set[str]) -> Iterator[tuple[Sheet, UiNode]]:
    """
    Yield every node, the inside of a subgraph before its instance.

    A definition is walked once, at its first instance: others would give the same nodes again, and multiply.
    """
    for node in sheet.nodes.values():
        inner = document.subgraphs.get(node.type)
        if inner is not None and node.type not in seen:
            seen.add(node.type)
            yield from _all_nodes(inner, document, seen)
        yield sheet, node


def _dated(pattern: str, now: datetime) -> str:
    def part(found: re.Match[str]) -> str:
        text = found[0]
        if text[0] in _PARTS:
            return str(_PARTS[text[0]](now)).zfill(len(text))
        return {"yy": f"{now.year}"[2:], "yyyy": f"{now.year}"}.get(text, text)

    return _PART.sub(part, pattern)


def _number(value: float) -> str:
    """Write a number as JavaScript does: without an exponent from 0.000001 up to 21 digits."""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    digits, _, exponent = repr(value).partition("e")
    if not exponent:
        return digits
    return (
        format(Decimal(digits).scaleb(int(exponent)), "f") if -7 < int(exponent) < 0 else f"{digits}e{int(exponent):+}"
    )


def _as_text(value: Any) -> str:
    """Write a value as JavaScript does."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return ",".join(map(_as_text, value)) if isinstance(value, list | tuple) else str(value)
