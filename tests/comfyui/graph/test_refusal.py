"""The recorded refusals of a real server become readable."""

from __future__ import annotations

import pytest

from fakes.comfyui_recordings import refusals
from fakes.comfyui_rules import recorded_object_info
from wanworker.comfyui.graph.refusal import problems_in, refused
from wanworker.errors import GraphRefused, ModelNotFound

INFO = recorded_object_info()
CASES = {name: case["body"] for name, case in refusals().items() if case["status"] == 400}


@pytest.mark.parametrize("name", CASES)
def test_every_recorded_refusal_becomes_an_error_with_a_reason(name: str) -> None:
    error = refused(CASES[name], INFO)

    assert isinstance(error, GraphRefused | ModelNotFound)
    for leak in ("Traceback", "execution.py", "None:"):
        assert leak not in str(error)
    assert 40 < len(str(error)) + len(error.hint)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no output node", "no output node: add one that saves"),
        ("unknown class_type", "node 87 (NoSuchNode): the server has no node class 'NoSuchNode'"),
        ("required input missing", "node 87 (VAEDecode), input 'vae': the required input is missing"),
        ("below min", "node 98 (WanImageToVideo), input 'width': Value 8 smaller than min of 16"),
        ("seed 2**64", "node 86 (KSamplerAdvanced), input 'noise_seed': Value 18446744073709551616 bigger than max"),
        ("int from string", "Failed to convert an input value to a INT value; got 'abc'"),
        ("LoadImage missing file", "node 97 (LoadImage), input 'image': Invalid image file: missing.png"),
        ("link to missing node", "linked to node '999', which is not in the graph"),
        ("link slot out of range", "the linked node 87 is linked to an output that does not exist"),
        ("inputs key missing", "the linked node 87 has no inputs"),
        ("link of length 3", '["85", 0, 1] is not a link'),
        ("wrong link type", "received_type(VAE) mismatch input_type(LATENT)"),
        ("cycle", "a circle of links"),
        ("V3 combo bad value (SaveVideo.format=avi)", "'avi' is none of 'auto', 'mp4'"),
    ],
)
def test_a_refusal_names_node_input_and_value(name: str, said: str) -> None:
    assert said in str(refused(CASES[name], INFO))


def test_a_missing_model_is_the_documented_error_with_the_nearest_files() -> None:
    body = CASES["model not in list"]
    body["node_errors"]["95"]["errors"][0]["extra_info"]["received_value"] = "wan2.2_i2v_high_noise.safetensors"

    error = refused(body, models_place="/workspace/models/")

    assert isinstance(error, ModelNotFound)
    assert "Model 'wan2.2_i2v_high_noise.safetensors' not found in /workspace/models/" == str(error)
    assert "'wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors'" in error.hint


def test_a_list_that_the_server_cut_short_is_taken_from_object_info() -> None:
    error = {
        "type": "value_not_in_list", "message": "Value not in list", "details": "sampler_name: 'eular' not in (list)",
        "extra_info": {"input_name": "sampler_name", "input_config": None, "received_value": "eular"},
    }  # fmt: skip
    body = {"error": {}, "node_errors": {"3": {"errors": [error], "class_type": "KSampler"}}}

    (problem,) = problems_in(body, INFO)
    (blind,) = problems_in(body, {})

    assert "euler" == problem.nearest()[0]
    assert "'eular' is not in the list" == blind.text


@pytest.mark.parametrize("body", [None, "text", [], {}, {"error": "no"}, {"node_errors": {"1": None}}, {"error": []}])
def test_a_refusal_without_reasons_says_so(body: object) -> None:
    assert "refused it without a reason" in str(refused(body))


def test_an_unknown_kind_of_error_keeps_the_servers_words() -> None:
    error = {"type": "new_kind", "message": "Something new", "details": "about x"}

    said = str(refused({"node_errors": {"3": {"errors": [error], "class_type": "KSampler"}}}))

    assert "node 3 (KSampler): Something new: about x" in said
