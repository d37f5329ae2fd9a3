"""Requests, deletions, cancellations and ends that come all at once, on a volume that takes its time."""

import asyncio
import threading

import pytest

from fakes.other_workers import request
from fakes.volumes import Volume
from wanworker.app import Worker
from wanworker.errors import InputUnavailable
from wanworker.jobs.model import JobStatus
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import WRITTEN_AT_ONCE, Runner
from wanworker.jobs.store.job_store import JobStore
from wanworker.media.inputs.reader import Source
from wanworker.media.threads import in_thread
from wanworker.rest.service.intake import NewJob
from wanworker.rest.service.jobs import JobService
from wanworker.rest.service.recovery import JobRecovery
from wanworker.rest.service.uploads import Uploads
from wanworker.rest.service.webhooks import Webhooks

#: More than the threads that any machine's event loop has by default.
MANY = 40
NAMES = [f"job-{number}" for number in range(MANY)]


async def _never(_job, _report):
    raise AssertionError("nothing is to be rendered")


class Held:
    """A service with a volume that holds each *call* at a gate, from `hold` on."""

    def __init__(self, settings, call):
        self.gate, self.reached = threading.Event(), threading.Event()
        self._call, self._is_held = call, False
        volume = Volume(self._before)
        self.worker = Worker(settings, engines=())
        self.worker.store = self.store = JobStore(
            settings.jobs_dir, files=volume, in_background=lambda _work, _every_s: None
        )
        self.kept = PendingRequests(settings.jobs_dir / "kept", files=volume)
        turns = asyncio.Semaphore(WRITTEN_AT_ONCE)
        self.recovery = JobRecovery(self.store, self.kept, Webhooks(secret=None), lambda *_: None, turns=turns)
        self.runner = Runner(self.store, _never, limit=MANY, turns=turns)
        self.service = JobService(self.worker, self.kept, self.runner, Uploads(self.store))

    def hold(self):
        self._is_held = True

    def _before(self, call):
        if self._is_held and call == self._call:
            self.reached.set()
            assert self.gate.wait(60)

    async def answers_meanwhile(self, coming):
        """Say whether a thread answers while *coming* are held. Then let these end."""
        self.hold()
        tasks = [asyncio.create_task(each) for each in coming]
        try:
            await self.until_reached()
            answered, _ = await asyncio.wait([asyncio.create_task(in_thread(lambda: None))], timeout=20)
        finally:
            self.gate.set()
            await asyncio.gather(*tasks)
        return bool(answered)

    async def until_reached(self):
        async with asyncio.timeout(20):
            while not self.reached.is_set():
                await asyncio.sleep(0.001)


async def test_requests_that_wait_for_the_volume_leave_threads_to_those_who_only_ask(settings):
    held = Held(settings, "write")
    new = [NewJob({"prompt": f"cat {number}", "task": "t2v-A14B"}) for number in range(MANY)]

    assert await held.answers_meanwhile([held.service.queue(each) for each in new])
    assert held.runner.waiting == MANY


async def test_so_do_those_whose_files_come_first(settings):
    """Each makes the folder first, looks for it again, and is refused for its picture; what it left is removed."""
    held = Held(settings, "mkdir")
    picture = {"reference_image": Source("base64", "bm8gcGljdHVyZQ==")}

    async def refused(number):
        with pytest.raises(InputUnavailable):
            await held.service.queue(NewJob({"prompt": f"cat {number}", "task": "ti2v-5B"}, inputs=picture))

    assert await held.answers_meanwhile([refused(number) for number in range(MANY)])
    assert held.kept.ids() == []


async def test_so_do_deletions(settings):
    held = Held(settings, "unlink")
    store = held.store
    for name in NAMES:
        store.update(store.claim(request(name)).job, status=JobStatus.CANCELLED)

    assert await held.answers_meanwhile([held.service.delete(name) for name in NAMES])
    assert store.recent().total == 0


async def test_so_do_cancellations(settings):
    held = Held(settings, "write")
    for name in NAMES:
        await held.runner.submit(lambda name=name: (request(name), None))

    assert await held.answers_meanwhile([held.runner.cancel(name) for name in NAMES])
    assert {held.store.find(name).status for name in NAMES} == {JobStatus.CANCELLED}


async def test_so_does_what_is_left_to_do_for_jobs_that_ended(settings):
    held = Held(settings, "unlink")
    jobs = []
    for name in NAMES:
        held.kept.put(name, {"fields": {}})
        jobs.append(held.store.update(held.store.claim(request(name)).job, status=JobStatus.CANCELLED))

    async def left(job):
        held.recovery.ended(job.request_id, job)
        await held.recovery._under_way[job.request_id]

    assert await held.answers_meanwhile([left(job) for job in jobs])
    assert held.kept.ids() == []


async def test_requests_that_are_called_off_while_they_have_every_turn_end_all_the_same(settings):
    held = Held(settings, "make")
    held.hold()
    orders = [NewJob({"prompt": f"cat {number}", "task": "t2v-A14B"}) for number in range(WRITTEN_AT_ONCE)]
    tasks = [asyncio.create_task(held.service.queue(order)) for order in orders]
    await held.until_reached()
    for task in tasks:
        task.cancel()
    held.gate.set()
    async with asyncio.timeout(20):
        await asyncio.wait(tasks)

    assert {job.status for job in held.store.recent().jobs} <= {JobStatus.CANCELLED}
    assert held.kept.ids() == []
