"""A size and a length in the words of other services, in every request that describes a video."""

import pytest

from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.generate.render_request import job_request, render_request
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InvalidRequest
from wanworker.jobs.model import spec_hash
from wanworker.rest.schemas.generate import GenerateBody

I2V = {"image_url": "https://example.com/a.png"}


def generate(**fields):
    """Return (size, whether its shape is asked for, frames, warnings) of a t2v request."""
    request, warnings = parse(GenerateRequest, {"task": "t2v-A14B", "prompt": "a cat", **fields})
    task = request.checked_task()
    by_picture = task.takes_image and request.source("reference_image") is not None
    size, is_given = request.shape(
        default=task.size, multiple=task.size_multiple, by_picture=by_picture, warnings=warnings
    )
    return str(size), is_given, request.checked_frames(task, warnings), warnings


def i2v(**fields):
    request, warnings = parse(I2vRequest, {**I2V, **fields})
    spec = request.to_spec(warnings)
    return str(spec.size), spec.size_given, spec.frames, warnings


def rest(**fields):
    body, warnings = parse(GenerateBody, {"prompt": "a cat", **fields})
    resolved = body.resolved(warnings)
    return resolved["width"], resolved["height"], resolved["length"], warnings


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"resolution": "480p"}, "832*480"),
        ({"resolution": "480P"}, "832*480"),
        ({"resolution": 720}, "1280*720"),
        ({"resolution": "1080p"}, "1920*1088"),
        ({"resolution": "720p", "aspect_ratio": "9:16"}, "720*1280"),
        ({"resolution": "480p", "aspect_ratio": "16:9"}, "832*480"),
        ({"resolution": "480p", "aspect_ratio": "1:1"}, "640*640"),
        ({"aspect_ratio": "4:3"}, "1104*832"),
        ({"resolution": "720p", "task": "ti2v-5B"}, "1280*704"),
        ({"resolution": "720p", "aspect_ratio": "9:16", "task": "ti2v-5B"}, "704*1280"),
    ],
)
def test_a_resolution_is_an_area_and_an_aspect_ratio_a_shape(fields, size):
    assert generate(**fields)[:2] == (size, True)


def test_the_pictures_shape_is_taken_at_the_area_of_the_resolution():
    for shape in ({}, {"aspect_ratio": "auto"}):
        assert generate(task="i2v-A14B", **I2V, resolution="480p", **shape)[:2] == ("832*480", False)
    assert i2v(resolution="720p")[:2] == ("1280*720", False)
    assert i2v(resolution="720p", aspect_ratio="1:1")[:2] == ("960*960", True)
    assert rest(resolution="480p", image_url="https://example.com/a.png")[:2] == (None, None)
    assert generate(aspect_ratio="auto")[:2] == ("1280*720", False)


@pytest.mark.parametrize(
    ("fields", "frames", "fps"),
    [({"seconds": 5}, 81, 16), ({"duration": "2.5"}, 41, 16), ({"seconds": 5, "fps": 24}, 121, 24)],
)
def test_seconds_become_the_nearest_4n_1_frames_and_that_is_said(fields, frames, fps):
    name = next(iter(fields))
    line = f"{name} {float(fields[name]):g} became {frames} frames at {fps} fps ({frames / fps:.2f} s): "

    assert generate(**fields)[2:] == (frames, [f"{line}Wan renders 4n+1 frames."])
    assert i2v(**fields)[2:] == (frames, [f"{line}Wan renders 4n+1 frames."])


def test_seconds_that_are_4n_1_frames_need_no_word():
    assert generate(seconds=17 / 16)[2:] == (17, [])
    assert rest(seconds=5, fps=24) == (
        1280, 704, 121, ["seconds 5 became 121 frames at 24 fps (5.04 s): Wan renders 4n+1 frames."]
    )  # fmt: skip


def test_too_many_seconds_are_refused_by_their_name():
    with pytest.raises(InvalidRequest, match=r"^duration 100 at 16 fps is 1,600 frames; at most 1,201") as caught:
        generate(duration=100)
    assert caught.value.field == "duration"


@pytest.mark.parametrize("door", [generate, i2v])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seconds": 5, "num_frames": 17}, "seconds and num_frames disagree: 5"),
        ({"duration": 5, "frames": 17}, "duration and frames disagree: 5"),
        ({"size": "1280*720", "resolution": "480p"}, "size and resolution disagree: 1280*720 is not 480p"),
        ({"width": 832, "height": 480, "resolution": "720p"}, "width and height and resolution disagree: 832*480"),
        ({"size": "1280*720", "aspect_ratio": "9:16"}, "size and aspect_ratio disagree: 1280*720 is not 9:16"),
        ({"size": "832*480", "width": 640}, "size and width disagree: 832*480 is not 640 pixels"),
        ({"seconds": 5, "duration": 6}, "seconds and duration mean the same, but their values differ"),
        ({"num_inference_steps": 5, "sample_steps": 6}, "mean the same, but their values differ"),
    ],
)
def test_two_fields_that_say_different_things_are_refused_with_both_names(door, fields, words):
    with pytest.raises(InvalidRequest) as caught:
        door(**fields)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"seconds": 5, "num_frames": 81}, "81"),
        ({"size": "1280x720", "resolution": "720p", "aspect_ratio": "16:9"}, "1280*720"),
        ({"size": "832*480", "width": 832, "height": 480}, "832*480"),
        ({"width": 832, "height": 480, "resolution": "480p"}, "832*480"),
    ],
)
def test_two_fields_that_agree_are_fine(fields, expected):
    assert expected in map(str, generate(**fields))
    assert expected in map(str, i2v(**fields))


def test_rest_refuses_what_disagrees_too():
    for fields in ({"width": 640, "resolution": "720p"}, {"length": 17, "seconds": 5}):
        with pytest.raises(InvalidRequest, match="disagree"):
            rest(**fields)
    assert rest(resolution="720p", width=1280, height=704)[:2] == (1280, 704)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resolution": "4k"}, "resolution must be one of 480p, 720p, 1080p; got '4k'."),
        ({"resolution": True}, "resolution must be one of"),
        ({"aspect_ratio": "wide"}, "aspect_ratio must look like '16:9', or be 'auto'"),
        ({"aspect_ratio": "1:0"}, "aspect_ratio must look like"),
        ({"aspect_ratio": "100:1"}, "aspect_ratio must look like"),
        ({"num_outputs": 9}, "num_outputs must be between 1 and 8; got 9."),
        ({"crf": 52}, "crf must be between 0 and 51; got 52."),
        ({"seconds": 0}, "seconds must be between 0.01 and 1201; got 0."),
    ],
)
def test_a_value_out_of_range_is_refused_by_every_door(fields, words):
    for model in (GenerateRequest, I2vRequest, GenerateBody):
        with pytest.raises(InvalidRequest) as caught:
            parse(model, {"prompt": "a cat", **fields})
        assert words in str(caught.value)


#: Requests that the first release recorded, each with the start of the hash that it kept.
RECORDED = {
    "generate": (GenerateRequest, {"task": "t2v-A14B", "prompt": "a cat", "seed": 5}, "e4ee563f35ad"),
    "generate with a LoRA": (
        GenerateRequest,
        {"task": "t2v-A14B", "prompt": "a cat", "seed": 5, "loras": [{"high": "a"}]},
        "088ff9ada8ec",
    ),
    "comfyui_i2v with nothing": (I2vRequest, {}, "4a49fc3e8576"),
    "comfyui_i2v as documented": (
        I2vRequest,
        {
            "reference_image_url": "https://example.com/image.png",
            "prompt": "A beautiful animation",
            "diffusion_model": "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
            "vae_model": "wan_2.1_vae.safetensors",
            "steps": 20,
            "cfg_scale": 7.0,
            "seed": 42,
            "use_lora": True,
            "lora_name": "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
            "lora_strength": 1.0,
            "timeout": 600,
            "return_video": True,
        },
        "9f7883eea22e",
    ),
    "comfyui_i2v of four steps": (
        I2vRequest,
        {
            "reference_image_url": "https://example.com/scene.jpg",
            "prompt": "dynamic motion, high energy",
            "diffusion_model": "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
            "steps": 4,
            "cfg_scale": 1.0,
            "use_lora": True,
            "lora_name": "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
            "seed": 42,
            "return_video": True,
        },
        "9b54848754c1",
    ),
}


@pytest.mark.parametrize(("model", "fields", "recorded"), RECORDED.values(), ids=RECORDED)
def test_a_request_of_the_first_release_keeps_the_hash_of_its_record(model, fields, recorded):
    request, _ = parse(model, fields)

    assert spec_hash(request.identity())[:12] == spec_hash(request.former_identity())[:12] == recorded


#: What the hash of a request without any field is made of. A new field must not appear here.
HASHED = {
    GenerateRequest: """audio_base64 audio_path audio_url driving_video_base64 driving_video_path driving_video_url
        engine fps frame_num guidance_scale_2 height last_image_base64 last_image_path last_image_url lora_name
        lora_strength loras negative_prompt offload_model prepared_path prompt reference_image_base64
        reference_image_path reference_image_url sample_guide_scale sample_shift sample_solver sample_steps seed size
        task use_lora width""",
    I2vRequest: """cfg_scale diffusion_model diffusion_model_2 end_image_base64 end_image_path end_image_url fps height
        length lora_name lora_strength loras negative_prompt prompt reference_image_base64 reference_image_path
        reference_image_url sample_shift seed single_expert size steps use_lora vae_model width""",
}


LORA = {"high": "a", "low": None, "strength": 1.0, "high_strength": None, "low_strength": None}

#: A value, as it is recorded, of each field that came after the first release.
LATER = {
    "aspect_ratio": "1:1",
    "crf": 20,
    "denoise": 0.5,
    "diffusion_model": "high",
    "diffusion_model_2": "low",
    "engine": "diffusers",
    "high_noise_loras": [LORA],
    "loop": True,
    "low_noise_loras": [LORA],
    "num_outputs": 2,
    "profile": "fast",
    "resolution": "480p",
    "seconds": 5.0,
    "single_expert": True,
    "soundtrack_base64": "AAAA",
    "soundtrack_path": "a.mp3",
    "soundtrack_url": "https://example.com/a.mp3",
    "target_fps": 60.0,
    "upscale": 2,
    "vae_model": "a.safetensors",
}


@pytest.mark.parametrize("model", HASHED)
def test_a_field_that_came_later_counts_only_if_it_is_not_its_default(model):
    nothing, _ = parse(model, {})
    about_the_answer = {"request_id", "return_video", "timeout", "thumbnail", "output_upload_urls"}
    later = set(model.model_fields) - set(HASHED[model].split()) - about_the_answer
    defaults, _ = parse(model, {name: model.model_fields[name].default for name in later})

    assert sorted(nothing.identity()) == HASHED[model].split()
    assert defaults.identity() == nothing.identity()
    for name in later:
        sent, _ = parse(model, {name: LATER[name]})
        assert sent.former_identity() == nothing.identity() | {name: LATER[name]}


def test_the_order_has_the_number_of_outputs_and_the_quality():
    request, warnings = parse(GenerateRequest, {"task": "t2v-A14B", "prompt": "a", "n": 3, "crf": 30})
    named = job_request(request, request_id="a", action="generate")
    to_render = render_request(request, named, inputs=None, warnings=warnings, engine="auto", timeout_s=9)

    assert to_render.num_outputs == 3
    assert to_render.prepare.args[1].crf == 30


def test_loras_of_one_expert_are_named_by_file_and_a_url_is_refused():
    request, _ = parse(
        GenerateRequest,
        {"high_noise_loras": [{"path": "a-high", "scale": 0.5}], "low_noise_loras": [{"path": "b"}, "c"]},
    )
    found = [(lora.high, lora.low, lora.high_strength, lora.is_exact) for lora in request.checked_loras()]

    assert found == [("a-high", None, 0.5, True), (None, "b", 1.0, True), (None, "c", 1.0, True)]
    for entry in ({"path": "https://example.com/x?token=hush"}, {"scale": 1}, {"high": "a", "low": "b"}):
        with pytest.raises(InvalidRequest, match=r"^low_noise_loras: ") as caught:
            parse(GenerateRequest, {"low_noise_loras": [entry]})[0].checked_loras()
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("model", [GenerateRequest, I2vRequest])
def test_a_request_that_refuses_its_loras_is_the_same_as_one_without(model):
    without, _ = parse(model, {"prompt": "x"})
    named = {"lora": "a", "lora_strength": 0.5, "loras": [{"high": "b"}], "high_noise_loras": [{"path": "c"}]}
    refused, _ = parse(model, {"prompt": "x", "use_lora": False, **named})
    unsaid, _ = parse(model, {"prompt": "x", **named})

    assert refused.identity() == without.identity() != unsaid.identity()


LONG = (
    "size 2048*64 was chosen for aspect_ratio 32:1: its shape at 1080p would be 8146*255, and a side has 64 to 2048 "
    "pixels."
)


@pytest.mark.parametrize("made", [generate, i2v])
def test_a_shape_that_is_too_long_for_its_area_is_told(made):
    size, *_, warnings = made(resolution="1080p", aspect_ratio="32:1")

    assert (size, warnings) == ("2048*64", [LONG])


def test_rest_tells_a_shape_that_is_too_long_for_its_area():
    body, remarks = parse(GenerateBody, {"prompt": "x", "resolution": "1080p", "aspect_ratio": "32:1"})
    resolved = body.resolved(remarks)

    assert (resolved["width"], resolved["height"], remarks) == (2048, 64, [LONG])
