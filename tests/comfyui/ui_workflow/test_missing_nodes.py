"""Classes that the server lacks are named all at once, with what a reader can do about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from wanworker.comfyui.ui_workflow._document import Sheet, UiLink, UiNode
from wanworker.comfyui.ui_workflow._missing_nodes import refuse_missing
from wanworker.comfyui.ui_workflow._subgraphs import SubgraphPath
from wanworker.errors import GraphRefused

INFO: dict[str, dict[str, Any]] = {"WanImageToVideo": {}, "SaveVideo": {}}


def live(*nodes: UiNode, linked: bool = True, path: str = "") -> Sequence[tuple[SubgraphPath, UiNode]]:
    links = {node.id: UiLink(node.id, node.id, 0, "save", 0) for node in nodes} if linked else {}
    place = SubgraphPath(path, Sheet("made", {node.id: node for node in nodes}, links))
    return [(place, node) for node in nodes]


def node(key: str, kind: str, title: str = "", **properties: str) -> UiNode:
    return UiNode(key, kind, title, 0, properties=properties)


def refusal(*nodes: UiNode, path: str = "") -> GraphRefused:
    with pytest.raises(GraphRefused) as refused:
        refuse_missing(live(*nodes, path=path), INFO, {})
    return refused.value


def test_known_classes_pass_without_a_word() -> None:
    assert () == refuse_missing(live(node("1", "SaveVideo")), INFO, {})


def test_every_missing_class_is_named_with_its_nodes_titles_and_the_nearest_known() -> None:
    error = refusal(node("3", "WanImgToVideo", "Start here"), node("4", "PointsEditor"), node("5", "PointsEditor"))

    expected = "The workflow needs 2 node classes that the ComfyUI server does not have: "
    expected += "'WanImgToVideo' (node 3 'Start here'; nearest: 'WanImageToVideo'); 'PointsEditor' (node 4, node 5)."
    assert expected == str(error)


def test_a_node_inside_a_subgraph_is_named_by_its_path() -> None:
    assert "'PointsEditor' (node 12:3)" in str(refusal(node("3", "PointsEditor"), path="12:"))


def test_the_pack_that_a_class_comes_from_is_named() -> None:
    error = refusal(
        node("1", "DWPreprocessor", cnr_id="comfyui_controlnet_aux"), node("2", "Sam2", aux_id="kijai/segment-anything")
    )

    assert "from the pack 'comfyui_controlnet_aux'" in str(error)
    assert "from the pack 'kijai/segment-anything'" in str(error)
    assert error.hint is not None
    assert "Install the custom node packs" in error.hint


def test_a_class_of_comfyui_itself_says_which_version_had_it() -> None:
    error = refusal(node("1", "ComfyMathExpression", cnr_id="comfy-core", ver="0.19.1"))

    assert "'ComfyMathExpression' (node 1; part of ComfyUI itself, saved with 0.19.1)" in str(error)


def test_many_nodes_of_one_class_are_counted() -> None:
    error = refusal(*[node(str(number), "PointsEditor") for number in range(9)])

    assert "node 0, node 1, node 2 and 6 more" in str(error)


def test_a_group_node_is_refused_with_what_to_do() -> None:
    error = refusal(node("1", "workflow>Upscale", "Upscale"))

    assert "node 1 'Upscale' is a group node ('workflow>Upscale')" in str(error)
    assert (
        error.hint == "Open the workflow in ComfyUI, convert its group nodes to subgraphs or nodes, and save it again."
    )


def test_a_subgraph_without_its_definition_is_refused_as_such() -> None:
    error = refusal(node("1", "84e2cf3f-de93-40ef-ab22-b9375296917b", "Video"))

    assert "node 1 'Video' is a subgraph whose definition is not in the file" in str(error)


def test_an_unknown_node_that_is_linked_to_nothing_is_left_out_and_told() -> None:
    told = refuse_missing(live(node("9", "Image Comparer Label", "Hello"), linked=False), INFO, {})

    reason = "the server does not know it, and no link needs it"
    assert (f"node 9 (Image Comparer Label) 'Hello' is left out: {reason}",) == told
