"""The fields of `generate`: ranges, aliases, unknown names, and what is refused before any file is read."""

import pytest

from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InvalidRequest
from wanworker.media.inputs.reader import Source
from wanworker.spec import TASKS, Lora, Size


def request(**fields):
    return parse(GenerateRequest, fields)[0]


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("num_frames", "frame_num", 33),
        ("steps", "sample_steps", 20),
        ("guidance_scale", "sample_guide_scale", 3.5),
        ("cfg_scale", "sample_guide_scale", 3.5),
        ("image_url", "reference_image_url", "https://example.com/a.png"),
        ("image_base64", "reference_image_base64", "aaaa"),
    ],
)
def test_an_alias_means_the_documented_field(alias, name, value):
    parsed, warnings = parse(GenerateRequest, {alias: value})

    assert (getattr(parsed, name), warnings) == (value, [])


def test_a_documented_field_and_its_alias_must_agree():
    with pytest.raises(InvalidRequest, match=r"^sample_steps and steps mean the same, but their values differ"):
        parse(GenerateRequest, {"steps": 4, "sample_steps": 20})

    parsed, warnings = parse(GenerateRequest, {"steps": "4", "sample_steps": 4})
    assert (parsed.sample_steps, warnings) == (4, [])


def test_an_unknown_field_is_a_warning_with_the_nearest_name():
    _, warnings = parse(GenerateRequest, {"promt": "a cat", "zzz": 1})

    assert warnings == [
        "unknown field 'promt' was ignored; did you mean 'prompt'?",
        "unknown field 'zzz' was ignored.",
    ]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("sample_steps", 0, "sample_steps must be between 1 and 200; got 0."),
        ("steps", 500, "steps must be between 1 and 200; got 500."),
        ("sample_guide_scale", -0.5, "sample_guide_scale must be between 0 and 50; got -0.5."),
        ("frame_num", 1202, "frame_num must be between 1 and 1201; got 1202."),
        ("fps", 121, "fps must be between 1 and 120; got 121."),
        ("width", 63, "width must be between 64 and 2048; got 63."),
        ("seed", -2, "seed must be between -1 and 2^64-1; got -2."),
        ("seed", 2**64, f"seed must be between -1 and 2^64-1; got {2**64}."),
        ("timeout", 0, "timeout must be between 1 and 86400; got 0."),
        ("seed", True, "seed must be a number; got true."),
        ("sample_steps", False, "sample_steps must be a number; got false."),
        ("prompt", "x" * 10_001, "prompt must have at most 10000 characters; got 10001."),
    ],
)
def test_a_value_out_of_range_names_the_field_and_the_range(field, value, text):
    with pytest.raises(InvalidRequest) as caught:
        request(**{field: value})

    assert (str(caught.value), caught.value.field) == (text, field)


@pytest.mark.parametrize("value", ["abc", "", "1.5", [1], {"a": 1}, float("nan"), float("inf")])
def test_a_seed_that_is_no_whole_number_is_refused_by_name(value):
    with pytest.raises(InvalidRequest, match=r"^seed must be a (whole|finite) number; got ") as caught:
        request(seed=value)

    assert caught.value.field == "seed"


@pytest.mark.parametrize(("given", "seed"), [("42", 42), (" 42 ", 42), (0, 0), (2**64 - 1, 2**64 - 1), (7.0, 7)])
def test_numeric_strings_count_as_numbers(given, seed):
    assert request(seed=given).drawn_seed() == seed


def test_a_random_seed_fits_javascript_and_differs():
    drawn = {request().drawn_seed() for _ in range(8)} | {request(seed=-1).drawn_seed() for _ in range(8)}

    assert len(drawn) == 16
    assert all(0 <= seed < 2**53 for seed in drawn)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"task": "i2v-A14B"}, "Missing reference image (url/base64/path) for i2v task."),
        ({"task": "i2v-A14B", "image_url": "  "}, "Missing reference image (url/base64/path) for i2v task."),
        ({"task": "s2v-14B"}, "Missing reference image (url/base64/path) for s2v task."),
        ({"task": "s2v-14B", "image_base64": "a"}, "Missing audio (url/base64/path) for s2v task."),
        (
            {"task": "animate-14B", "image_base64": "a"},
            "Missing driving video (url/base64/path) or prepared_path for animate task.",
        ),
        (
            {"task": "animate2-14B", "image_base64": "a", "prepared_path": "b"},
            "Missing driving video (url/base64/path) for animate2 task.",
        ),
        ({"task": "animate2-14B", "video_url": "a"}, "Missing reference image (url/base64/path) for animate2 task."),
        ({"task": "vace-A14B", "image_base64": "a"}, "Missing control video (url/base64/path) for vace task."),
        ({"task": "v2v-A14B"}, "Missing video (url/base64/path) for v2v task."),
        ({"task": "t2v-A14B", "loop": True}, "loop needs a task that can end in a given frame; t2v-A14B cannot."),
        (
            {"task": "i2v-A14B", "image_base64": "a", "last_image_base64": "b", "loop": True},
            "loop makes the first frame the last one, so there is no place for a last image.",
        ),
    ],
)
def test_what_a_task_needs_is_asked_for_before_anything_starts(fields, text):
    with pytest.raises(InvalidRequest) as caught:
        request(**fields).checked_task()

    assert str(caught.value) == text


@pytest.mark.parametrize(("fields", "is_told"), [({"prompt": "a cat"}, True), ({"task": "i2v-A14B"}, False)])
def test_a_job_without_task_and_picture_is_told_the_task_that_needs_none(fields, is_told):
    with pytest.raises(InvalidRequest, match=r"^Missing reference image \(url/base64/path\) for i2v task\.$") as caught:
        request(**fields).checked_task()

    assert ('or "task": "t2v-A14B"' in caught.value.hint) == is_told


def test_animate_takes_a_prepared_folder_in_place_of_picture_and_video():
    assert request(task="animate-14B", prepared_path="job1").checked_task() is TASKS["animate-14B"]


@pytest.mark.parametrize("field", ["driving_video_url", "control_video_url", "video_url"])
def test_a_video_has_one_place_and_several_names(field):
    asked = request(task="vace-A14B", **{field: "http://example.com/a.mp4"})

    assert asked.checked_task() is TASKS["vace-A14B"]
    assert asked.source("driving_video").value == "http://example.com/a.mp4"


def test_a_loop_needs_room_for_two_frames():
    asked = request(task="i2v-A14B", image_base64="a", loop=True, frame_num=1)

    with pytest.raises(InvalidRequest, match="at least 5 frames"):
        asked.checked_frames(asked.checked_task(), [])


@pytest.mark.parametrize(
    ("value", "upscale"),
    [(None, (None, None)), (2, (2, None)), ("4", (4, None)), ("2x", (2, None)), ("x4", (4, None)),
     (" 4x-UltraSharp.pth ", (None, "4x-UltraSharp.pth"))],
)  # fmt: skip
def test_an_upscale_is_a_factor_or_a_model(value, upscale):
    assert request(upscale=value).checked_upscale() == upscale


@pytest.mark.parametrize("value", [3, 0, -2, "1.5", "", " ", True, "x" * 201])
def test_another_factor_is_refused(value):
    with pytest.raises(InvalidRequest, match=r"^upscale must be 2, 4 or the name of an upscale model; got") as caught:
        request(upscale=value).checked_upscale()

    assert caught.value.field == "upscale"


@pytest.mark.parametrize("name", ["i2v", "I2V-A14B", "t2v_A14B", "TI2V"])
def test_a_task_is_matched_exactly(name):
    with pytest.raises(InvalidRequest, match="known: t2v-A14B, i2v-A14B, ti2v-5B, s2v-14B, animate-14B"):
        request(task=name).checked_task()


@pytest.mark.parametrize("text", ["1280*720", "1280x720", "1280\u00d7720", " 1280 X 720 "])
def test_a_size_may_be_written_in_every_documented_way(text):
    assert request(size=text).checked_size() == Size(1280, 720)


@pytest.mark.parametrize("text", ["big", "1280", "1280*", "-5*10", "0*0", "4096*720", "1280*720*3", "1e3*720"])
def test_an_impossible_size_is_refused(text):
    with pytest.raises(InvalidRequest):
        request(size=text).checked_size()


def test_width_without_height_is_refused_by_name():
    with pytest.raises(InvalidRequest, match="height is missing"):
        request(width=512).checked_size()


@pytest.mark.parametrize(("asked", "frames"), [(16, 17), (18, 17), (19, 21), (81, 81), (1, 1), (1201, 1201)])
def test_frames_become_the_nearest_possible_number_and_say_so(asked, frames):
    warnings = []

    assert request(frame_num=asked).checked_frames(TASKS["i2v-A14B"], warnings) == frames
    assert len(warnings) == (asked != frames)


def test_a_url_is_preferred_and_the_source_names_its_field():
    asked = request(reference_image_url="https://example.com/a.png", reference_image_base64="AAAA")

    assert asked.source("reference_image") == Source("url", "https://example.com/a.png", "reference_image_url")
    assert request(image_base64="AAAA").source("reference_image") == Source("base64", "AAAA", "reference_image_base64")


def test_lora_fields_become_pairs():
    parsed = request(
        lora_name="style.safetensors", lora_strength=0.5, loras=[{"high": "h", "low": "l", "low_strength": 0.25}]
    )

    assert parsed.checked_loras() == (Lora("h", "l", 1.0, 0.25), Lora("style.safetensors", None, 0.5, 0.5))


def test_a_lora_without_a_file_is_refused():
    with pytest.raises(InvalidRequest, match="loras: each entry needs a file name"):
        request(loras=[{"strength": 1}]).checked_loras()


def test_the_identity_leaves_out_what_does_not_change_the_video():
    one = request(prompt="a cat", request_id="a", return_video=False, timeout=5)
    two = request(prompt="a cat", request_id="b")

    assert one.identity() == two.identity()
    assert one.identity() != request(prompt="a dog").identity()


def test_a_model_is_named_by_either_field_and_its_other_half_by_another():
    assert request(model="FastWan").diffusion_models() == ("FastWan",)
    assert request(diffusion_model="high", diffusion_model_2="low").diffusion_models() == ("high", "low")
    assert request().diffusion_models() == ()


def test_one_frame_has_no_room_for_a_last_picture():
    two = {"reference_image_path": "a.png", "last_image_path": "b.png", "frame_num": 1}

    with pytest.raises(InvalidRequest, match="A last image needs at least 5 frames; frame_num is 1") as caught:
        request(**two).checked_frames(TASKS["i2v-A14B"], [])
    assert caught.value.field == "frame_num"
    assert request(**{**two, "frame_num": 5}).checked_frames(TASKS["i2v-A14B"], []) == 5
    assert request(**two).checked_frames(TASKS["ti2v-5B"], []) == 1
