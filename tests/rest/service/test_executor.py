"""From a kept request to the renderer."""

import asyncio

import pytest
from PIL import Image

from fakes.other_workers import request
from wanworker.app import Worker
from wanworker.errors import EngineUnavailable, InputUnavailable
from wanworker.jobs.model import JobStatus
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.media.inputs.decoding.decoders import PictureDecoders
from wanworker.media.inputs.reader import InputReader
from wanworker.rest.service.executor import QueueExecutor
from wanworker.rest.service.uploads import Uploads

FIELDS = {"task": "ti2v-5B", "prompt": "a cat", "seed": 5, "size": "64*64", "frame_num": 5}


class WithFastwan(QueueExecutor):
    """A worker whose ComfyUI has FastWAN."""

    def has_fastwan(self):
        return True


@pytest.fixture
def worker(settings, engine):
    return Worker(settings, engines=(engine.row(),))


@pytest.fixture
def kept(settings):
    return PendingRequests(settings.jobs_dir / "kept")


async def test_a_queued_attempt_becomes_the_running_one(worker, kept, engine):
    kept.put("a", {"fields": FIELDS, "left_out": ["steps"], "warnings": ["a remark"]})
    queued = worker.store.claim(request("a"), queued=True).job
    async with asyncio.timeout(20):
        done = await QueueExecutor(worker, kept, Uploads(worker.store))(queued, lambda _progress: None)

    assert (JobStatus.COMPLETED, 1) == (done.status, done.attempt)
    assert queued.owner == done.owner
    assert ("a remark", "steps left out: the defaults are FastWAN's, but another model renders, with its own.") == (
        done.warnings[:2]
    )
    assert None is engine.seen[0].steps


async def test_upload_urls_that_a_restart_took_are_missed_in_words(worker, kept):
    kept.put("a", {"fields": FIELDS, "left_out": [], "warnings": [], "uploads": 1})
    queued = worker.store.claim(request("a"), queued=True).job
    async with asyncio.timeout(20):
        done = await QueueExecutor(worker, kept, Uploads(worker.store))(queued, lambda _progress: None)

    assert JobStatus.COMPLETED is done.status
    assert "output_upload_urls were lost when the server restarted. Download the video instead." == done.warnings[-1]
    assert done == worker.store.find("a")


async def test_a_model_that_is_named_renders_and_not_fastwan(worker, kept, engine):
    kept.put("a", {"fields": {**FIELDS, "diffusion_model": "another"}, "left_out": [], "warnings": []})
    async with asyncio.timeout(20):
        done = await WithFastwan(worker, kept, Uploads(worker.store))(
            worker.store.claim(request("a"), queued=True).job, lambda _progress: None
        )

    assert JobStatus.COMPLETED == done.status
    assert ("another",) == engine.seen[0].diffusion_models


async def test_a_request_that_means_what_generate_means_is_not_fastwans(worker, kept, engine):
    kept.put("a", {"fields": FIELDS, "left_out": None, "warnings": []})
    async with asyncio.timeout(20):
        done = await WithFastwan(worker, kept, Uploads(worker.store))(
            worker.store.claim(request("a"), queued=True).job, lambda _progress: None
        )

    assert (JobStatus.COMPLETED, None, False) == (done.status, engine.seen[0].steps, engine.seen[0].use_lora)


async def test_a_request_that_is_gone_says_so(worker, kept):
    queued = worker.store.claim(request("a"), queued=True).job

    with pytest.raises(InputUnavailable, match="no longer on the volume"):
        await QueueExecutor(worker, kept, Uploads(worker.store))(queued, lambda _progress: None)


async def test_pictures_are_decoded_by_the_workers_own_processes(worker, kept):
    worker.inputs = InputReader(decoders=PictureDecoders(argv=("no such program",)))
    kept.put("a", {"fields": {**FIELDS, "reference_image_path": "a.png"}, "left_out": None, "warnings": []})
    Image.new("RGB", (64, 64)).save(kept.folder / "a.png")
    queued = worker.store.claim(request("a"), queued=True).job

    with pytest.raises(EngineUnavailable, match="The decoder of pictures cannot be started"):
        await QueueExecutor(worker, kept, Uploads(worker.store))(queued, lambda _progress: None)


async def test_a_worker_without_comfyui_has_no_fastwan(worker, kept):
    assert not await asyncio.to_thread(QueueExecutor(worker, kept, Uploads(worker.store)).has_fastwan)
