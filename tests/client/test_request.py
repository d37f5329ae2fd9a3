from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, cast

import pytest

from wanworker.client import Refused
from wanworker.client.request import VideoFields, plan_input, rest_body, runpod_body


def test_a_prompt_is_a_job_of_the_task_that_needs_no_picture() -> None:
    assert {"input": {"task": "t2v-A14B", "prompt": "a star"}} == runpod_body("a star", None, {})


@pytest.mark.parametrize("kind", [str, Path, bytes])
def test_a_file_is_sent_as_base64_and_a_url_as_it_is(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    image = b"picture" if kind is bytes else kind(path)

    body = runpod_body("x", None, {"image": image, "last_image": "https://host/b.png"})

    assert b"picture" == base64.b64decode(body["input"]["reference_image_base64"])
    assert "https://host/b.png" == body["input"]["last_image_url"]
    assert "i2v-A14B" == body["input"]["task"]


@pytest.mark.parametrize(
    ("fields", "task"),
    [({"video": b"v", "image": b"i"}, "animate-14B"), ({"audio": b"a", "image": b"i"}, "s2v-14B"), ({}, "t2v-A14B")],
)
def test_the_files_imply_the_task(fields: VideoFields, task: str) -> None:
    assert task == runpod_body(None, None, fields)["input"]["task"]


def test_a_timeout_raises_runpods_own_limit_too() -> None:
    body = runpod_body("a star", None, {"timeout_s": 3600})

    assert 3600 == body["input"]["timeout"]
    assert {"executionTimeout": 3_720_000} == body["policy"]


def test_a_whole_job_keeps_what_it_says_but_where_an_argument_says_otherwise() -> None:
    job = {
        "input": {"prompt": "old", "seed": 1, "task": "ti2v-5B"},
        "policy": {"ttl": 1},
        "s3Config": {"bucketName": "b"},
    }

    body = runpod_body("new", job, {"timeout_s": 60})

    assert {"prompt": "new", "seed": 1, "task": "ti2v-5B", "timeout": 60} == body["input"]
    assert ({"ttl": 1}, {"bucketName": "b"}) == (body["policy"], body["s3Config"])
    assert "old" == job["input"]["prompt"]


def test_a_job_may_be_the_input_alone() -> None:
    assert {"input": {"action": "health"}} == runpod_body(None, {"action": "health"}, {})


def test_an_input_that_is_no_object_is_refused() -> None:
    with pytest.raises(Refused, match="must be an object"):
        runpod_body(None, {"input": 3}, {})


def test_a_lora_is_a_name_or_the_models_own_pair() -> None:
    assert {"use_lora": True, "lora_name": "x"} == {**runpod_body(None, {}, {"lora": "x"})["input"]}
    assert {"use_lora": True} == runpod_body(None, {}, {"lora": True})["input"]
    assert {} == runpod_body(None, {}, {"lora": False})["input"]


def test_an_empty_lora_is_none_and_no_others_are_no_others() -> None:
    assert {} == runpod_body(None, {}, {"lora": ""})["input"]
    assert {"prompt": "x"} == rest_body("x", None, {"lora": ""})
    assert ["a"] == rest_body("x", None, cast("VideoFields", {"lora": "a", "loras": None}))["loras"]


def test_a_file_replaces_the_one_of_a_whole_job_however_that_names_it() -> None:
    job = {"image_url": "https://host/old", "video_path": "old.mp4", "audio_url": "https://host/kept", "seed": 1}
    fields: VideoFields = {"image": b"new", "video": "https://host/new"}

    assert {
        "audio_url": "https://host/kept", "seed": 1, "reference_image_base64": "bmV3",
        "driving_video_url": "https://host/new",
    } == runpod_body(None, job, fields)["input"]  # fmt: skip
    assert {"image_url": "https://host/new"} == rest_body(None, {"image": "b2xk"}, {"image": "https://host/new"})
    assert {"image": "bmV3"} == rest_body(None, {"image_url": "https://host/old"}, {"image": b"new"})


def test_no_extra_fields_are_none() -> None:
    fields = cast("VideoFields", {"extra": None})

    assert ({"prompt": "x"}, {"prompt": "x"}) == (rest_body("x", None, fields), runpod_body("x", {}, fields)["input"])


def test_loras_replace_the_one_lora_of_a_whole_job() -> None:
    job = {"use_lora": True, "lora_name": "old", "lora_scale": 0.5, "seed": 1}

    assert {"use_lora": True, "seed": 1, "loras": ["new"]} == runpod_body(None, job, {"loras": ["new"]})["input"]
    assert "new" == runpod_body(None, job, {"loras": ["a"], "lora": "new"})["input"]["lora_name"]
    assert job == runpod_body(None, job, {})["input"]


@pytest.mark.parametrize(
    ("job", "other"),
    [
        ({"action": "comfyui_i2v", "prompt": "x"}, "'comfyui_i2v'"),
        ({"input": {"params": {"action": "Health"}}}, "'Health'"),
        ({"workflow": {"1": {}}}, "a workflow"),
        ({"health": True}, "health"),
    ],
)
def test_only_a_job_of_generate_has_a_plan(job: dict[str, Any], other: str) -> None:
    with pytest.raises(Refused, match=f"can be planned; this is .*{other}"):
        plan_input(None, job, {}, price_per_hour=None)
    assert {"prompt": "x", "action": "plan"} == plan_input("x", {"action": "create"}, {}, price_per_hour=None)


def test_a_rest_server_gets_the_documented_fields() -> None:
    fields: VideoFields = {
        "negative_prompt": "rain", "seed": 0, "steps": 4, "guidance": 0.0, "size": "640x384", "frames": 17, "fps": 8.0,
        "engine": "mini", "image": b"picture", "extra": {"webhook_url": "https://host/hook"},
    }  # fmt: skip

    expected = {
        "prompt": "a star", "negative_prompt": "rain", "seed": 0, "steps": 4, "cfg": 0.0, "width": 640, "height": 384,
        "length": 17, "fps": 8.0, "engine": "mini", "image": base64.b64encode(b"picture").decode(),
        "webhook_url": "https://host/hook",
    }  # fmt: skip
    assert expected == rest_body("a star", None, fields)


def test_a_rest_server_gets_loras_and_where_the_videos_go() -> None:
    fields: VideoFields = {
        "loras": ["a"], "high_noise_loras": [{"path": "b", "scale": 0.5}], "low_noise_loras": ["c"], "thumbnail": True,
        "output_upload_urls": ["https://host/a"],
    }  # fmt: skip

    assert {"prompt": "x", **fields} == rest_body("x", None, fields)
    assert fields == runpod_body(None, {}, fields)["input"]
    assert ["d", "a"] == rest_body("x", None, {**fields, "lora": "d"})["loras"]


def test_a_rest_server_reads_a_picture_by_its_url() -> None:
    assert {"prompt": "x", "image_url": "https://host/a.png"} == rest_body("x", None, {"image": "https://host/a.png"})


def test_a_rest_server_reads_a_soundtrack_by_its_url_or_gets_it_as_data() -> None:
    assert "https://host/a.wav" == rest_body("x", None, {"soundtrack": "https://host/a.wav"})["soundtrack_url"]
    sent = rest_body("x", None, {"soundtrack": b"sound"})["soundtrack_url"]
    assert f"data:application/octet-stream;base64,{base64.b64encode(b'sound').decode()}" == sent


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"task": "s2v-14B", "audio": "x.wav"}, "does not take audio, task"),
        ({"lora": True}, "does not take lora"),
        ({"size": "large"}, "'large' is not a size"),
        ({"image": "/no/where.png"}, "image: /no/where.png cannot be read"),
        ({"image": 3}, "image must be a path, bytes or a URL"),
    ],
)
def test_what_cannot_be_sent_is_refused_not_dropped(fields: Any, expected: str) -> None:
    with pytest.raises(Refused, match=expected):
        rest_body("a star", None, fields)


def test_an_argument_replaces_what_a_job_for_a_rest_server_says_in_the_words_of_generate() -> None:
    loras = {"lora_name": "a", "lora_strength": 2}
    job = {"size": "64x64", "frame_num": 9, "image_base64": "b2xk", "sample_steps": 1, **loras}
    fields = cast("VideoFields", {"size": "832x480", "frames": 33, "lora": "b", "image": b"new", "steps": 4})

    body = {"width": 832, "height": 480, "length": 33, "loras": ["b"], "image": "bmV3", "steps": 4}
    assert body == rest_body(None, job, fields)


def test_a_job_with_a_long_deadline_outlives_runpods_day() -> None:
    body = runpod_body("a star", None, {"timeout_s": 86_400})
    assert {"executionTimeout": 86_520_000, "ttl": 172_920_000} == body["policy"]
