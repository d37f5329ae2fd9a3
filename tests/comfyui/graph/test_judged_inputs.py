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
