"""Requests and deletions that come all at once, on a volume that takes its time."""

import asyncio
import threading

from fakes.other_workers import request
from fakes.volumes import Volume
from wanworker.app import Worker
from wanworker.jobs.model import JobStatus
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import Runner
from wanworker.media.threads import in_thread
from wanworker.rest.service.intake import NewJob
from wanworker.rest.service.jobs import JobService
from wanworker.rest.service.uploads import Uploads

#: More than the threads that any machine's event loop has by default.
MANY = 40


async def _never(_job, _report):
    raise AssertionError("nothing is to be rendered")


class Held:
    """A service whose requests are on a volume that holds each *call* at a gate."""

    def __init__(self, settings, call):
        self.gate, self.reached = threading.Event(), threading.Event()
        self._call = call
        self.worker = Worker(settings, engines=())
        kept = PendingRequests(settings.jobs_dir / "kept", files=Volume(self._before))
        self.runner = Runner(self.worker.store, _never, limit=MANY)
        self.service = JobService(self.worker, kept, self.runner, Uploads(self.worker.store))

    def _before(self, call):
        if call == self._call:
            self.reached.set()
            assert self.gate.wait(60)

    async def answers_meanwhile(self, coming):
        """Say whether a thread answers while *coming* are held. Then let these end."""
        tasks = [asyncio.create_task(each) for each in coming]
        try:
            async with asyncio.timeout(20):
                while not self.reached.is_set():
                    await asyncio.sleep(0.001)
            answered, _ = await asyncio.wait([asyncio.create_task(in_thread(lambda: None))], timeout=20)
        finally:
            self.gate.set()
            await asyncio.gather(*tasks)
        return bool(answered)


async def test_requests_that_wait_for_the_volume_leave_threads_to_those_who_only_ask(settings):
    held = Held(settings, "write")
    new = [NewJob({"prompt": f"cat {number}", "task": "t2v-A14B"}) for number in range(MANY)]

    assert await held.answers_meanwhile([held.service.queue(each) for each in new])
    assert held.runner.waiting == MANY


async def test_so_do_deletions(settings):
    held = Held(settings, "unlink")
    store = held.worker.store
    names = [f"job-{number}" for number in range(MANY)]
    for name in names:
        store.update(store.claim(request(name)).job, status=JobStatus.CANCELLED)

    assert await held.answers_meanwhile([held.service.delete(name) for name in names])
    assert store.recent().total == 0
