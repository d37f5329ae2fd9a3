"""Slots are found by title or id and input, and set only where a value has an effect."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.comfyui_rules import recorded_object_info
from wanworker.comfyui.graph.slots import Filled, slots_of, with_slots
from wanworker.errors import InvalidRequest

INFO = recorded_object_info()


def node(class_type: str, title: str | None = None, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, **({"_meta": {"title": title}} if title else {})}


GRAPH = {
    "1": node("EmptyImage", "Canvas", width=64, height=64, batch_size=4, color=["7", 0]),
    "2": node("EmptyImage", "Wan 2.2 canvas", width=8, height=8),
    "3": node("CreateVideo", images=["1", 0], fps=16.0),
    "4": node("SaveVideo", "Save", video=["3", 0], filename_prefix="a", format="auto", codec="auto"),
    "5:6": node("LoadImage", "Frame", image="in.png"),
    "7": node("PrimitiveInt", "Frame", value=3),
    "8": node("PrimitiveInt", "Save", value=4),
    "9": node("PrimitiveBoolean", "Switch", value=False),
}


def filled(**slots: Any) -> Filled:
    return with_slots(GRAPH, slots, INFO)


@pytest.mark.parametrize(
    ("key", "place", "value"),
    [
        ("Canvas.width", ("1", "width"), 128),
        ("1.width", ("1", "width"), 128),
        ("Wan 2.2 canvas.height", ("2", "height"), 16),
        (" Canvas .width", ("1", "width"), 128),
        ("5:6.image", ("5:6", "image"), "other.png"),
        ("Frame.image", ("5:6", "image"), "other.png"),
        ("CreateVideo.fps", ("3", "fps"), 24),
        ("2.color", ("2", "color"), 7),
        ("Switch.value", ("9", "value"), True),
        ("Switch.value", ("9", "value"), "false"),
        ("4.format", ("4", "format"), "mp4"),
    ],
    ids=str,
)
def test_a_slot_is_set_by_title_or_id(key: str, place: tuple[str, str], value: object) -> None:
    found = filled(**{key: value})

    own, name = place
    assert value == found.graph[own]["inputs"][name]
    assert ({place}, ()) == (found.places, found.remarks)
    others = {other: body for other, body in found.graph.items() if other != own}
    assert {other: body for other, body in GRAPH.items() if other != own} == others


def test_the_callers_graph_stays_as_it_was() -> None:
    filled(**{"Canvas.width": 1})

    assert 64 == GRAPH["1"]["inputs"]["width"]


def test_a_value_takes_the_place_of_a_link_and_that_is_told() -> None:
    found = filled(**{"Canvas.color": 5})

    assert 5 == found.graph["1"]["inputs"]["color"]
    assert ("node 1 (Canvas): the slot's value of color takes the place of its link",) == found.remarks


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ({"Canvs.width": 1}, "slot 'Canvs.width' names no node; nearest: 'Canvas'"),
        ({"17.width": 1}, "slot '17.width' names no node; nearest: '7'"),
        ({"Canvas.widht": 1}, "slot 'Canvas.widht' names no input of node 1 (Canvas); nearest: 'width'"),
        ({"Canvas.qqq": 1}, "names no input of node 1 (Canvas); it has: 'width', 'height'"),
        ({"Canvas": 1}, "slot 'Canvas' has no dot: write TITLE.INPUT or ID.INPUT"),
        ({"3.images": 1}, "slot '3.images' takes a link to an output of type IMAGE, not a value"),
        ({"Canvas.width": None}, "takes a value; got null"),
        ({"Canvas.width": ["7", 0]}, 'got a list; a list value is written {"__value__": [...]}'),
        ({"Switch.value": "no"}, "takes true or false; got 'no'"),
        ({"." * 100_000: 1}, "is too long: a slot has at most 300 characters; use the node's id"),
        ({"Canvas.width": 1, "1.width": 2}, "slot '1.width' is the same input as 'Canvas.width'"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_slot_that_is_not_there_is_refused_with_the_nearest(slots: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        with_slots(GRAPH, slots, INFO)

    assert said in str(refused.value)
    assert "slots" == refused.value.field


def test_every_wrong_slot_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest, match=r"'Canvs\.width'.*'Sve\.codec'"):
        filled(**{"Canvs.width": 1, "Save.codec": "auto", "Sve.codec": "h264"})


def test_a_title_of_several_nodes_with_that_input_is_refused_with_their_ids() -> None:
    graph = {**GRAPH, "10": node("EmptyImage", "Canvas", width=1)}

    with pytest.raises(InvalidRequest, match=r"names 2 inputs; write one of '1\.width', '10\.width'"):
        with_slots(graph, {"Canvas.width": 9}, INFO)


def test_of_many_inputs_of_one_key_a_few_are_named() -> None:
    graph = {str(at): node("EmptyImage", "Canvas", width=1) for at in range(50)}

    with pytest.raises(InvalidRequest, match=r"names 50 inputs; write one of '0\.width', .*'7\.width' and 42 more\."):
        with_slots(graph, {"Canvas.width": 9}, INFO)


def test_a_node_with_a_title_of_dots_is_listed_by_its_id() -> None:
    assert ["1.a"] == [slot.key for slot in slots_of({"1": node("Lost", "." * 100_000, a=1)}, {})]


def test_a_class_that_the_server_lacks_has_the_inputs_of_the_graph() -> None:
    graph = {"1": node("Lost", "Lost", a=1, b=["2", 0])}

    assert 5 == with_slots(graph, {"Lost.a": 5}, INFO).graph["1"]["inputs"]["a"]
    with pytest.raises(InvalidRequest, match="takes a link to an output, not a value"):
        with_slots(graph, {"Lost.b": 5}, INFO)


def test_a_title_that_is_none_does_no_harm() -> None:
    graph = {"1": {"class_type": "EmptyImage", "inputs": {"width": 1}, "_meta": "x"}}

    assert 2 == with_slots(graph, {"EmptyImage.width": 2}, {}).graph["1"]["inputs"]["width"]


def test_every_value_is_listed_with_the_key_that_sets_it() -> None:
    listed = slots_of(GRAPH, INFO)

    for slot in listed:
        assert {(slot.node, slot.input)} == with_slots(GRAPH, {slot.key: slot.default}, INFO).places
    told = {slot.key: (slot.title, slot.node, slot.input, slot.type, slot.default) for slot in listed}
    assert ("Canvas", "1", "width", "INT", 64) == told["Canvas.width"]
    assert ("Save", "4", "codec", "COMBO", "auto") == told["Save.codec"]
    assert not any(slot.input in {"images", "video", "color"} for slot in listed)


def test_without_the_server_the_values_tell_the_types() -> None:
    told = {slot.key: slot.type for slot in slots_of(GRAPH, {})}

    assert ("INT", "FLOAT", "STRING", "BOOLEAN") == (
        told["Canvas.width"], told["CreateVideo.fps"], told["Save.codec"], told["Switch.value"],
    )  # fmt: skip
    assert "*" == slots_of({"1": node("A", a={"b": 1})}, {})[0].type


def test_of_two_nodes_of_one_title_the_list_names_the_ids() -> None:
    graph = {"1": node("EmptyImage", "Same", width=1), "2": node("EmptyImage", "Same", width=2)}

    assert ["1.width", "2.width"] == [slot.key for slot in slots_of(graph, INFO)]
