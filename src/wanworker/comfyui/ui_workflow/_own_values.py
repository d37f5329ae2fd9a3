"""Read what a node's own widgets send, before any link is followed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wanworker.comfyui.graph.browser_widgets import is_widget, sent_without_value
from wanworker.comfyui.graph.object_info import NodeClass, ObjectInfo, expanded, read_class
from wanworker.comfyui.graph.problems import shown
from wanworker.comfyui.ui_workflow._document import UiNode
from wanworker.comfyui.ui_workflow._widgets import Named, named_values

#: The first files name a sampler `sample_euler`. The browser drops the first word, in these classes only.
_SAMPLERS, _SAMPLER, _FORMER_PREFIX = frozenset({"KSampler", "KSamplerAdvanced"}), "sampler_name", "sample_"


@dataclass(frozen=True, slots=True)
class OwnValues:
    """
    Hold the values of a node's widgets by name. `filled` are those that the file lacks: the browser's own defaults.
    """

    values: Mapping[str, Any]
    filled: Mapping[str, Any]
    left_over: tuple[Any, ...] = ()

    def remarks(self, unused: frozenset[str]) -> Iterator[str]:
        """Yield a sentence for what was filled in, if no link replaces it (*unused*), and for what was left over."""
        filled = [f"{name} = {shown(value)}" for name, value in self.filled.items() if name not in unused]
        if filled:
            yield f"the file has no value for {', '.join(filled)}: the server's default"
        if self.left_over:
            left = ", ".join(shown(value) for value in self.left_over)
            yield f"the server's version of this class has no widget for the saved value {left}"


def own_values(node: UiNode, its_class: NodeClass) -> OwnValues:
    """Return the values of the widgets of *node*, in the class's order."""
    named = named_values(node, its_class)
    filled = _filled(named)
    values = {**filled, **named.values}
    sampler = values.get(_SAMPLER)
    if its_class.name in _SAMPLERS and isinstance(sampler, str):
        values[_SAMPLER] = sampler.removeprefix(_FORMER_PREFIX)
    order = [name for name in its_class.inputs if name in values]
    ordered = {name: values[name] for name in [*order, *(name for name in values if name not in order)]}
    return OwnValues(ordered, filled, named.left_over)


def after_setting(values: Mapping[str, Any], set_values: Mapping[str, Any], its_class: NodeClass) -> dict[str, Any]:
    """
    Return *values* with those that primitives set.

    A dynamic combo that is set begins anew, also with the choice that it had: the inputs of the choice have their
    defaults, whatever the file says.
    """
    begun = tuple(f"{name}." for name in set_values)
    found = {name: value for name, value in values.items() if not name.startswith(begun)} | dict(set_values)
    for item in expanded(its_class.inputs.values(), found):
        if item.name.startswith(begun) and item.name not in found and is_widget(item):
            default = sent_without_value(item)
            found |= {} if default is None else {item.name: default}
    return found


def _filled(named: Named) -> dict[str, Any]:
    defaults = ((item.name, sent_without_value(item)) for item in named.missing)
    return {name: value for name, value in defaults if value is not None}


class WidgetReader:
    """Read the widgets of nodes, each class and each node once."""

    def __init__(self, info: ObjectInfo) -> None:
        self._info = info
        self._classes: dict[str, NodeClass] = {}
        #: By identity. The node is kept too, so that its identity stays its own.
        self._values: dict[int, tuple[UiNode, OwnValues]] = {}

    def class_of(self, node: UiNode) -> NodeClass | None:
        """Return the class of *node*, or None if the server lacks it."""
        if node.type not in self._info:
            return None
        if node.type not in self._classes:
            self._classes[node.type] = read_class(node.type, self._info[node.type])
        return self._classes[node.type]

    def values_of(self, node: UiNode) -> OwnValues:
        """Return the values of the widgets of *node*; none for a class that the server lacks."""
        if id(node) not in self._values:
            its_class = self.class_of(node)
            self._values[id(node)] = node, own_values(node, its_class) if its_class else OwnValues({}, {})
        return self._values[id(node)][1]

    def title_of(self, node: UiNode) -> str:
        """Return the title that the browser shows."""
        return node.title or self._info.get(node.type, {}).get("display_name") or node.type
