"""POST /generate takes the names that the other doors have for its fields; what it lacks gets no misleading hint."""

import json

import pytest

from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InvalidRequest
from wanworker.rest.schemas.generate import GenerateBody, generate_fields, with_engine_defaults
from wanworker.spec import Lora
from wanworker.videos.request import VideoBody

MODELS = (GenerateRequest, I2vRequest, GenerateBody, VideoBody)


def meant(**fields):
    """Return the request of the action that a body becomes, and all that is said of the body."""
    body, remarks = parse(GenerateBody, {"prompt": "a star", **fields})
    return parse(GenerateRequest, json.loads(json.dumps(generate_fields(body, body.resolved(remarks)))))[0], remarks


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        ("length", 33, ["frame_num", "num_frames", "frames"]),
        ("steps", 5, ["sample_steps", "num_inference_steps"]),
        ("cfg", 3.5, ["sample_guide_scale", "guidance_scale", "cfg_scale"]),
        ("image", "eA==", ["image_base64", "reference_image_base64"]),
        ("image_url", "https://a.example/a.png", ["reference_image_url"]),
        ("diffusion_model", "a", ["model"]),
        ("lora_name", "a", ["lora"]),
    ],
)
def test_the_other_doors_names_mean_the_same(field, value, names):
    plain, _ = parse(GenerateBody, {"prompt": "x", field: value})
    for name in names:
        body, warnings = parse(GenerateBody, {"prompt": "x", name: value})
        assert ([], plain.model_dump(), plain.left_out()) == (warnings, body.model_dump(), body.left_out())
    if value != "eA==":
        other = value + 4 if isinstance(value, int | float) else f"{value}b"
        with pytest.raises(InvalidRequest, match=f"^{field} and {names[0]} mean the same, but their values differ"):
            parse(GenerateBody, {"prompt": "x", field: value, names[0]: other})


def test_every_name_of_generate_for_a_field_that_is_here_is_taken():
    both = GenerateBody.model_fields.keys() & GenerateRequest.model_fields.keys()
    others = {name for name, field in GenerateRequest.aliases().items() if field in both}

    assert others <= GenerateBody.aliases().keys() | GenerateBody.model_fields.keys()


@pytest.mark.parametrize("size", ["832x480", " 832*480 ", "832\u00d7480"])
def test_a_size_is_width_and_height(size):
    request, remarks = meant(size=size)
    body, _ = parse(GenerateBody, {"prompt": "x", "size": size})

    assert ("832*480", []) == (request.size, remarks)
    assert (832, 480) == tuple(body.resolved([])[side] for side in ("width", "height"))
    assert "832*480" == meant(size=size, width=832, height=480, aspect_ratio="16:9", image="eA==")[0].size
    assert meant(size="")[0].size == meant()[0].size == "1280*704"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "832x480", "width": 640}, "size and width disagree: 832*480 is not 640 pixels."),
        ({"size": "832x480", "height": 640}, "size and height disagree: 832*480 is not 640 pixels."),
        ({"size": "832x480", "aspect_ratio": "1:1"}, "size and aspect_ratio disagree: 832*480 is not 1:1."),
        ({"size": "large"}, "size must look like '1280*720'; got 'large'."),
        ({"num_frames": 33, "seconds": 9}, "seconds and num_frames disagree: 9 (217 frames at 24 fps) is not 33."),
        ({"lora": "https://a.example/b"}, "lora: a LoRA is named by its file in the models folder, not by a URL; got "
         "'https://a.example/b'."),
    ],
)  # fmt: skip
def test_what_disagrees_is_told_by_the_callers_own_names(fields, message):
    with pytest.raises(InvalidRequest) as caught:
        meant(**fields)

    assert message == str(caught.value)


def test_a_lora_by_name_stands_beside_the_list_and_beside_fastwans_own():
    request, remarks = meant(lora_name="a", lora_scale=0.5, loras=["b"])
    body, _ = parse(GenerateBody, {"prompt": "x", "lora": "a"})
    fields, _ = with_engine_defaults(generate_fields(body, body.resolved([])), [], is_fastwan=True)

    assert ([], (Lora("b", None), Lora("a", None, 0.5, 0.5))) == (remarks, request.checked_loras())
    assert "a" == parse(GenerateRequest, fields)[0].checked_loras()[0].high
    assert () == meant(lora_name="")[0].checked_loras()
    assert ["lora_weight was ignored: it is the strength of lora_name, which is missing."] == meant(lora_weight=2)[1]


def hint_for(model, name):
    _, warnings = parse(model, {"prompt": "x", name: None})
    [warning] = warnings
    return warning.partition("; did you mean ")[2].strip("?'")


@pytest.mark.parametrize("model", MODELS)
def test_no_other_doors_name_is_taken_for_a_misspelling(model):
    everywhere = {name for other in MODELS for name in (*other.model_fields, *other.aliases())}
    strange = everywhere - model.model_fields.keys() - model.aliases().keys()
    hints = {name: hint for name in sorted(strange) if (hint := hint_for(model, name))}

    same = {("image", "image_url"), ("image", "image_reference"), ("loras", "lora")}
    assert set() == {*hints.items()} - same - {("audio", "audio_url")}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("return_video", ""), ("cfg_scales", "cfg_scale"), ("promt", "prompt"), ("negative", "negative_prompt"),
        ("negativePrompt", "negative_prompt"), ("widht", "width"), ("num_framse", "num_frames"), ("x", ""),
    ],
)  # fmt: skip
def test_a_hint_is_a_name_that_is_near(name, hint):
    assert hint == hint_for(GenerateBody, name)
