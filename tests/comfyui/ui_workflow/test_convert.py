"""A workflow that was pasted in the browser's own format becomes the graph that the browser would send."""

from __future__ import annotations

import copy
import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.ui_workflow.convert import api_graph, node_classes
from wanworker.errors import GraphRefused

NOW = datetime(2026, 11, 29, 3, 4, 5)
DATA = Path(__file__).parents[2] / "data/comfyui"
INFO = json.loads((DATA / "object_info-0.10.0.json").read_text())


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return found


def inputs(graph: Graph) -> dict[str, Any]:
    return {key: body["inputs"] for key, body in graph.items()}


def node_of(document: dict[str, Any], key: int) -> dict[str, Any]:
    found: dict[str, Any] = next(node for node in document["nodes"] if node["id"] == key)
    return found


def test_a_workflow_with_reroutes_a_primitive_notes_and_switched_off_nodes_converts_in_full() -> None:
    converted = api_graph(workflow("ui_i2v"), INFO, now=NOW)

    expected = {
        "1": {"unet_name": "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors", "weight_dtype": "default"},
        "3": {"shift": 5.000000000000001, "model": ["1", 0]},
        "4": {"clip_name": "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "type": "wan", "device": "default"},
        "6": {"text": "a lighthouse in a storm", "clip": ["4", 0]},
        "7": {"text": "blurry", "clip": ["4", 0]},
        "8": {"vae_name": "wan_2.1_vae.safetensors"},
        "9": {"image": "example.png"},
        "11": {
            "width": 832,
            "height": 480,
            "length": 49,
            "batch_size": 1,
            "positive": ["6", 0],
            "negative": ["7", 0],
            "vae": ["8", 0],
            "start_image": ["9", 0],
        },
        "12": {
            "add_noise": "enable",
            "noise_seed": 264244520398999,
            "steps": 4,
            "cfg": 1,
            "sampler_name": "euler",
            "scheduler": "simple",
            "start_at_step": 0,
            "end_at_step": 10000,
            "return_with_leftover_noise": "disable",
            "model": ["3", 0],
            "positive": ["11", 0],
            "negative": ["11", 1],
            "latent_image": ["11", 2],
        },
        "13": {"samples": ["12", 0], "vae": ["8", 0]},
        "14": {"fps": 16, "images": ["13", 0]},
        "15": {"filename_prefix": "video/clip", "format": "auto", "codec": "auto", "video": ["14", 0]},
    }
    assert expected == inputs(converted.graph)
    assert (
        "node 14 (CreateVideo): audio is left out: its source, node 16 (LoadAudio), is muted",
    ) == converted.warnings
    assert () == check(converted.graph, INFO).problems


def test_nested_subgraphs_convert_with_the_values_that_their_instances_hold() -> None:
    converted = api_graph(workflow("ui_subgraphs"), INFO, now=NOW)

    expected = ["10", "11", "12:1:1", "12:1:2", "12:2", "12:3", "12:4", "12:5", "12:6", "13", "14", "15"]
    found = inputs(converted.graph)
    assert (expected, ()) == (list(found), converted.warnings)
    assert "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors" == found["12:1:1"]["unet_name"]
    assert {"model": ["12:1:1", 0], "shift": 5.0} == found["12:1:2"]
    assert {"text": "a paper boat", "clip": ["10", 0]} == found["12:2"]
    assert {"width": ["13", 0], "height": 480, "length": 33, "batch_size": 1} == found["12:4"]
    assert (7, ["12:1:2", 0]) == (found["12:5"]["seed"], found["12:5"]["model"])
    assert {"pixels": ["12:6", 0], "vae": ["11", 0]} == found["15"]
    assert () == check(converted.graph, INFO).problems


def test_titles_are_kept_and_a_node_without_one_has_its_classs() -> None:
    info = copy.deepcopy(INFO)
    info["VAELoader"]["display_name"] = "Load VAE"

    titles = {key: body["_meta"]["title"] for key, body in api_graph(workflow("ui_i2v"), info, now=NOW).graph.items()}

    assert ("Positive Prompt", "Load VAE", "SaveVideo") == (titles["6"], titles["8"], titles["15"])


def test_the_classes_to_ask_the_server_for_are_those_of_live_nodes_inside_subgraphs_too() -> None:
    classes = node_classes(workflow("ui_subgraphs"))

    assert {"UNETLoader", "ModelSamplingSD3", "KSampler", "SaveImage", "PrimitiveInt"} < classes
    assert not {"Reroute", "PrimitiveNode", "MarkdownNote", "PreviewImage"} & node_classes(workflow("ui_i2v"))


def test_a_workflow_and_its_object_info_are_left_as_they_were() -> None:
    document, info = workflow("ui_subgraphs"), copy.deepcopy(INFO)

    api_graph(document, info, now=NOW)

    assert (workflow("ui_subgraphs"), INFO) == (document, info)


def test_a_widget_whose_link_leads_nowhere_keeps_its_own_value() -> None:
    document = workflow("ui_i2v")
    node_of(document, 10).update(type="PrimitiveInt", mode=2)

    converted = api_graph(document, INFO, now=NOW)

    assert 81 == converted.graph["11"]["inputs"]["length"]
    expected = "node 11 (WanImageToVideo): length keeps its own value: its source, node 10 (PrimitiveInt), is muted"
    assert expected in converted.warnings


def test_a_widget_that_an_old_file_lacks_gets_the_servers_default_and_is_told() -> None:
    document = workflow("ui_i2v")
    node_of(document, 15)["widgets_values"] = ["video/clip"]

    converted = api_graph(document, INFO, now=NOW)

    assert "auto" == converted.graph["15"]["inputs"]["codec"]
    expected = "node 15 (SaveVideo): the file has no value for format = 'auto', codec = 'auto': the server's default"
    assert expected in converted.warnings


def test_a_saved_value_that_the_server_has_no_widget_for_is_told() -> None:
    document = workflow("ui_i2v")
    node_of(document, 14)["widgets_values"] = [16, 8]

    converted = api_graph(document, INFO, now=NOW)

    assert 16 == converted.graph["14"]["inputs"]["fps"]
    assert "node 14 (CreateVideo): the server's version of this class has no widget for the saved value 8" in (
        converted.warnings
    )


def test_a_link_into_an_input_that_the_class_does_not_list_is_sent_and_told() -> None:
    document = workflow("ui_i2v")
    node_of(document, 14)["inputs"][1].update(name="alpha", link=20)

    converted = api_graph(document, INFO, now=NOW)

    assert ["13", 0] == converted.graph["14"]["inputs"]["alpha"]
    remarks = check(converted.graph, INFO).remarks
    assert any(
        "node 14 (CreateVideo): the server's version of this class does not list the input 'alpha'" in line
        for line in remarks
    )


def test_a_list_that_is_a_value_is_wrapped_so_that_it_is_no_link() -> None:
    document = workflow("ui_i2v")
    node_of(document, 15)["widgets_values"] = [["a", 1], "auto", "auto"]

    assert {"__value__": ["a", 1]} == api_graph(document, INFO, now=NOW).graph["15"]["inputs"]["filename_prefix"]


def test_a_text_with_choices_in_braces_is_sent_with_the_first_and_told() -> None:
    document, info = workflow("ui_i2v"), copy.deepcopy(INFO)
    node_of(document, 6)["widgets_values"] = ["a {red|blue} boat"]

    converted = api_graph(document, info, now=NOW)

    assert "a red boat" == converted.graph["6"]["inputs"]["text"]
    assert any("text has '{red|blue}', of which the browser would pick" in warning for warning in converted.warnings)


def test_a_value_that_proxy_widgets_hold_for_a_widget_inside_wins_over_the_one_there() -> None:
    document = workflow("ui_subgraphs")
    instance = node_of(document, 12)
    instance["properties"]["proxyWidgets"] = [["-1", "text"], ["4", "height"], ["5", "steps"]]
    instance["widgets_values"] = ["a kite", 704, None]

    found = inputs(api_graph(document, INFO, now=NOW).graph)

    assert ("a kite", 704, 4, 1) == (
        found["12:2"]["text"],
        found["12:4"]["height"],
        found["12:5"]["steps"],
        found["12:5"]["seed"],
    )


def test_a_required_input_behind_a_muted_node_is_refused_by_name_where_it_leaves_no_output() -> None:
    document = workflow("ui_i2v")
    node_of(document, 8)["mode"] = 2

    with pytest.raises(GraphRefused) as refused:
        api_graph(document, INFO, now=NOW)

    expected = "node 13 (VAEDecode), input 'vae': its source, node 8 (VAELoader), is muted"
    assert expected in str(refused.value)


JUNK = (None, -1, 1.5, True, "", "text", [], {}, [1, 2], {"id": 1}, [[]], [None], 10**30)


def damaged(document: Any, chance: random.Random) -> Any:
    """Put junk in one place of *document*, down to a random depth."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    keys = [key for key, _ in inner]
    if not keys or chance.random() < 0.1:
        return copy.deepcopy(chance.choice(JUNK))
    key = chance.choice(keys)
    document[key] = damaged(document[key], chance)
    return document


@pytest.mark.parametrize("name", ["ui_i2v", "ui_subgraphs"])
def test_a_damaged_file_is_refused_or_converted_and_nothing_else(name: str) -> None:
    chance, outcomes = random.Random(1), {"converted": 0, "refused": 0}
    for _ in range(300):
        document = workflow(name)
        key = chance.choice(["nodes", "links", *(["definitions"] if name == "ui_subgraphs" else [])])
        document[key] = damaged(document[key], chance)
        try:
            check(api_graph(document, INFO, now=NOW).graph, INFO)
            outcomes["converted"] += 1
        except GraphRefused:
            outcomes["refused"] += 1

    assert min(outcomes.values()) > 10


def test_what_is_no_workflow_is_refused() -> None:
    with pytest.raises(GraphRefused, match="'nodes' must be a list"):
        api_graph({"3": {"class_type": "KSampler"}}, INFO, now=NOW)
