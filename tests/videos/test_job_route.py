"""What a job with `openai_route` answers of a failed video, and of one that is too large for the answer."""

import pytest

from fakes.other_workers import request
from wanworker.app import Worker
from wanworker.errors import NoOutput
from wanworker.jobs.model import JobError, JobStatus, Output
from wanworker.videos.job_route import VideoRoutes


@pytest.fixture
def worker(settings):
    return Worker(settings, engines=())


async def refused(_fields):
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

    async def perform(fields):
        seen.append(fields)
        return {"result": {"filename": "a.mp4", **result}, "delivery": {"how": "said"}}

    routes = VideoRoutes(worker.store, worker.video_models)
    answer = await routes.answer({"openai_route": "/v1/videos/a/content"}, perform)

    assert {"content_type": "video/mp4", "delivery": {"how": "said"}, **content} == answer
    assert [{"action": "status", "request_id": "a"}] == seen
