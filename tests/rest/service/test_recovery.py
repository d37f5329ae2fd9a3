"""What is left to do for a job that has ended, on a volume that does not let its kept request go."""

import asyncio
import errno

import pytest

from fakes.other_workers import alive, request
from fakes.volumes import Refusals, Volume
from wanworker.jobs.model import JobStatus
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import Runner
from wanworker.jobs.store.job_store import JobStore
from wanworker.rest.service.recovery import JobRecovery


class Delivered:
    """Webhooks that only count."""

    def __init__(self):
        self.urls = []

    async def deliver(self, url, _status):
        self.urls.append(url)


async def _never(_job, _report):
    raise AssertionError("nothing is to be rendered")


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.CANCELLED])
async def test_a_request_that_a_read_only_disk_holds_fast_is_neither_told_twice_nor_taken_up(settings, status):
    volume, webhooks, heard = Refusals(), Delivered(), []
    store = JobStore(settings.jobs_dir)
    kept = PendingRequests(settings.jobs_dir / "kept", files=Volume(volume))
    kept.put("a", {"fields": {}, "webhook_url": "https://example.com/hook"})
    job = store.update(store.claim(request("a")).job, status=status)
    recovery = JobRecovery(store, kept, webhooks, lambda request_id, _job: heard.append(request_id))
    runner = Runner(store, _never, limit=1)
    volume.refuse(errno.EROFS, "unlink")

    recovery.ended("a", job)
    async with asyncio.timeout(10):
        while not recovery._done:
            await asyncio.sleep(0)
    await recovery.take_up(runner)
    held = kept.ids()
    volume.refuse(0)
    await recovery.take_up(runner)

    assert (webhooks.urls, heard, runner.waiting) == (["https://example.com/hook"], ["a"], 0)
    assert (held, kept.ids()) == (["a"], [])
    assert store.find("a") == job


async def test_the_webhook_of_a_job_is_left_to_the_living_server_that_rendered_it(settings):
    webhooks = Delivered()
    kept = PendingRequests(settings.jobs_dir / "kept")
    with alive() as owner:
        store = JobStore(settings.jobs_dir, owner=owner)
        kept.put("a", {"fields": {}, "webhook_url": "https://example.com/hook"})
        store.update(store.claim(request("a")).job, status=JobStatus.COMPLETED)
        recovery = JobRecovery(store, kept, webhooks, lambda *_: None)
        await recovery.take_up(Runner(store, _never, limit=1))
        meanwhile = list(webhooks.urls), kept.ids()
    await recovery.take_up(Runner(store, _never, limit=1))
    async with asyncio.timeout(10):
        while kept.ids():
            await asyncio.sleep(0)

    assert ([], ["a"]) == meanwhile
    assert ["https://example.com/hook"] == webhooks.urls
