"""object_info in both of its spellings, and names that are nearly right."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.comfyui_rules import recorded_object_info
from wanworker.comfyui.graph.object_info import NodeClass, choices_of, nearest, read_class, types_fit

INFO = recorded_object_info()
MODELS = [
    "FastWan2.2-TI2V-5B-FullAttn_bf16.safetensors",
    "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
    "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors",
    "sub/wan2.2_ti2v_5B_fp16.safetensors",
]


def node_class(name: str) -> NodeClass:
    return read_class(name, INFO[name])


def test_a_choice_is_read_in_both_spellings() -> None:
    old, new = node_class("UNETLoader").inputs["weight_dtype"], node_class("SaveVideo").inputs["format"]

    assert ("COMBO", "default") == (old.type, old.choices and old.choices[0])
    assert ("COMBO", ("auto", "mp4")) == (new.type, new.choices)


def chosen(**inputs: list[Any]) -> list[dict[str, Any]]:
    """Return the choices of a class with these inputs."""
    read = read_class("Made", {"input": {"required": inputs}})
    return [each.to_json() for each in choices_of(read.inputs.values())]


def test_the_choices_inside_a_choice_say_when_they_hold() -> None:
    codec = {"codec": ["COMBO", {"options": ["h264", "av1"]}], "crf": ["FLOAT", {}]}
    options = [{"key": "auto", "inputs": {}}, {"key": "mp4", "inputs": {"required": codec}}]

    assert [
        {"input": "format", "choices": ["auto", "mp4"]},
        {"input": "format.codec", "choices": ["h264", "av1"], "when": {"format": "mp4"}},
    ] == chosen(format=["COMFY_DYNAMICCOMBO_V3", {"options": options}])


def test_only_what_the_server_lists_has_choices() -> None:
    upload = {"input": "image", "choices": ["a.png"], "others": True}

    assert [upload, {"input": "ckpt_name", "choices": []}, {"input": "times", "choices": [1, 2, 4]}] == chosen(
        image=[["a.png"], {"image_upload": True}],
        ckpt_name=[[], {}],
        times=["COMBO", {"options": [1, 2, 4]}],
        fetched=["COMBO", {"options": [], "remote": {"route": "/models"}}],
        text=["STRING", {}],
    )


def test_inputs_come_in_the_servers_order() -> None:
    assert ["video", "filename_prefix", "format", "codec"] == list(node_class("SaveVideo").inputs)


def test_every_recorded_class_is_read() -> None:
    assert len(INFO) == sum(bool(node_class(name).name) for name in INFO)
    assert node_class("SaveVideo").is_output
    assert not node_class("LoadImage").is_output


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("UNETLoader", "weight_dtype", "default"),
        ("UNETLoader", "unet_name", None),
        ("LoadImage", "image", None),
        ("SaveVideo", "codec", "auto"),
        ("KSampler", "steps", 20),
        ("CLIPTextEncode", "text", None),
    ],
)
def test_a_default_is_never_somebodys_file(name: str, key: str, expected: object) -> None:
    assert expected == node_class(name).inputs[key].default


@pytest.mark.parametrize("info", [{}, {"input": None}, {"input": {"required": {"a": 3, "b": [], "c": ["COMBO"]}}}])
def test_an_odd_class_is_read_as_far_as_it_goes(info: dict[str, object]) -> None:
    assert () == read_class("Odd", info).outputs


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        ("IMAGE", "IMAGE", True), ("IMAGE", "LATENT", False), ("*", "LATENT", True), ("IMAGE", "*", True),
        ("INT", "FLOAT,INT", True), ("A,B", "B", True), (["a", "b"], "COMBO", True), (["a"], "INT", False),
        ("COMFY_MATCHTYPE_V3", "IMAGE", True), ("COMBO", "COMBO", True),
    ],
)  # fmt: skip
def test_link_types_fit_as_the_server_judges(given: object, wanted: str, expected: bool) -> None:
    assert expected == types_fit(given, wanted)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("wan2.2_ti2v_5B_fp16.safetensors", "sub/wan2.2_ti2v_5B_fp16.safetensors"),
        ("other\\WAN2.2_I2V_HIGH_noise_14B_fp8_scaled", "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors"),
        ("wan2.2_i2v_low_noise_14B_fp16.safetensors", "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors"),
        ("FastWan", "FastWan2.2-TI2V-5B-FullAttn_bf16.safetensors"),
    ],
)
def test_the_nearest_choice_comes_first(value: str, expected: str) -> None:
    assert expected == nearest(value, MODELS)[0]


def test_nothing_is_near_to_nonsense() -> None:
    assert () == nearest("zzz", MODELS)
    assert () == nearest("", MODELS)
