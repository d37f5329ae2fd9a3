"""
Small workflows, each of a kind that is easily converted wrongly, become what ComfyUI's own frontend makes of them.

`expected.json` holds what frontend 1.49.6 sent on a server 0.33.0 on 2026-11-29. The other tests change these files.
Those of `ui_cases_1.37` were saved by frontend 1.37.11, and `expected.json` beside them is what it sent itself.
"""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.ui_workflow.convert import api_graph

DATA = Path(__file__).parents[2] / "data/comfyui"
INFO = json.loads((DATA / "object_info-0.33.0.json").read_text())
EXPECTED = json.loads((DATA / "ui_cases/expected.json").read_text())
FORMER = DATA / "ui_cases_1.37"
EXPECTED_OF_FORMER = json.loads((FORMER / "expected.json").read_text())
NOW = datetime(2026, 11, 29, 3, 4, 5)


def case(name: str) -> dict[str, Any]:
    (path,) = (DATA / "ui_cases").glob(f"{name}*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def converted(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: body["inputs"] for key, body in api_graph(document, INFO, now=NOW).graph.items()}


def node(document: dict[str, Any], key: int) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in document["nodes"] if one["id"] == key)
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_a_case_becomes_what_the_frontend_sends(name: str) -> None:
    document = json.loads((DATA / "ui_cases" / name).read_text())

    assert {key: body["inputs"] for key, body in EXPECTED[name].items()} == converted(document)


@pytest.mark.parametrize("name", EXPECTED_OF_FORMER)
def test_a_file_of_a_former_frontend_becomes_what_that_one_sent(name: str) -> None:
    document = json.loads((FORMER / name).read_text())

    assert {key: body["inputs"] for key, body in EXPECTED_OF_FORMER[name].items()} == converted(document)


@pytest.mark.parametrize(
    ("version", "widths", "height"),
    [("1.28.9", (96, 32), 80), ("1.40.10", (96, 32), 80), ("1.41.13", (80, 80), 80), ("1.49.6", (80, 80), 80),
     (None, (80, 80), 80), ("1", (80, 80), 80), (7, (80, 80), 80)],
)  # fmt: skip
def test_only_the_version_in_the_file_chooses_the_former_rules(version: Any, widths: Any, height: int) -> None:
    document = json.loads((FORMER / "own_value_before_a_shown_widget.json").read_text())
    document["extra"] = {"frontendVersion": version}
    inputs = converted(document)

    assert widths == (inputs["10:1"]["width"], inputs["10:2"]["width"])
    assert height == inputs["10:2"]["height"]


def sized(values: list[Any] | None, proxies: list[list[str]]) -> dict[str, dict[str, Any]]:
    document = case("A4")
    node(document, 10)["properties"]["proxyWidgets"] = proxies
    node(document, 10)["widgets_values"] = values
    return converted(document)


@pytest.mark.parametrize(
    ("values", "proxies", "widths"),
    [
        ([], [["1", "width"]], (96, 96)),
        ([None], [["1", "width"]], (96, 96)),
        ([128], [], (128, 128)),
        ([128], [["-1", "width"]], (128, 128)),
        ([128, 7], [["1", "width"], ["1", "height"]], (128, 128)),
        ([128, 200], [["1", "width"], ["2", "width"]], (128, 200)),
        ([128, None], [["1", "width"], ["2", "width"]], (128, 32)),
    ],
)
def test_an_instances_value_goes_to_every_place_that_its_input_feeds(
    values: list[Any], proxies: list[list[str]], widths: tuple[int, int]
) -> None:
    found = sized(values, proxies)

    assert widths == (found["10:1"]["width"], found["10:2"]["width"])


def test_a_value_goes_through_a_nested_instance_to_every_place() -> None:
    document = case("A4")
    inner = document["definitions"]["subgraphs"][0]
    host = copy.deepcopy(node(document, 10))
    host |= {"id": 5, "properties": {}, "widgets_values": []}
    host["inputs"][0]["link"] = 31
    outer = {
        **copy.deepcopy(inner),
        "id": "22222222-2222-4333-8444-555555555555",
        "nodes": [host],
        "inputs": [{"name": "w", "type": "INT", "linkIds": [31]}],
        "links": [
            {"id": 31, "origin_id": -10, "origin_slot": 0, "target_id": 5, "target_slot": 0, "type": "INT"},
            {"id": 32, "origin_id": 5, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
    }
    document["definitions"]["subgraphs"].append(outer)
    slot = {"name": "w", "type": "INT", "link": None, "widget": {"name": "w"}}
    node(document, 10).update(type=outer["id"], inputs=[slot], properties={}, widgets_values=[160])

    found = converted(document)
    assert (160, 160) == (found["10:5:1"]["width"], found["10:5:2"]["width"])

    node(document, 10)["widgets_values"] = []
    found = converted(document)
    assert (96, 96) == (found["10:5:1"]["width"], found["10:5:2"]["width"])


@pytest.mark.parametrize(
    ("saved", "index", "options"),
    [
        (["a", "a", "b", ""], 0, ["a", "b", ""]),
        (["c", 9, "a", "b"], -1, ["a", "b", ""]),
        (["b", 1, "a", "b", "", "lost"], 1, ["a", "b", ""]),
    ],
)
def test_the_choices_of_a_custom_combo_are_numbered(saved: list[Any], index: int, options: list[str]) -> None:
    document = case("B")
    node(document, 1)["widgets_values"] = saved

    found = converted(document)["1"]

    assert {"choice": saved[0], "index": index} | {f"option{at}": one for at, one in enumerate(options, 1)} == found


def test_a_choice_that_the_node_itself_brings_is_no_problem() -> None:
    assert () == check(api_graph(case("B"), INFO, now=NOW).graph, INFO).problems


@pytest.mark.parametrize(
    "buttons", [["upload3dmodel", "clear"], ["upload3dmodel", "uploadExtraResources", "clear"], []]
)
def test_the_buttons_of_an_editor_shift_nothing(buttons: list[str]) -> None:
    document = case("C")
    node(document, 1)["widgets_values"] = ["none", *buttons, "", 512, 768]

    assert {"model_file": "none", "width": 512, "height": 768} == converted(document)["1"]


def test_what_only_the_page_can_make_is_told_before_anything_is_queued() -> None:
    (problem,) = check(api_graph(case("C"), INFO, now=NOW).graph, INFO).problems

    assert "input 'image': the required input is missing; it takes a LOAD_3D value that only an open page" in str(
        problem
    )


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (["v", "mp4"], {"format": "mp4", "format.codec": "auto"}),
        (["v", "mp4", "h264"], {"format": "mp4", "format.codec": "h264", "format.codec.encoding": "auto"}),
        (
            ["v", "auto", "h264", "re-encode", 19],
            {"format.codec": "h264", "format.codec.encoding": "re-encode", "format.codec.encoding.crf": 19},
        ),
        ({"filename_prefix": "v", "format": "mp4"}, {"format": "mp4", "format.codec": "auto"}),
    ],
)
def test_dynamic_combos_inside_dynamic_combos_are_filled(saved: Any, expected: dict[str, Any]) -> None:
    document = case("D")
    node(document, 3)["widgets_values"] = saved

    found = converted(document)["3"]

    assert expected == {name: found[name] for name in expected}


@pytest.mark.parametrize(
    ("pattern", "becomes"),
    [
        ("%date:yy-M-d h.m.s%", "26-11-29 3"),  # the browser reads no further than the first of two dots
        ("%date:hh.mm%", "%date:hh.mm%"),  # with one dot, it looks for a node
        ("%date:hh-mm-ss%", "03-04-05"),
        ("%date:yyyMMdd%", "yyy1129"),
        ("%Pic.batch_size%x%EmptyImage.height%", "1x64"),
        ("%Nothing.width%_%Pic.nothing%", "%Nothing.width%_%Pic.nothing%"),
        ("%width%x%height%", "%width%x%height%"),
        ("100% sure", "100% sure"),
    ],
)
def test_patterns_in_a_prefix_are_replaced_as_in_the_browser(pattern: str, becomes: str) -> None:
    document = case("F")
    node(document, 2)["widgets_values"] = [pattern]

    assert becomes == converted(document)["2"]["filename_prefix"]


def test_a_node_is_found_by_its_own_name_first_and_its_value_made_safe() -> None:
    document = case("F")
    named = {"id": 9, "type": "PrimitiveString", "widgets_values": ["a/b:c"], "mode": 2, "inputs": [], "outputs": []}
    document["nodes"].append({**named, "title": "Other", "properties": {"Node name for S&R": "Pic"}})
    node(document, 2)["widgets_values"] = ["%Pic.value%"]

    assert "a_b_c" == converted(document)["2"]["filename_prefix"]


def test_a_pattern_looks_once_at_subgraphs_that_multiply() -> None:
    """A muted instance has no nodes in the run, but the browser finds a name inside it."""
    document = case("F")
    inner = {
        "id": 1,
        "type": "PrimitiveString",
        "widgets_values": ["deep"],
        "properties": {"Node name for S&R": "Deep"},
    }
    levels = [
        {"id": f"s{level}", "links": [], "nodes": [{"id": at, "type": f"s{level + 1}"} for at in range(10)]}
        for level in range(10)
    ]
    document["definitions"] = {"subgraphs": [*levels, {"id": "s10", "links": [], "nodes": [inner]}]}
    document["nodes"].append({"id": 9, "type": "s0", "mode": 2})
    node(document, 2)["widgets_values"] = ["%Deep.value%_%Nobody.value%"]

    assert "deep_%Nobody.value%" == converted(document)["2"]["filename_prefix"]


@pytest.mark.parametrize(("origins", "becomes"), [([9], "%P9.value%"), ([10, 9], "%P9.value%"), ([10, 11], "end")])
def test_primitives_that_are_linked_in_a_circle_or_a_row_are_followed(origins: list[int], becomes: str) -> None:
    document = case("F")
    for at, origin in enumerate(origins):
        slot = {"name": "value", "type": "STRING", "link": 90 + at, "widget": {"name": "value"}}
        named = {"properties": {"Node name for S&R": f"P{9 + at}"}}
        document["nodes"].append({"id": 9 + at, "type": "PrimitiveNode", "inputs": [slot], **named})
        document["links"].append([90 + at, origin, 0, 9 + at, 0, "STRING"])
    document["nodes"].append({"id": 11, "type": "PrimitiveNode", "widgets_values": ["end", "fixed"]})
    node(document, 2)["widgets_values"] = ["%P9.value%"]

    assert becomes == converted(document)["2"]["filename_prefix"]


def test_patterns_put_no_more_into_a_prefix_than_a_name_can_have() -> None:
    document = case("F")
    document["nodes"].append({"id": 9, "type": "PrimitiveString", "widgets_values": ["x" * 10_000], "mode": 2})
    node(document, 2)["widgets_values"] = ["%PrimitiveString.value%" * 3]

    assert 900 == len(converted(document)["2"]["filename_prefix"])


def test_a_bypassed_node_passes_on_the_slot_of_its_class() -> None:
    document = case("H")
    link = document["links"][0]
    link[4] = 0
    slot = {"name": "string_a", "type": "STRING", "link": link[0], "widget": {"name": "string_a"}}
    node(document, 2)["inputs"] = [slot]

    assert ["1", 0] == converted(document)["3"]["string"]


def test_a_sampler_of_the_first_files_has_its_name_of_today() -> None:
    document = case("F")
    slots = ("model", "MODEL"), ("positive", "CONDITIONING"), ("negative", "CONDITIONING"), ("latent_image", "LATENT")
    inputs = [{"name": name, "type": kind, "link": 5} for name, kind in slots]
    saved = [7, True, 20, 8, "sample_euler", "normal", 1]
    document["nodes"].append({"id": 9, "type": "KSampler", "mode": 0, "inputs": inputs, "widgets_values": saved})
    document["links"].append([5, 1, 0, 9, 0, "*"])

    assert "euler" == converted(document)["9"]["sampler_name"]
