"""What a job with `openai_route` answers of a failed video, and of one that is too large for the answer."""

import pytest

from fakes.clips import noisy_clip
from fakes.engine import ScriptedEngine
from fakes.other_workers import request
from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.errors import InvalidRequest, NoOutput
from wanworker.jobs.model import JobError, JobStatus, Output
from wanworker.serverless.answer import size_bytes
from wanworker.videos.job_route import VideoRoutes


@pytest.fixture
def worker(settings):
    return Worker(settings, engines=())


async def refused(_fields, _reserve_bytes):
    raise AssertionError("no action is due")


def ended(worker, status, **changes):
    job = worker.store.claim(request("a")).job
    return worker.store.update(job, status=status, **changes)


async def test_a_failed_video_does_not_fail_the_job_that_asks(worker):
    ended(worker, JobStatus.ERROR, error=JobError("OUT_OF_MEMORY", "No room.", "Use less."))
    routes = VideoRoutes(worker.store, worker.video_models)
    video = await routes.answer({"openai_route": "/v1/videos/a"}, refused)
    listed = await routes.answer({"openai_route": "v1/videos", "openai_input": {"order": "asc"}}, refused)

    assert "error" not in video
    assert ("failed", {"code": "OUT_OF_MEMORY", "message": "No room. Use less."}) == (video["status"], video["failure"])
    assert video["failure"] == listed["data"][0]["error"]
    with pytest.raises(NoOutput, match=r"Video a has no content: it failed: No room\."):
        await routes.answer({"openai_route": "/v1/videos/a/content"}, refused)


@pytest.mark.parametrize(
    "given", [{"seconds": 4, "size": "832x480"}, {"prompt": None}, {"limit": 5, "model": "wan2.2"}]
)
async def test_a_body_without_a_prompt_is_a_video_that_lacks_one_and_no_listing(worker, given):
    routes = VideoRoutes(worker.store, worker.video_models)

    with pytest.raises(InvalidRequest, match=r"^prompt is missing") as caught:
        await routes.answer({"openai_route": "/v1/videos", "openai_input": given}, refused)
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(("route", "given"), [("?limit=5", None), ("?page=2", {}), ("", {"limit": 5, "after": None})])
async def test_what_says_only_how_to_list_is_a_listing(worker, route, given):
    routes = VideoRoutes(worker.store, worker.video_models)
    listed = await routes.answer({"openai_route": f"/v1/videos{route}", "openai_input": given}, refused)

    assert listed["data"] == []


@pytest.mark.parametrize(
    ("result", "content"),
    [
        ({"data": "data:video/mp4;base64,AAAA"}, {"b64_json": "AAAA"}),
        ({"url": "https://a.example/a.mp4"}, {"url": "https://a.example/a.mp4"}),
        ({"path": "/out/a.mp4"}, {"path": "/out/a.mp4"}),
    ],
)  # fmt: skip
async def test_content_is_base64_a_url_or_a_path(worker, result, content):
    ended(worker, JobStatus.COMPLETED, outputs=(Output("/out/a.mp4", "video", "video/mp4", 3, "0" * 64),))
    seen = []

    async def perform(fields, _reserve_bytes):
        seen.append(fields)
        return {"result": {"filename": "a.mp4", **result}, "delivery": {"how": "said"}}

    routes = VideoRoutes(worker.store, worker.video_models)
    answer = await routes.answer({"openai_route": "/v1/videos/a/content"}, perform)

    assert {"content_type": "video/mp4", "delivery": {"how": "said"}, **content} == answer
    assert [{"action": "status", "request_id": "a"}] == seen


async def test_a_long_prompt_leaves_the_answer_within_its_limit(settings, tmp_path):
    engine = ScriptedEngine(noisy_clip(tmp_path / "clip.mp4"))
    worker = Worker(settings, engines=(engine.row(),))
    payload = {"openai_route": "/v1/videos", "openai_input": {"prompt": "\u00e9" * 9000, "num_frames": 5}}

    async def answered(limit_bytes, request_id):
        return await worker.perform(payload, Call(request_id, None, lambda _progress: None, limit_bytes))

    whole = await answered(1_000_000, "a")
    limit_bytes = size_bytes(whole) - 5000
    cut = await answered(limit_bytes, "b")
    await worker.close()

    assert "b64_json" in whole["content"]
    assert size_bytes(cut) <= limit_bytes < size_bytes(whole)
    assert cut["prompt"] == whole["prompt"]


@pytest.mark.parametrize(
    ("route", "given", "name"),
    [
        ("?page=2", None, "page"),
        ("/a", {"variant": "thumbnail"}, "variant"),
        ("/a/content", {"varient": "thumbnail"}, "varient"),
    ],
)
async def test_an_unknown_field_beside_a_route_is_told(worker, route, given, name):
    ended(worker, JobStatus.COMPLETED, outputs=(Output("/out/a.mp4", "video", "video/mp4", 3, "0" * 64),))

    async def perform(_fields, _reserve_bytes):
        return {"result": {"filename": "a.mp4", "path": "/out/a.mp4"}, "delivery": {"how": "said"}}

    routes = VideoRoutes(worker.store, worker.video_models)
    answer = await routes.answer({"openai_route": f"/v1/videos{route}", "openai_input": given}, perform)

    [warning] = answer["warnings"]
    assert warning.startswith(f"unknown field '{name}' was ignored")


async def test_a_field_in_the_route_and_in_the_input_that_differ_is_refused(worker):
    routes = VideoRoutes(worker.store, worker.video_models)

    with pytest.raises(InvalidRequest, match=r"^limit differs in openai_route and in openai_input\."):
        await routes.answer({"openai_route": "/v1/videos?limit=5", "openai_input": {"limit": 6}}, refused)
    same = await routes.answer({"openai_route": "/v1/videos?limit=5", "openai_input": {"limit": 5}}, refused)
    assert [] == same["data"]
