"""
Name the saved widget values of a node. Pure.

The browser saves them by place, in the order of the class's widgets (object_info's `input_order`, required before
optional), with values of its own in between: what to do with a seed after each run, the button of an upload. A widget
that was turned into an input keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.graph.object_info import NodeClass, NodeInput, read_class
from wanworker.comfyui.ui_workflow._document import UiNode
from wanworker.comfyui.ui_workflow._subgraphs import CONTROL_WORDS

#: Types beyond the plain ones whose value the browser keeps in a widget.
_BROWSER_WIDGETS = frozenset(
    {"COLOR", "MARKDOWN", "BOUNDING_BOX", "CURVE", "RANGE", "LOAD_3D", "LOAD_3D_ANIMATION", "WEBCAM", "IMAGECOMPARE"}
)
_DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"

#: The browser adds the control to these even where the class does not ask for it (frontend, widgetInputs.ts).
_SEEDS = frozenset({"seed", "noise_seed"})

_POWER_LORA = "Power Lora Loader (rgthree)"


@dataclass(frozen=True, slots=True)
class Named:
    """Values by input name; `missing` are widgets without a value in the file, `left_over` values without a widget."""

    values: Mapping[str, Any]
    missing: tuple[NodeInput, ...] = ()
    left_over: tuple[Any, ...] = ()


def is_widget(item: NodeInput) -> bool:
    """Say whether the browser draws a widget for this input: one with `forceInput` is a plain socket."""
    if item.options.get("forceInput"):
        return False
    shown_as = item.options.get("widgetType")
    return item.is_widget or item.type in {_DYNAMIC_COMBO, *_BROWSER_WIDGETS} or isinstance(shown_as, str)


def named_values(node: UiNode, its_class: NodeClass) -> Named:
    """
    Name the values of *node*.

    By place first, as the browser does; by the names that newer files also carry where the places do not fit the
    server's version of the class.
    """
    if isinstance(node.values, Mapping):
        return _by_name(_sendable(node.values), its_class)
    if its_class.name == _POWER_LORA:
        return Named(dict(_power_loras(node.values)))
    named = _by_place(_without_dummies(node.values, its_class), its_class)
    fits = not named.missing and not named.left_over and all(_is_plausible(*pair) for pair in _pairs(named, its_class))
    return named if fits or not node.named_values else _by_name(node.named_values, its_class, others_too=False)


def _by_place(values: tuple[Any, ...], its_class: NodeClass) -> Named:
    queue = [item for item in its_class.inputs.values() if is_widget(item)]
    found: dict[str, Any] = {}
    missing: list[NodeInput] = []
    at = 0
    while queue:
        item = queue.pop(0)
        if (at >= len(values) or values[at] is None) and item.type in _BROWSER_WIDGETS:
            found[item.name] = ""  # as the browser sends it
        elif at >= len(values) or values[at] is None:
            missing.append(item)
        else:
            found[item.name] = values[at]
            queue[:0] = chosen_inputs(item, values[at])
        at += 1 + _extras_behind(item, values[at + 1 :], queue)
    return Named(found, tuple(missing), tuple(value for value in values[at:] if found and _is_callers(value)))


def _is_callers(value: object) -> bool:
    """Players, previews and buttons of the browser save nothing, or their own state."""
    return value not in (None, "") and not isinstance(value, Mapping)


def chosen_inputs(item: NodeInput, value: object) -> list[NodeInput]:
    """Return the widgets that a dynamic combo shows for *value*, named `combo.widget`; none for any other input."""
    if item.type != _DYNAMIC_COMBO:
        return []
    for option in item.options.get("options") or ():
        if isinstance(option, Mapping) and option.get("key") == value:
            inner = read_class(item.name, {"input": option.get("inputs")}).inputs.values()
            return [
                NodeInput(f"{item.name}.{one.name}", one.type, one.required, one.choices, one.options)
                for one in inner
                if is_widget(one)
            ]
    return []


def _extras_behind(item: NodeInput, behind: tuple[Any, ...], queue: list[NodeInput]) -> int:
    """Count the browser's own values that follow the value of *item*."""
    if item.takes_uploads:
        # A button, a player: how many depends on the frontend's version. They are all that is too much.
        surplus = max(0, len(behind) - sum(_places(one) for one in queue))
        words = (value is None or value in ("", "image", "audio", "video") for value in behind[:surplus])
        return sum(1 for _ in _while_true(words)) if queue else surplus
    if behind and _is_control(behind[0]) and (_has_control(item) or _is_refused(behind[0], item, queue)):
        # Some combos have a filter text behind their control.
        return 2 if item.type == "COMBO" and len(behind) > 1 + sum(_places(one) for one in queue) else 1
    return 0


def _while_true(flags: Iterable[bool]) -> Iterator[bool]:
    for flag in flags:
        if not flag:
            return
        yield flag


def _is_control(value: object) -> bool:
    # The first frontends wrote a tick box there: true to draw a new seed after each run.
    return isinstance(value, bool) or (isinstance(value, str) and value in CONTROL_WORDS)


def _has_control(item: NodeInput) -> bool:
    return bool(item.options.get("control_after_generate")) or (item.type == "INT" and item.name in _SEEDS)


def _is_refused(value: object, item: NodeInput, queue: list[NodeInput]) -> bool:
    """A control behind a number is one if the next widget cannot hold it: the class has changed its options."""
    return item.type == "INT" and isinstance(value, str) and not (queue and _is_plausible(queue[0], value))


def _places(item: NodeInput) -> int:
    return 2 if _has_control(item) else 1


def _without_dummies(values: tuple[Any, ...], its_class: NodeClass) -> tuple[Any, ...]:
    """Drop what frontends before 1.16 saved for inputs with `forceInput`, as later ones do when the count says so."""
    items = [item for item in its_class.inputs.values() if is_widget(item) or item.options.get("forceInput")]
    is_forced = [bool(item.options.get("forceInput")) for item in items for _ in range(_places(item))]
    if not any(is_forced) or len(is_forced) != len(values):
        return values
    return tuple(value for value, forced in zip(values, is_forced, strict=True) if not forced)


def _by_name(values: Mapping[str, Any], its_class: NodeClass, *, others_too: bool = True) -> Named:
    queue = [item for item in its_class.inputs.values() if is_widget(item)]
    found = dict(values) if others_too else {}
    missing: list[NodeInput] = []
    while queue:
        item = queue.pop(0)
        if values.get(item.name) is None:
            missing.append(item)
            continue
        found[item.name] = values[item.name]
        queue[:0] = chosen_inputs(item, values[item.name])
    return Named(found, tuple(missing))


def _sendable(values: Mapping[str, Any]) -> dict[str, Any]:
    # VideoHelperSuite keeps the state of its player beside the values; what is no plain value is the browser's own.
    return {name: value for name, value in values.items() if not isinstance(value, Mapping)}


def _power_loras(values: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the rows of rgthree's loader, which object_info does not list: `lora_1`, `lora_2` ..."""
    rows = [value for value in values if isinstance(value, Mapping) and "lora" in value]
    for number, row in enumerate(rows, start=1):
        yield f"lora_{number}", dict(row)


def _pairs(named: Named, its_class: NodeClass) -> list[tuple[NodeInput, Any]]:
    return [(its_class.inputs[name], value) for name, value in named.values.items() if name in its_class.inputs]


def _is_plausible(item: NodeInput, value: object) -> bool:
    """Say whether *value* may have been saved for *item*: files of another machine are not in its list."""
    if item.type in {"INT", "FLOAT"}:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if item.type == "BOOLEAN":
        return isinstance(value, bool)
    if item.type == "STRING":
        return isinstance(value, str)
    is_open = not item.choices or item.is_model or item.takes_uploads
    return isinstance(value, str) if is_open and item.type == "COMBO" else not item.choices or value in item.choices
