"""
Say which inputs the browser draws a widget for, what it saves with each, and what it sends where a file has no value.
Pure.
"""

from __future__ import annotations

import itertools
from typing import Any

from wanworker.comfyui.graph.object_info import NodeInput

#: Widgets that the browser draws although nothing in object_info says so.
_UNMARKED = frozenset(
    {"COLOR", "MARKDOWN", "BOUNDING_BOX", "CURVE", "RANGE", "LOAD_3D", "LOAD_3D_ANIMATION", "WEBCAM", "AUDIO_RECORD"}
)
_COMPARISON = "IMAGECOMPARE"
_BOX = "BOUNDING_BOX"

#: Editors with buttons in front. The browser saves a value for each button, and their number depends on its version.
_WITH_BUTTONS = frozenset({"LOAD_3D", "LOAD_3D_ANIMATION"})

#: What the page itself makes when a workflow is queued: a rendered scene, a camera's picture, a recording.
_MADE_BY_THE_PAGE = frozenset({"LOAD_3D", "LOAD_3D_ANIMATION", "WEBCAM", "AUDIO_RECORD"})

#: The name of a scene's state, which a node can do without.
_VIEW = "viewport_state"

#: What the browser sends for a plain widget that has neither a saved value nor a default.
_EMPTY = {"INT": 0, "FLOAT": 0, "STRING": "", "BOOLEAN": False, _COMPARISON: ["", ""]}


def is_widget(item: NodeInput) -> bool:
    """
    Say whether the browser draws a widget for this input. An input with `forceInput` has only a socket.

    An editor of a type of its own is known by `widgetType`, by `socketless`, or by a default: what is only linked has
    none.
    """
    if item.options.get("forceInput"):
        return False
    if item.is_widget or item.type in _UNMARKED or item.type == _COMPARISON:
        return True
    if isinstance(item.options.get("widgetType"), str) or "socketless" in item.options:
        return True
    return item.options.get("default") is not None and not item.is_dynamic and item.type != "*"


def has_socket(item: NodeInput) -> bool:
    """Say whether the widget can be replaced by a link."""
    return not item.options.get("socketless")


def is_saved(item: NodeInput) -> bool:
    """Say whether a file has a value for the widget. A comparison of pictures shows what the last run made."""
    return item.type != _COMPARISON


def is_made_by_the_page(item: NodeInput) -> bool:
    """Say whether only an open page of the browser can give the value. What the file has for it is not sent."""
    return item.type in _MADE_BY_THE_PAGE and item.name != _VIEW


def sent_without_value(item: NodeInput) -> Any:
    """
    Return what the browser sends for a widget that the file has no value for, or None if there is no safe value.

    The browser would send the first weight file or upload of the server's list too. A job must name its own.
    """
    if item.default is not None:
        return item.default
    return _EMPTY.get(item.type) if item.is_widget or item.type == _COMPARISON else ""


def values_before(item: NodeInput, values: tuple[Any, ...], surplus: int) -> int:
    """
    Count the texts of buttons in front of the value of *item* in *values*, of which *surplus* are too many.

    A scene's own value is empty or an object, so it is no button. Before one, or at the end, all texts are buttons.
    """
    if item.type not in _WITH_BUTTONS:
        return 0
    count = sum(1 for _ in itertools.takewhile(lambda value: isinstance(value, str) and value != "", values))
    is_scene = count == len(values) or values[count] in (None, "") or isinstance(values[count], dict)
    return count if is_scene else min(count, surplus)


def values_behind(item: NodeInput, behind: tuple[Any, ...], surplus: int) -> int:
    """Count the numbers that the browser saves behind a box: its four sides once more."""
    sides = behind[:4]
    is_repeated = item.type == _BOX and len(sides) == 4 <= surplus and all(type(side) in {int, float} for side in sides)
    return 4 if is_repeated else 0
