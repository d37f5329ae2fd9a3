"""The nodes of a file get the slots of their classes, in the browser's order."""

from __future__ import annotations

from typing import Any

from wanworker.comfyui.ui_workflow._document import Document, Sheet, Slot, UiNode, read_document
from wanworker.comfyui.ui_workflow._own_values import WidgetReader
from wanworker.comfyui.ui_workflow._slots import with_class_slots

INFO: dict[str, Any] = {
    "Made": {
        "input": {
            "required": {
                "size": ["INT"],
                "image": ["IMAGE"],
                "mode": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {"options": [{"key": "a", "inputs": {"required": {"by": ["FLOAT"], "like": ["MASK"]}}}]},
                ],
                "hidden": ["CURVE", {"socketless": True}],
            },
            "optional": {"any": ["COMFY_MATCHTYPE_V3", {}], "more": ["COMFY_AUTOGROW_V3", {}]},
        },
        "output": [["x", "y"], "COMFY_MATCHTYPE_V3", "LATENT"],
    }
}


def completed(node: UiNode, **subgraphs: Sheet) -> UiNode:
    document = Document(Sheet("top", {node.id: node}, {}), subgraphs)
    return with_class_slots(document, WidgetReader(INFO)).top.nodes[node.id]


def test_sockets_come_before_widgets_and_what_only_the_file_has_comes_last() -> None:
    slots = (
        Slot("extra", "VAE", "1", None),
        Slot("more.1", "IMAGE", "2", None),
        Slot("size", "FLOAT", "3", None),
        Slot("any", "MASK", "4", None),
    )

    node = completed(UiNode("1", "Made", "", 0, slots, ("A", "MASK"), (5, "a", 0.5)))

    assert (
        Slot("image", "IMAGE", None, None),
        Slot("any", "MASK", "4", None),
        Slot("more.1", "IMAGE", "2", None),
        Slot("size", "INT", "3", "size"),
        Slot("mode", "COMFY_DYNAMICCOMBO_V3", None, "mode"),
        Slot("mode.by", "FLOAT", None, "mode.by"),
        Slot("mode.like", "MASK", None, None),
        Slot("extra", "VAE", "1", None),
    ) == node.inputs
    assert ("COMBO", "MASK", "LATENT") == node.outputs


def test_a_node_of_an_unknown_class_keeps_the_files_slots() -> None:
    node = UiNode("1", "Lost", "", 0, (Slot("a", "IMAGE", "1", None),), ("IMAGE",))

    assert node == completed(node)


def test_an_instance_has_the_slots_of_its_subgraph() -> None:
    panel = {"nodes": [], "inputs": [{"name": "w", "type": "INT"}, {"name": "m", "type": "MODEL"}], "outputs": [{}]}
    node = UiNode("1", "sub", "", 0, (Slot("m", "*", "7", None), Slot("gone", "VAE", "8", None)))

    found = completed(node, sub=read_document(panel).top)

    assert (Slot("w", "INT", None, None), Slot("m", "MODEL", "7", None)) == found.inputs
    assert ("*",) == found.outputs
