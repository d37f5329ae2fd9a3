"""Group nodes are replaced by the nodes that they hold, with the values and links of their instance."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from wanworker.comfyui.ui_workflow._own_values import WidgetReader
from wanworker.comfyui.ui_workflow._subgraphs import MOST_NODES
from wanworker.comfyui.ui_workflow.convert import api_graph
from wanworker.comfyui.ui_workflow.former.group_nodes import without_group_nodes
from wanworker.errors import GraphRefused

INFO = json.loads((Path(__file__).parents[3] / "data/comfyui/object_info-0.33.0.json").read_text())
IMAGE = {"name": "image", "type": "IMAGE", "link": None}


def inner(kind: str, values: list[Any], *inputs: str) -> dict[str, Any]:
    return {"type": kind, "widgets_values": values, "inputs": [{**IMAGE, "name": name} for name in inputs]}


def graph(group: dict[str, Any], values: Any, *, mode: int = 0, links: Any = None) -> dict[str, dict[str, Any]]:
    """Convert a group between two pictures and an output."""
    picture = {"type": "EmptyImage", "widgets_values": [64, 64, 1, 0]}
    slots = [{**IMAGE, "link": 1}, {**IMAGE, "name": "image2", "link": 2}]
    nodes = [
        {"id": 1, **picture},
        {"id": 2, **picture},
        {"id": 3, "type": "workflow>mine", "inputs": slots, "widgets_values": values, "mode": mode},
        {"id": 4, "type": "SaveImage", "widgets_values": ["x"], "inputs": [{**IMAGE, "name": "images", "link": 3}]},
        {"id": 5, "type": "PreviewImage", "inputs": [{**IMAGE, "name": "images", "link": 4}]},
    ]
    drawn = [[1, 1, 0, 3, 0, "IMAGE"], [2, 2, 0, 3, 1, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"], [4, 1, 0, 5, 0, "IMAGE"]]
    document = {"nodes": nodes, "links": drawn if links is None else links, "extra": {"groupNodes": {"mine": group}}}
    made = api_graph(document, INFO, now=datetime(2026, 11, 29)).graph
    return {key: body["inputs"] for key, body in made.items()}


def scale_and_blend() -> dict[str, Any]:
    scale = inner("ImageScale", ["lanczos", 32, 24, "center"], "image")
    blend = inner("ImageBlend", [0.25, "multiply"], "image1", "image2")
    return {"nodes": [scale, blend], "links": [[0, 0, 1, 0, 1, "IMAGE"]], "external": []}


VALUES = ["area", 48, 40, "disabled", 0.75, "screen"]


def test_the_instance_has_the_widgets_of_all_its_nodes_and_the_sockets_that_nothing_inside_feeds() -> None:
    found = graph(scale_and_blend(), VALUES)

    scaled = {"upscale_method": "area", "width": 48, "height": 40, "crop": "disabled", "image": ["1", 0]}
    assert scaled == found["3:0"]
    assert {"blend_factor": 0.75, "blend_mode": "screen", "image1": ["3:0", 0], "image2": ["2", 0]} == found["3:1"]
    assert ["3:1", 0] == found["4"]["images"]


def test_a_node_keeps_its_own_values_where_the_instance_has_none() -> None:
    found = graph(scale_and_blend(), ["area", 48])

    assert ("area", 48, 24) == tuple(found["3:0"][name] for name in ("upscale_method", "width", "height"))
    assert 0.25 == found["3:1"]["blend_factor"]


@pytest.mark.parametrize(("mode", "output"), [(2, None), (4, ["1", 0])])
def test_a_muted_or_bypassed_instance_is_so_with_all_its_nodes(mode: int, output: list[Any] | None) -> None:
    found = graph(scale_and_blend(), VALUES, mode=mode)

    assert output == found.get("4", {}).get("images")
    assert not {"3:0", "3:1"} & set(found)


def test_a_widget_that_is_a_socket_comes_after_all_sockets() -> None:
    group = scale_and_blend()
    group["nodes"][0]["inputs"].append({"name": "width", "type": "INT", "link": None, "widget": {"name": "width"}})
    group["links"].append([0, 0, 1, 1, 1, "IMAGE"])  # now the second socket of the instance is the width
    found = graph(group, ["area", 40, "disabled", 0.75, "screen"])

    assert (["2", 0], 40) == (found["3:0"]["width"], found["3:0"]["height"])


@pytest.mark.parametrize(
    "group",
    [
        {"nodes": [inner("NoSuchNode", [])], "links": []},
        {"nodes": "all", "links": []},
        {"nodes": [7], "links": [[0, 0, 9, 9], None, "x", [True, 0, 0, 0]]},
        7,
    ],
    ids=["unknown class", "no list", "no nodes", "no group"],
)
def test_a_group_that_cannot_be_replaced_is_named(group: Any) -> None:
    with pytest.raises(GraphRefused, match=r"node 3 is a group node .*, an old kind, and its definition is not"):
        graph(group, VALUES)


def test_links_that_lead_nowhere_inside_do_no_harm() -> None:
    group = scale_and_blend()
    group["links"] += [[0, 0, 9, 0], [0, 0, 1, 99], [None, 0, 0, 0], ["²", 0, 1, 1], ["0", 0, 1, "9" * 5000]]

    assert ["2", 0] == graph(group, VALUES)["3:1"]["image2"]


def test_an_input_has_one_link_however_many_the_definition_lists() -> None:
    group = scale_and_blend()
    group["links"] = [[1, 0, 1, 0, 1, "IMAGE"], *[["0", 0, "1", 0, 1, "IMAGE"]] * 100]
    nodes = [{"id": at, "type": "workflow>mine"} for at in range(100)]
    document = {"nodes": nodes, "links": [], "extra": {"groupNodes": {"mine": group}}}

    made = without_group_nodes(document, WidgetReader(INFO).class_of)

    assert [[f"{at}:0", f"{at}:0", 0, f"{at}:1", 0, "*"] for at in range(100)] == made["links"]


def test_a_small_file_has_no_huge_number_of_links() -> None:
    names = [f"image{at}" for at in range(30)]
    info = {"Many": {"input": {"required": {name: ["IMAGE", {}] for name in names}}, "output": ["IMAGE"]}}
    links = [[0, 0, target, at, 1, "IMAGE"] for target in range(100) for at in range(30)]
    group = {"nodes": [inner("Many", [], *names)] * 100, "links": links}
    document = {"links": [[1, 1, 0, 2, 0, "IMAGE"]], "extra": {"groupNodes": {"mine": group}}}
    document["nodes"] = [{"id": at, "type": "workflow>mine"} for at in range(34)]

    with pytest.raises(GraphRefused, match="more than 100001 links once its group nodes are replaced"):
        api_graph(document, info, now=datetime(2026, 11, 29))


def test_a_small_file_becomes_no_huge_graph() -> None:
    group = {"nodes": [inner("EmptyImage", [])] * 200, "links": []}
    nodes = [{"id": at, "type": "workflow/mine"} for at in range(MOST_NODES // 200 + 1)]
    document = {"nodes": nodes, "links": [], "extra": {"groupNodes": {"mine": group}}}

    with pytest.raises(GraphRefused, match="more than 10000 nodes once its group nodes are replaced"):
        api_graph(document, INFO, now=datetime(2026, 11, 29))
