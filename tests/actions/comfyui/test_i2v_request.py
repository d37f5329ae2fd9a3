"""The fields of `comfyui_i2v`: the documented defaults, other spellings, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InvalidRequest
from wanworker.spec import Lora, Size

DOCUMENTED = json.loads((Path(__file__).parents[2] / "documents" / "comfyui_api.json").read_text())


def spec_of(**fields):
    request, warnings = parse(I2vRequest, fields)
    return request.to_spec(warnings), warnings


def test_every_documented_default_is_ours():
    request = I2vRequest()

    assert DOCUMENTED["image_to_video"]["defaults"].items() <= request.model_dump().items()


@pytest.mark.parametrize("alias", I2vRequest.aliases())
def test_every_alias_leads_to_a_field(alias):
    assert I2vRequest.aliases()[alias] in I2vRequest.model_fields


def test_the_plain_request_has_the_documented_steps_and_guidance():
    spec, warnings = spec_of(prompt="x")

    assert (spec.task, spec.steps, spec.guidance, spec.frames, spec.fps) == ("i2v-A14B", 20, 7.0, 81, 16.0)
    assert (spec.size, spec.size_given, spec.loras, warnings) == (Size(832, 480), False, (), [])
    assert spec.vae_model == "wan_2.1_vae.safetensors"


def test_the_fields_of_the_finished_clip_are_those_of_generate():
    spec, warnings = spec_of(loop=True, target_fps="32", upscale_model="4x-UltraSharp", crf=20)

    assert (spec.loop, spec.target_fps, spec.upscale_factor, spec.upscale_model, spec.crf) == (
        True, 32.0, None, "4x-UltraSharp", 20,
    )  # fmt: skip
    assert warnings == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"upscale": 3}, "upscale must be 2, 4 or the name"),
        ({"loop": True, "end_image_url": "https://example.com/a.png"}, "loop makes the first frame the last one"),
        ({"loop": True, "length": 1}, "length"),
    ],
)
def test_what_cannot_be_finished_so_is_refused(fields, said):
    with pytest.raises(InvalidRequest, match=said):
        spec_of(**fields)


def test_a_request_that_finishes_nothing_is_the_request_of_before():
    plain, _ = parse(I2vRequest, {"prompt": "x"})
    same, _ = parse(I2vRequest, {"prompt": "x", "loop": False, "upscale": None})
    other, _ = parse(I2vRequest, {"prompt": "x", "target_fps": 32})

    assert plain.identity() == same.identity()
    assert other.identity() == plain.identity() | {"target_fps": 32.0}


def test_numbers_may_be_text_and_carry_other_names():
    spec, _ = spec_of(num_frames="33", guidance_scale="3.5", num_inference_steps="8", seed="7", shift="5")

    assert (spec.frames, spec.guidance, spec.steps, spec.seed, spec.shift) == (33, 3.5, 8, 7, 5.0)


def test_a_distilled_lora_leaves_the_steps_that_were_not_given_to_its_recipe():
    fast = "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors"
    free, _ = spec_of(use_lora=True, lora_name=fast, lora_strength=0.5)
    unnamed, _ = spec_of(use_lora=True)
    given, _ = spec_of(use_lora=True, steps=20, cfg_scale=7)

    assert free.loras == (Lora(fast, None, 0.5, 0.5),)
    assert (free.steps, free.guidance) == (None, None)
    assert (unnamed.steps, unnamed.guidance) == (None, None)
    assert (given.steps, given.guidance) == (20, 7.0)


@pytest.mark.parametrize("name", ["style.safetensors", "fast_motion.safetensors", "12steps.safetensors"])
def test_another_lora_keeps_the_documented_steps(name):
    spec, _ = spec_of(use_lora=True, lora_name=name)

    assert (spec.steps, spec.guidance) == (20, 7.0)


def test_a_lora_name_without_use_lora_is_ignored_and_said_so():
    spec, warnings = spec_of(lora_name="a.safetensors")

    assert (spec.use_lora, spec.loras) == (False, ())
    assert warnings == ["lora_name was ignored: set use_lora to true."]


def test_use_lora_false_is_obeyed_and_said_so():
    spec, warnings = spec_of(use_lora=False, lora="a.safetensors", loras=[{"high": "b"}])

    assert (spec.use_lora, spec.loras, spec.steps) == (False, (), 20)
    assert warnings == ["lora was ignored: use_lora is false.", "loras was ignored: use_lora is false."]


def test_seed_zero_is_honoured_and_minus_one_is_drawn():
    zero, _ = spec_of(seed=0)
    drawn = {spec_of(seed=-1)[0].seed for _ in range(3)}

    assert zero.seed == 0
    assert len(drawn) == 3
    assert all(0 <= seed < 2**53 for seed in drawn)


def test_the_identity_leaves_out_what_does_not_change_the_video():
    one, _ = parse(I2vRequest, {"prompt": "x", "timeout": 5, "return_video": False, "request_id": "a"})
    two, _ = parse(I2vRequest, {"prompt": "x"})
    other, _ = parse(I2vRequest, {"prompt": "y"})

    assert one.identity() == two.identity() != other.identity()


REFUSED = {
    "height is missing": {"width": 512},
    "width is missing": {"height": 512},
    "needs a file name": {"loras": [{"strength": 1}]},
    "A last image needs at least 5 frames; length is 1": {"end_image_path": "b.png", "length": 1},
    "steps must be between 1 and 200; got 0": {"steps": 0},
    "cfg_scale must be between 0 and 50; got 51": {"cfg_scale": 51},
    "cfg_scale must be a number; got true": {"cfg_scale": True},
    "fps must be between 1 and 120": {"fps": 0},
    "timeout must be between 1 and 86400": {"timeout": 0},
    "prompt must have at most 10000 characters": {"prompt": "x" * 10_001},
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_refused_by_name(words):
    with pytest.raises(InvalidRequest, match=words):
        spec_of(**REFUSED[words])
