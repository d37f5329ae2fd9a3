"""Jobs with `openai_route` and `openai_input`, as RunPod makes of calls of /openai/v1/..., in a real worker process."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

import pages
from fakes.runpod import RunPod
from fakes.worker_process import WorkerProcess

ASKED = {"model": "wan2.2", "prompt": "a red star", "size": "128x64", "num_frames": 5, "fps": 8, "seed": 7,
         "num_inference_steps": 1}  # fmt: skip


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunPod]:
    folder = tmp_path_factory.mktemp("volume")
    with RunPod() as plane, WorkerProcess(plane, folder, environment={"WAN_ENGINE": "mini"}):
        yield plane


def answered(plane: RunPod, route: str, given: object = None) -> Any:
    job = plane.wait_for_job(plane.submit({"openai_route": route, "openai_input": given}), timeout_s=60)
    assert job.status == "COMPLETED", job.error
    return job.output


@pytest.mark.slow
def test_a_video_is_made_looked_up_listed_and_returned(plane: RunPod) -> None:
    made = answered(plane, "/v1/videos", ASKED)
    again = answered(plane, f"/openai/v1/videos/{made['id']}")
    listed = answered(plane, "/v1/videos?limit=1")
    content = answered(plane, f"/v1/videos/{made['id']}/content")
    frame = answered(plane, f"/v1/videos/{made['id']}/content?variant=thumbnail")

    assert ("video", "completed", 100, "128x64", 7) == tuple(
        made[name] for name in ("object", "status", "progress", "size", "seed")
    )
    assert base64.b64decode(made["content"]["b64_json"])[4:8] == b"ftyp"
    assert again == {name: value for name, value in made.items() if name != "content"}
    (only,) = listed["data"]
    assert {**again, "error": None} == only
    assert content == made["content"]
    assert ("image/jpeg", b"\xff\xd8\xff") == (frame["content_type"], base64.b64decode(frame["b64_json"])[:3])


@pytest.mark.slow
def test_the_job_on_api_md_makes_a_video(plane: RunPod) -> None:
    (block,) = (each for each in pages.blocks(pages.read("docs/api.md"), "json") if "openai_route" in each)
    made = plane.wait_for_job(plane.submit(json.loads(block)["input"]), timeout_s=60).output

    assert ("completed", "128x128") == (made["status"], made["size"])


@pytest.mark.parametrize(
    ("route", "given", "words"),
    [
        ("/v1/chat/completions", {"messages": []}, "known: /v1/videos"),
        ("/v1/videos", {"prompt": "a cat", "model": "sora-2"}, "Unknown model 'sora-2'; known: wan2.2"),
        ("/v1/videos", {"prompt": ""}, "prompt must not be empty"),
        ("/v1/videos", ["a cat"], "openai_input must be an object; got a list."),
        ("/v1/videos", {"limit": True}, "limit must be a whole number"),
        ("/v1/videos/nobody", None, "No job 'nobody'"),
        ("/v1/videos/..%2Fx/content", None, "request_id must be"),
        (7, None, "openai_route must be text"),
    ],
)
def test_what_cannot_be_answered_fails_with_its_words(plane: RunPod, route: object, given: object, words: str) -> None:
    job = plane.wait_for_job(plane.submit({"openai_route": route, "openai_input": given}))

    assert job.status == "FAILED"
    assert words in job.error
