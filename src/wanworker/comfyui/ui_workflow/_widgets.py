"""
Assign the saved widget values of a node to their names. Pure.

The browser saves them by place, in the order of the class's widgets (object_info's `input_order`, required before
optional), with its own values in between: what to do with a seed after each run, or the button of an upload. A widget
that was turned into an input keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.graph.browser_widgets import (
    is_made_by_the_page,
    is_saved,
    is_widget,
    sent_without_value,
    values_before,
    values_behind,
)
from wanworker.comfyui.graph.object_info import DYNAMIC_COMBO, NodeClass, NodeInput, inner_inputs
from wanworker.comfyui.ui_workflow._document import UiNode
from wanworker.comfyui.ui_workflow._subgraphs import CONTROL_WORDS

#: The browser adds the seed control to these even if the class does not ask for it (frontend, widgetInputs.ts).
_SEEDS = frozenset({"seed", "noise_seed"})

#: What the browser calls the widget behind a seed, and the option by which a class asks for it.
CONTROL_NAME = "control_after_generate"

_POWER_LORA = "Power Lora Loader (rgthree)"


@dataclass(frozen=True, slots=True)
class Named:
    """
    Hold values by input name. `missing` are widgets without a value in the file, `left_over` values without a widget.
    """

    values: Mapping[str, Any]
    missing: tuple[NodeInput, ...] = ()
    left_over: tuple[Any, ...] = ()


def named_values(node: UiNode, its_class: NodeClass) -> Named:
    """
    Assign the values of *node* to names.

    Places are tried first, as in the browser. If they do not fit the server's version of the class, the names are used
    that newer files also have.
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
        if not is_saved(item):
            found[item.name] = sent_without_value(item)
            continue
        at += values_before(item, values[at:], _surplus(values[at:], [item, *queue]))
        if at < len(values) and values[at] is not None:
            found[item.name] = values[at]
            queue[:0] = [one for one in inner_inputs(item, values[at]) if is_widget(one)]
        elif item.is_widget:
            missing += [item, *_inside_first_choice(item)]
        else:
            found[item.name] = sent_without_value(item)
        at += 1 + _extras_behind(item, values[at + 1 :], queue)
    made = {item.name for item in its_class.inputs.values() if is_made_by_the_page(item)}
    sent = {name: value for name, value in found.items() if name not in made}
    return _with_own_choices(its_class, Named(sent, tuple(missing), values[at:]))


def _surplus(values: tuple[Any, ...], queue: list[NodeInput]) -> int:
    """Count the values that are too many for the widgets of *queue*."""
    return max(0, len(values) - sum(_places(one) for one in queue if is_saved(one)))


def _inside_first_choice(item: NodeInput) -> Iterator[NodeInput]:
    """Yield the widgets that a dynamic combo without a saved value has: those of its first choice, at every depth."""
    for one in inner_inputs(item, item.default) if item.type == DYNAMIC_COMBO else ():
        if is_widget(one):
            yield one
            yield from _inside_first_choice(one)


def _with_own_choices(its_class: NodeClass, named: Named) -> Named:
    """
    Read the surplus values of a node whose author writes its choices (CustomCombo): the number of the choice, then the
    choices. The browser adds one empty choice behind the last.
    """
    combos = [item for item in its_class.inputs.values() if is_widget(item)]
    has_own = len(combos) == 1 and combos[0].choices == () and "remote" not in combos[0].options
    if not has_own or not named.left_over:
        left = tuple(value for value in named.left_over if named.values and _is_callers(value))
        return Named(named.values, named.missing, left)
    first = 1 if isinstance(named.left_over[0], int) else 0
    choices: list[Any] = []
    for value in named.left_over[first:]:
        choices.append(value)
        if not value:
            break
    if not choices or choices[-1]:
        choices.append("")
    chosen = named.values.get(combos[0].name, choices[0])
    found = {combos[0].name: chosen, "index": choices.index(chosen) if chosen in choices else -1}
    return Named({**found, **{f"option{number}": choice for number, choice in enumerate(choices, start=1)}})


def _is_callers(value: object) -> bool:
    """
    Say whether *value* is the author's. Players, previews and buttons of the browser save nothing, or their own state.
    """
    return value not in (None, "") and not isinstance(value, Mapping)


def _extras_behind(item: NodeInput, behind: tuple[Any, ...], queue: list[NodeInput]) -> int:
    """Count the browser's own values after the value of *item*."""
    repeated = values_behind(item, behind, _surplus(behind, queue))
    if repeated:
        return repeated
    if item.takes_uploads:
        # The number of values of a button or a player depends on the frontend's version: all surplus values are theirs.
        surplus = _surplus(behind, queue)
        words = (value is None or value in ("", "image", "audio", "video") for value in behind[:surplus])
        return sum(1 for _ in _while_true(words)) if queue else surplus
    if behind and _is_control(behind[0]) and (_has_control(item) or _is_refused(behind[0], item, queue)):
        # Some combos have a filter text after their control.
        return 2 if item.type == "COMBO" and _surplus(behind, queue) > 1 else 1
    return 0


def _while_true(flags: Iterable[bool]) -> Iterator[bool]:
    for flag in flags:
        if not flag:
            return
        yield flag


def _is_control(value: object) -> bool:
    # The first frontends had a tick box there: true means a new seed after each run.
    return isinstance(value, bool) or (isinstance(value, str) and value in CONTROL_WORDS)


def control_of(item: NodeInput) -> tuple[str, str] | None:
    """
    Return the name and the default of the widget that says what to do with *item* after each run, or None if there is
    none. A class may name it, and the name is its default then.
    """
    asked = item.options.get(CONTROL_NAME)
    if isinstance(asked, str) and asked:
        return asked, asked
    return (CONTROL_NAME, "randomize") if asked or (item.type == "INT" and item.name in _SEEDS) else None


def _has_control(item: NodeInput) -> bool:
    return control_of(item) is not None


def _is_refused(value: object, item: NodeInput, queue: list[NodeInput]) -> bool:
    """
    Say whether the next widget cannot hold *value*. Then it is a control, although the class no longer asks for one.
    """
    return item.type == "INT" and isinstance(value, str) and not (queue and _is_plausible(queue[0], value))


def _places(item: NodeInput) -> int:
    return 2 if _has_control(item) else 1


def _without_dummies(values: tuple[Any, ...], its_class: NodeClass) -> tuple[Any, ...]:
    """Drop the values that frontends before 1.16 saved for inputs with `forceInput`, if their number shows them."""
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
            missing += [item, *_inside_first_choice(item)]
            continue
        found[item.name] = values[item.name]
        queue[:0] = [one for one in inner_inputs(item, values[item.name]) if is_widget(one)]
    return Named(found, tuple(missing))


def _sendable(values: Mapping[str, Any]) -> dict[str, Any]:
    # VideoHelperSuite saves the state of its player among the values. Values that are not plain are the browser's own.
    return {name: value for name, value in values.items() if not isinstance(value, Mapping)}


def _power_loras(values: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the rows of rgthree's loader, `lora_1`, `lora_2` ..., which object_info does not list."""
    rows = [value for value in values if isinstance(value, Mapping) and "lora" in value]
    for number, row in enumerate(rows, start=1):
        yield f"lora_{number}", dict(row)


def _pairs(named: Named, its_class: NodeClass) -> list[tuple[NodeInput, Any]]:
    return [(its_class.inputs[name], value) for name, value in named.values.items() if name in its_class.inputs]


def _is_plausible(item: NodeInput, value: object) -> bool:
    """Say whether *value* may have been saved for *item*. A file of another machine need not be in the item's list."""
    if item.type in {"INT", "FLOAT"}:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if item.type == "BOOLEAN":
        return isinstance(value, bool)
    if item.type == "STRING":
        return isinstance(value, str)
    is_open = not item.choices or item.is_model or item.takes_uploads
    return isinstance(value, str) if is_open and item.type == "COMBO" else not item.choices or value in item.choices
