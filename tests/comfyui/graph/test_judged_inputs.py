"""
Inputs that grow, that match each other or that lie inside a choice are judged before a graph is queued.

A server 0.33.0 refused each of the graphs here, or queued it and failed in the node (2026-11-29). Only the misspelt
inputs run: without the value.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wanworker.comfyui.graph.object_info import MATCHING, NodeInput, judged
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.graph.slots import with_slots
from wanworker.errors import InvalidRequest

INFO = json.loads((Path(__file__).parents[2] / "data/comfyui/object_info-0.33.0.json").read_text())

RESIZED = {
    "input": ["1", 0],
    "resize_type": "scale dimensions",
    "resize_type.width": 5,
    "resize_type.height": 5,
    "resize_type.crop": "center",
    "scale_method": "area",
}


def graph(class_type: str, **inputs: Any) -> dict[str, Any]:
    sizes = {"width": 64, "height": 64, "batch_size": 1}
    latent = {"9": {"class_type": "EmptyLatentImage", "inputs": sizes}} if ["9", 0] in inputs.values() else {}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**sizes, "color": 0}},
        **latent,
        "3": {"class_type": class_type, "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    }


@pytest.mark.parametrize(
    ("class_type", "inputs", "told"),
    [
        ("BatchImagesNode", {"images.image4": ["1", 0]}, "'images.image0': the required input is missing"),
        ("BatchImagesNode", {"images": ["1", 0]}, "'images.image0': the required input is missing"),
        ("BatchImagesNode", {"images.image1": ["1", 0]}, "'images.image0': the required input is missing"),
        ("BatchImagesNode", {"images.image0": ["1", 0], "images.image1": ["9", 0]}, "'images.image1': takes IMAGE"),
        ("BatchImagesNode", {"images.image0": "a.png"}, "takes a link to an output of type IMAGE; got 'a.png'"),
        ("ImageInvert", {"image": 3}, "takes a link to an output of type IMAGE; got 3"),
        ("ComfySwitchNode", {"switch": True, "on_true": ["1", 0]}, "'on_false': the required input is missing; it "
         "takes a link to an output of any type"),
        ("ResizeImageMaskNode", {**RESIZED, "input": ["9", 0]}, "'input': takes IMAGE,MASK; linked to output 0 of"),
    ],
)  # fmt: skip
def test_what_the_server_refuses_or_fails_on_is_told_before(class_type: str, inputs: dict[str, Any], told: str) -> None:
    (problem,) = check(graph(class_type, **inputs), INFO).problems

    assert told in str(problem)


@pytest.mark.parametrize(
    ("class_type", "inputs"),
    [
        ("BatchImagesNode", {"images.image0": ["1", 0], "images.image7": ["1", 0]}),
        ("ResizeImageMaskNode", {**RESIZED, "resize_type": "scale width"}),
        ("ResizeImageMaskNode", RESIZED),
        ("ImageScaleBy", {"image": ["1", 0], "upscale_method": "area", "scale_by": 2}),
    ],
)
def test_what_the_server_takes_passes_without_a_word(class_type: str, inputs: dict[str, Any]) -> None:
    found = check(graph(class_type, **inputs), INFO)

    assert ((), ()) == (found.problems, found.remarks)


def test_a_misspelt_input_inside_a_choice_is_told_with_the_nearest() -> None:
    inputs = {**RESIZED, "resize_type.widht": 7}

    (remark,) = check(graph("ResizeImageMaskNode", **inputs), INFO).remarks

    assert remark.endswith("does not list the input 'resize_type.widht'; nearest: 'resize_type.width'")


@pytest.mark.parametrize("template", [None, {}, {"allowed_types": None}, {"min": "1", "max": 2}, {"min": 1, "max": 2}])
@pytest.mark.parametrize("kind", [MATCHING, "COMFY_AUTOGROW_V3"])
def test_a_template_that_cannot_be_read_judges_nothing(kind: str, template: Any) -> None:
    item = NodeInput("values", kind, required=True, options={"template": template})

    assert [one for one in judged([item], {}) if not one.is_dynamic] == []


LONGER = {"3.resize_type": "scale longer dimension", "3.resize_type.longer_size": 64}


@pytest.mark.parametrize("slots", [LONGER, dict(reversed(LONGER.items()))])
def test_slots_inside_a_choice_are_set_with_the_choice_in_any_order(slots: dict[str, Any]) -> None:
    inputs = with_slots(graph("ResizeImageMaskNode", **RESIZED), slots, INFO).graph["3"]["inputs"]

    assert ("scale longer dimension", 64) == (inputs["resize_type"], inputs["resize_type.longer_size"])


def test_a_slot_of_another_choice_is_refused_with_the_choice_to_set() -> None:
    with pytest.raises(InvalidRequest) as caught:
        with_slots(graph("ResizeImageMaskNode", **RESIZED), {"3.resize_type.longer_size": 64}, INFO)

    told = "is no input of the choice 'scale dimensions' that resize_type has; set resize_type too"
    assert told in str(caught.value)


def test_a_slot_two_choices_deep_is_refused_with_the_nearest_choice() -> None:
    made = graph("SaveVideo", video=["1", 0], filename_prefix="v", format="mp4")
    crf = "3.format.codec.encoding.crf"
    with pytest.raises(InvalidRequest, match=r"is no input of format\.codec, which has no value; set"):
        with_slots(made, {crf: 5}, INFO)

    deep = {"3.format.codec": "h264", "3.format.codec.encoding": "re-encode", crf: 5}
    assert 5 == with_slots(made, deep, INFO).graph["3"]["inputs"]["format.codec.encoding.crf"]
