"""Saved widget values get their names, in spite of what the browser keeps in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wanworker.comfyui.graph.object_info import NodeClass, read_class
from wanworker.comfyui.ui_workflow._document import UiNode
from wanworker.comfyui.ui_workflow._widgets import named_values

INFO = json.loads((Path(__file__).parents[2] / "data/comfyui/object_info-0.10.0.json").read_text())

RESIZE = {
    "input": {
        "required": {
            "resize_type": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "dimensions", "inputs": {"required": {"width": ["INT"], "height": ["INT"]}}},
                        {"key": "multiplier", "inputs": {"required": {"by": ["FLOAT"]}}},
                    ]
                },
            ],
            "method": [["area", "lanczos"]],
        }
    }
}


def known(name: str) -> NodeClass:
    return read_class(name, INFO[name])


def made(**inputs: Any) -> NodeClass:
    return read_class("Made", {"input": {"required": inputs}, "input_order": {"required": list(inputs)}})


def node(*values: Any, **more: Any) -> UiNode:
    return UiNode("1", "Any", "", 0, values=values, **more)


def test_values_follow_the_input_order_and_the_seeds_control_is_skipped() -> None:
    named = named_values(node(7, "randomize", 20, 8.0, "euler", "simple", 1.0), known("KSampler"))

    expected = {"seed": 7, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    assert (expected, (), ()) == (named.values, named.missing, named.left_over)


def test_the_tick_box_that_the_first_frontends_kept_behind_a_seed_is_skipped() -> None:
    named = named_values(node(7, True, 20, 8, "euler", "normal", 1), known("KSampler"))

    assert (20, "normal", ()) == (named.values["steps"], named.values["scheduler"], named.left_over)


def test_a_seed_without_a_control_takes_one_place() -> None:
    named = named_values(node(7, 20, 8, "euler", "normal", 1), known("KSampler"))

    assert (7, 20, ()) == (named.values["seed"], named.values["steps"], named.missing)


def test_a_control_behind_a_number_that_no_longer_asks_for_one_is_skipped() -> None:
    named = named_values(node(7, "fixed", 2.5), made(count=["INT"], strength=["FLOAT"]))

    assert {"count": 7, "strength": 2.5} == named.values


def test_a_control_word_that_the_next_widget_can_hold_is_its_value() -> None:
    named = named_values(node(7, "fixed"), made(count=["INT"], mode=[["fixed", "free"]]))

    assert {"count": 7, "mode": "fixed"} == named.values


def test_a_combo_with_a_control_has_a_filter_behind_it() -> None:
    its_class = made(model=[["a", "b"], {"control_after_generate": True}], strength=["FLOAT"])

    named = named_values(node("a", "increment", "", 0.5), its_class)

    assert {"model": "a", "strength": 0.5} == named.values


@pytest.mark.parametrize(
    ("name", "values"),
    [("LoadImage", ("a.png", "image")), ("LoadAudio", ("a.png", None, None)), ("LoadVideo", ("a.png", "image"))],
)
def test_upload_buttons_and_players_are_skipped(name: str, values: tuple[Any, ...]) -> None:
    named = named_values(node(*values), known(name))

    assert (["a.png"], ()) == (list(named.values.values()), named.left_over)


def test_an_upload_button_between_widgets_is_skipped() -> None:
    named = named_values(node("a.png", "image", 3), made(image=[["x.png"], {"image_upload": True}], count=["INT"]))

    assert {"image": "a.png", "count": 3} == named.values


def test_inputs_with_force_input_have_no_place() -> None:
    its_class = made(text=["STRING", {"forceInput": True}], count=["INT"], seed=["INT"])

    assert {"count": 3, "seed": 5} == named_values(node(3, 5, "fixed"), its_class).values


def test_the_dummies_that_frontends_before_1_16_saved_for_force_input_are_dropped() -> None:
    its_class = made(text=["STRING", {"forceInput": True}], count=["INT"], seed=["INT"])

    assert {"count": 3, "seed": 5} == named_values(node("", 3, 5, "fixed"), its_class).values


def test_a_dynamic_combo_is_followed_by_the_widgets_of_its_choice() -> None:
    its_class = read_class("Resize", RESIZE)

    by_size = named_values(node("dimensions", 640, 480, "area"), its_class)
    by_factor = named_values(node("multiplier", 2.0, "area"), its_class)

    sized = {"resize_type": "dimensions", "resize_type.width": 640, "resize_type.height": 480, "method": "area"}
    assert sized == by_size.values
    assert {"resize_type": "multiplier", "resize_type.by": 2.0, "method": "area"} == by_factor.values


def test_a_widget_that_the_file_does_not_know_yet_is_missing_and_one_it_still_has_is_left_over() -> None:
    lacking = named_values(node("clip"), known("SaveVideo"))
    surplus = named_values(node("clip", "auto", "auto", "crf 20"), known("SaveVideo"))

    assert ["format", "codec"] == [item.name for item in lacking.missing]
    assert ("crf 20",) == surplus.left_over


def test_what_previews_save_of_their_own_is_not_left_over() -> None:
    surplus = named_values(node("clip", "auto", "auto", "", None, {"before": "/view?x"}), known("SaveVideo"))

    assert () == surplus.left_over


def test_values_by_name_help_where_the_places_do_not_fit_the_servers_class() -> None:
    by_name = {"filename_prefix": "clip", "quality": 5, "format": "mp4", "codec": "h264", "upload": "image"}

    named = named_values(node("clip", 5, "mp4", "h264", named_values=by_name), known("SaveVideo"))

    assert {"filename_prefix": "clip", "format": "mp4", "codec": "h264"} == named.values


def test_places_win_over_names_where_they_fit_as_in_the_browser() -> None:
    named = named_values(
        node("new.safetensors", "default", named_values={"unet_name": "old.safetensors", "weight_dtype": "default"}),
        known("UNETLoader"),
    )

    assert "new.safetensors" == named.values["unet_name"]


def test_a_pack_that_saves_by_name_is_taken_at_its_word_but_for_its_player() -> None:
    values = {"frame_rate": 16, "format": "video/h264-mp4", "crf": 19, "videopreview": {"hidden": False}}

    named = named_values(UiNode("1", "VHS", "", 0, values=values), made(frame_rate=["FLOAT"], format=[["image/gif"]]))

    assert {"frame_rate": 16, "format": "video/h264-mp4", "crf": 19} == named.values


def test_the_rows_of_rgthrees_lora_loader_are_numbered() -> None:
    row = {"on": True, "lora": "high.safetensors", "strength": 1, "strengthTwo": None}
    its_class = read_class("Power Lora Loader (rgthree)", {"input": {"required": {"model": ["MODEL"]}}})

    named = named_values(node({}, {"type": "PowerLoraLoaderHeaderWidget"}, row, {}, ""), its_class)

    assert {"lora_1": row} == named.values


def test_a_comparison_of_the_browsers_own_is_sent_empty_as_it_does() -> None:
    assert {"view": ["", ""]} == named_values(node(), made(view=["IMAGECOMPARE"])).values


def test_a_box_is_followed_by_its_four_sides_once_more() -> None:
    its_class = made(box=["BOUNDING_BOX", {"socketless": True}], count=["INT"])
    saved = {"x": 1, "y": 2, "width": 3, "height": 4}

    assert {"box": saved, "count": 7} == named_values(node(saved, 1, 2, 3, 4, 7), its_class).values
    assert {"box": saved, "count": 7} == named_values(node(saved, 7), its_class).values


@pytest.mark.parametrize(
    ("spec", "is_drawn"),
    [
        (["NEW_EDITOR", {"socketless": True}], True),
        (["NEW_EDITOR", {"default": {"a": 1}}], True),
        (["NEW_EDITOR", {"default": {"a": 1}, "forceInput": True}], False),
        (["NEW_EDITOR", {}], False),
        (["FLOAT,INT", {"widgetType": "FLOAT"}], True),
        (["*", {"default": 1}], False),
        (["COMFY_AUTOGROW_V3", {"default": 1}], False),
        (["MODEL", {"default": None}], False),
    ],
)
def test_an_editor_is_known_by_what_its_class_says_of_it(spec: list[Any], is_drawn: bool) -> None:
    named = named_values(node("mine", 7), made(editor=spec, count=["INT"]))

    assert is_drawn == ("editor" in named.values)


def test_an_editor_without_a_saved_value_has_its_default() -> None:
    curve = {"points": [[0, 0], [1, 1]]}
    its_class = made(curve=["CURVE", {"default": curve}], color=["COLOR", {}])

    assert {"curve": curve, "color": ""} == named_values(node(), its_class).values


def test_a_dynamic_combo_without_a_value_takes_no_places_for_what_is_inside_its_first_choice() -> None:
    named = named_values(node(None, "lanczos"), read_class("Resize", RESIZE))

    assert {"method": "lanczos"} == named.values
    assert ["resize_type", "resize_type.width", "resize_type.height"] == [item.name for item in named.missing]
