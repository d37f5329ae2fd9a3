"""
Give the nodes of a workflow the slots of their classes, as the browser does when it opens a file. Pure.

A file may list only the linked slots of a node, or those of an older version of its class. The browser draws the
class's own slots in its order, with its types: first the sockets, then the widgets. It adds what else the file has, and
keeps the links by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from wanworker.comfyui.graph.browser_widgets import has_socket, is_widget
from wanworker.comfyui.graph.object_info import DYNAMIC_COMBO, GROWING, MATCHING, NodeClass, NodeInput, inner_inputs
from wanworker.comfyui.ui_workflow._document import Document, Sheet, Slot, UiNode
from wanworker.comfyui.ui_workflow._own_values import WidgetReader


def with_class_slots(document: Document, reader: WidgetReader) -> Document:
    """Return *document* with the slots of the classes that *reader* knows, and of the subgraphs, on their nodes."""

    def completed(sheet: Sheet) -> Sheet:
        return replace(sheet, nodes={key: complete(node) for key, node in sheet.nodes.items()})

    def complete(node: UiNode) -> UiNode:
        inner, its_class = document.subgraphs.get(node.type), reader.class_of(node)
        if inner is not None:
            return _as_instance(node, inner)
        return node if its_class is None else _as_class(node, its_class, reader.values_of(node).values)

    subgraphs = {key: completed(sheet) for key, sheet in document.subgraphs.items()}
    return replace(document, top=completed(document.top), subgraphs=subgraphs)


def _as_instance(node: UiNode, inner: Sheet) -> UiNode:
    own = {slot.name: slot for slot in node.inputs}
    slots = [
        replace(own[name], type=kind) if name in own else Slot(name, kind, None, None)
        for name, kind in zip(inner.inputs, inner.input_types or ("*",) * len(inner.inputs), strict=True)
    ]
    return replace(node, inputs=tuple(slots), outputs=inner.output_types or node.outputs)


def _as_class(node: UiNode, its_class: NodeClass, values: Mapping[str, Any]) -> UiNode:
    own = {slot.name: slot for slot in node.inputs}
    widgets = [item for item in its_class.inputs.values() if is_widget(item)]
    drawn = [*_sockets(its_class, own), *(slot for item in widgets for slot in _widget(item, values, own))]
    taken = {slot.name for slot in drawn}
    return replace(
        node,
        inputs=(*drawn, *(slot for slot in node.inputs if slot.name not in taken and not _is_inside(its_class, slot))),
        outputs=tuple(_outputs(node, its_class)),
    )


def _is_inside(its_class: NodeClass, slot: Slot) -> bool:
    """Say whether the slot is one of a dynamic combo's. What the chosen choice does not draw belongs to another."""
    combo, dot, _ = slot.name.partition(".")
    return bool(dot) and combo in its_class.inputs and its_class.inputs[combo].type == DYNAMIC_COMBO


def _sockets(its_class: NodeClass, own: Mapping[str, Slot]) -> Iterator[Slot]:
    for item in its_class.inputs.values():
        if not is_widget(item):
            yield from _sockets_of(item, own)


def _sockets_of(item: NodeInput, own: Mapping[str, Slot]) -> Iterator[Slot]:
    if item.type == GROWING:
        yield from (slot for name, slot in own.items() if name.startswith(f"{item.name}."))
    elif item.type == MATCHING and item.name in own:
        yield own[item.name]  # the browser saves the type that it found
    else:
        kind = "*" if item.type == MATCHING else item.type
        yield replace(own[item.name], type=kind) if item.name in own else Slot(item.name, kind, None, None)


def _widget(item: NodeInput, values: Mapping[str, Any], own: Mapping[str, Slot]) -> Iterator[Slot]:
    """Yield the slot of a widget. The inputs of a dynamic combo's choice follow it, in their order."""
    if has_socket(item):
        link = own[item.name].link if item.name in own else None
        yield Slot(item.name, item.type, link, item.name)
    for one in inner_inputs(item, values.get(item.name, item.default)):
        yield from _widget(one, values, own) if is_widget(one) else _sockets_of(one, own)


def _outputs(node: UiNode, its_class: NodeClass) -> Iterator[str]:
    for at, kind in enumerate(its_class.outputs):
        if kind == MATCHING:
            yield node.outputs[at] if at < len(node.outputs) else "*"
        else:
            yield kind if isinstance(kind, str) else "COMBO"
    yield from node.outputs[len(its_class.outputs) :]
