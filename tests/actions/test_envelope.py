"""From `input` to an action: aliases, both envelopes, and what a job without an action means."""

import pytest

from wanworker.actions import ACTIONS
from wanworker.actions.envelope import flat, resolve
from wanworker.errors import InvalidRequest, UnknownAction


@pytest.mark.parametrize("wrapper", ["params", "inputs"])
def test_the_wrapped_form_means_the_same_as_the_flat_one(wrapper):
    assert flat({"action": "generate", wrapper: {"prompt": "a cat"}}) == {"action": "generate", "prompt": "a cat"}


def test_a_flat_field_wins_over_a_wrapped_one():
    assert flat({"prompt": "flat", "params": {"prompt": "wrapped", "seed": 3}}) == {"prompt": "flat", "seed": 3}


def test_a_null_field_counts_as_left_out():
    assert flat({"seed": None, "params": {"seed": 3}}) == {"seed": 3}


@pytest.mark.parametrize("payload", [None, "a cat", ["a cat"], 3, True])
def test_an_input_that_is_no_object_is_refused(payload):
    with pytest.raises(InvalidRequest, match="input must be an object"):
        flat(payload)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("generate", "generate"),
        ("request", "generate"),
        ("create", "generate"),
        ("Generate ", "generate"),
        ("status", "status"),
        ("get", "status"),
        ("result", "status"),
        ("health", "health"),
    ],
)
def test_every_documented_name_and_alias_resolves(asked, name):
    action, fields = resolve({"action": asked, "request_id": "x"}, ACTIONS)

    assert (action.name, fields) == (name, {"request_id": "x"})


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ({"health": True}, "health"),
        ({"request_id": "abc"}, "status"),
        ({"request_id": "abc", "return_video": False}, "status"),
        ({"request_id": "abc", "prompt": "a cat"}, "generate"),
        ({"prompt": "a cat"}, "generate"),
        ({"workflow": {"1": {"class_type": "SaveImage"}}, "prompt": "a cat"}, "comfyui_workflow"),
        ({"reference_image_base64": "aaaa"}, "generate"),
        ({"inputs": {"image_url": "https://example.com/a.png"}}, "generate"),
        ({"request_id": "abc", "return_vidoe": False}, "status"),
        ({"request_id": "abc", "return_video": False, "verbose": True}, "status"),
        ({"health": "true"}, "health"),
        ({"health": 1}, "health"),
        ({"task": "v2v-A14B", "video_url": "https://example.com/a.mp4"}, "generate"),
        ({"control_video_path": "a.mp4"}, "generate"),
        ({"driving_video_base64": "aaaa"}, "generate"),
        ({"audio_url": "https://example.com/a.wav"}, "generate"),
        ({"task": "t2v-A14B", "request_id": "abc"}, "generate"),
    ],
)
def test_a_job_without_an_action_means_what_its_fields_say(payload, name):
    assert resolve(payload, ACTIONS)[0].name == name


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"health": False},
        {"health": "false"},
        {"health": "maybe"},
        {"seed": 1},
        {"prompt": ""},
        {"request_id": "abc", "seed": 1},
    ],
)
def test_a_job_that_says_nothing_lists_the_actions(payload):
    with pytest.raises(UnknownAction, match=", ".join(sorted(action.name for action in ACTIONS))):
        resolve(payload, ACTIONS)


@pytest.mark.parametrize("asked", ["dance", "", 7, ["generate"]])
def test_an_unknown_action_is_named_with_the_known_ones(asked):
    with pytest.raises(UnknownAction, match=f"known: {', '.join(sorted(action.name for action in ACTIONS))}"):
        resolve({"action": asked, "prompt": "a cat"}, ACTIONS)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"inputs": {"num_frames": 33, "seed": 3}, "frame_num": 17}, {"frame_num": 17, "seed": 3}),
        ({"params": {"frame_num": 33}, "num_frames": 17}, {"num_frames": 17}),
        ({"inputs": {"steps": 4}, "params": {"num_inference_steps": 8}}, {"num_inference_steps": 8}),
        ({"inputs": {"num_frames": 33}, "frame_num": None}, {"num_frames": 33}),
    ],
)
def test_a_flat_field_wins_over_another_spelling_of_it_in_the_wrapper(payload, expected):
    assert resolve({"action": "generate", **payload}, ACTIONS)[1] == expected


def test_two_spellings_at_one_level_are_left_for_the_action_to_refuse():
    both = {"frame_num": 17, "num_frames": 33}

    assert resolve({"action": "generate", "params": both}, ACTIONS)[1] == both


@pytest.mark.parametrize(
    ("payload", "received"),
    [
        ({"Prompt": "x"}, "'Prompt' (did you mean 'prompt'?)"),
        ({"job_id": "x"}, "'job_id'"),
        ({"imag": "x", "seed": 3}, "'imag' (did you mean 'image' or 'images' or 'image_url'?), 'seed'"),
        ({f"f{number}": 1 for number in range(12)}, "'f0', 'f1', 'f10', 'f11', 'f2', 'f3', 'f4', 'f5' and 4 more"),
    ],
)
def test_a_job_that_says_nothing_is_told_the_fields_that_it_has(payload, received):
    with pytest.raises(UnknownAction) as refused:
        resolve(payload, ACTIONS)

    assert str(refused.value).endswith(f", status. The job has these fields: {received}.")


def test_a_very_long_name_of_a_field_is_cut():
    with pytest.raises(UnknownAction) as refused:
        resolve({"x" * 5000: 1}, ACTIONS)

    assert len(str(refused.value)) < 400
