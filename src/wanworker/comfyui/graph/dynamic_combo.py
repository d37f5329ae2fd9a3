"""Read dynamic combos: choices that bring inputs of their own, which are named `combo.input`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from wanworker.comfyui.graph.object_info import DYNAMIC_COMBO, NodeInput, read_class


def inner_inputs(item: NodeInput, value: object) -> tuple[NodeInput, ...]:
    """Return the inputs that the dynamic combo *item* has for *value*; none for any other input or value."""
    if item.type != DYNAMIC_COMBO:
        return ()
    for option in item.options.get("options") or ():
        if isinstance(option, Mapping) and option.get("key") == value:
            inner = read_class(item.name, {"input": option.get("inputs")}).inputs.values()
            return tuple(replace(one, name=f"{item.name}.{one.name}") for one in inner)
    return ()


def expanded(items: Iterable[NodeInput], given: Mapping[str, Any]) -> Iterator[NodeInput]:
    """
    Yield *items*, and behind each dynamic combo the inputs of the choice that *given* has for it, at every depth.

    *given* is read as late as possible: a value that is added for an input that was just yielded counts.
    """
    for item in items:
        yield item
        if item.type == DYNAMIC_COMBO:
            yield from expanded(inner_inputs(item, given.get(item.name)), given)
