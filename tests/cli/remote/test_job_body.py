from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fakes.command_line import parsed
from wanworker.cli._base import CommandFailed
from wanworker.cli.commands import submit
from wanworker.cli.remote import job_body as bodies


def job_body(*argv: str) -> dict[str, Any]:
    given = parsed(submit.SubmitOptions, *argv)
    return bodies.job_body(given, given.prompt, given.input)


def rest_body(*argv: str) -> dict[str, Any]:
    given = parsed(submit.SubmitOptions, *argv)
    return bodies.rest_body(given, given.prompt, given.input)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(value: Any) -> str:
        path = tmp_path / "job.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return str(path)

    return write


def test_a_prompt_is_a_job_of_the_task_that_needs_no_picture() -> None:
    assert {"input": {"task": "t2v-A14B", "prompt": "a star"}} == job_body("a star")


def test_a_file_is_sent_as_base64_and_a_url_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")

    body = job_body("x", "--image", str(tmp_path / "a.png"), "--last-image", "https://host/b.png")

    assert b"picture" == base64.b64decode(body["input"]["reference_image_base64"])
    assert "https://host/b.png" == body["input"]["last_image_url"]
    assert "i2v-A14B" == body["input"]["task"]


def test_a_timeout_raises_runpods_own_limit_too() -> None:
    body = job_body("a star", "--timeout", "3600")

    assert 3600 == body["input"]["timeout"]
    assert {"executionTimeout": 3_720_000} == body["policy"]


def test_a_whole_job_keeps_what_it_says_but_where_an_argument_says_otherwise(write: Any) -> None:
    job = {
        "input": {"prompt": "old", "seed": 1, "task": "ti2v-5B"},
        "policy": {"ttl": 1},
        "s3Config": {"bucketName": "b"},
    }

    body = job_body("new", "--input", write(job), "--timeout", "60")

    assert {"prompt": "new", "seed": 1, "task": "ti2v-5B", "timeout": 60} == body["input"]
    assert ({"ttl": 1}, {"bucketName": "b"}) == (body["policy"], body["s3Config"])


def test_a_file_may_hold_the_input_alone(write: Any) -> None:
    assert {"input": {"action": "health"}} == job_body("--input", write({"action": "health"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is not JSON"),
        ("[1]", "must hold a JSON object; it holds a list"),
        ('{"input": 3}', "must be an object"),
    ],
)
def test_a_file_that_is_no_job_is_refused(write: Any, text: str, expected: str) -> None:
    with pytest.raises(CommandFailed, match=expected):
        job_body("--input", write(text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="cannot be read"):
        job_body("--input", str(tmp_path / "nowhere.json"))


def test_a_rest_server_gets_the_documented_fields(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    argv = ("a star", "--negative", "rain", "--seed", "0", "--steps", "4", "--guidance", "0", "--size", "640x384",
            "--frames", "17", "--fps", "8", "--engine", "mini", "--image", str(tmp_path / "a.png"))  # fmt: skip

    expected = {
        "prompt": "a star", "negative_prompt": "rain", "seed": 0, "steps": 4, "cfg": 0.0, "width": 640, "height": 384,
        "length": 17, "fps": 8.0, "engine": "mini", "image": base64.b64encode(b"picture").decode(),
    }  # fmt: skip
    assert expected == rest_body(*argv)


def test_a_rest_server_reads_a_picture_by_its_url() -> None:
    assert {"prompt": "x", "image_url": "https://host/a.png"} == rest_body("x", "--image", "https://host/a.png")


def test_what_the_contract_has_no_field_for_is_refused_not_dropped() -> None:
    with pytest.raises(CommandFailed, match="does not take --audio, --task"):
        rest_body("a star", "--task", "s2v-14B", "--audio", "x.wav")
