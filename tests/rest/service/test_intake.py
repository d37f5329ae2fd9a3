"""Requests that come all at once, on a volume that takes its time."""

import asyncio
import threading

from fakes.volumes import Volume
from wanworker.app import Worker
from wanworker.jobs.pending_requests import PendingRequests
from wanworker.jobs.runner import Runner
from wanworker.media.threads import in_thread
from wanworker.rest.service.intake import Intake, Order
from wanworker.rest.service.uploads import Uploads

#: More than the threads that any machine's event loop has by default.
MANY = 40


async def _never(_job, _report):
    raise AssertionError("nothing is to be rendered")


async def test_requests_that_wait_for_the_volume_leave_threads_to_those_who_only_ask(settings):
    gate, reached = threading.Event(), threading.Event()

    def hold(call):
        if call == "write":
            reached.set()
            assert gate.wait(60)

    worker = Worker(settings, engines=())
    kept = PendingRequests(settings.jobs_dir / "kept", files=Volume(hold))
    runner = Runner(worker.store, _never, limit=MANY)
    intake = Intake(worker, kept, runner, Uploads(worker.store))
    coming = [
        asyncio.create_task(intake.queue(Order({"prompt": f"cat {number}", "task": "t2v-A14B"})))
        for number in range(MANY)
    ]
    try:
        async with asyncio.timeout(20):
            while not reached.is_set():
                await asyncio.sleep(0.001)
        answered, _ = await asyncio.wait([asyncio.create_task(in_thread(lambda: None))], timeout=20)
        assert answered
        assert runner.waiting == 0
    finally:
        gate.set()
        await asyncio.gather(*coming)

    assert runner.waiting == MANY


async def test_the_place_of_a_new_job_is_found_without_reading_its_request_again(settings):
    asked = []

    async def reading(job):
        asked.append(job.request_id)
        return "there"

    worker = Worker(settings, engines=())
    kept = PendingRequests(settings.jobs_dir / "kept")
    runner = Runner(worker.store, _never, limit=MANY, slots={"there": 0, "here": 0}, place_of=reading)
    working = asyncio.create_task(runner.run())
    job = await Intake(worker, kept, runner, Uploads(worker.store)).queue(Order({"prompt": "a", "task": "t2v-A14B"}))
    async with asyncio.timeout(20):
        while (live := runner.find(job.request_id)) is None or live.place is None:
            await asyncio.sleep(0.001)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)

    assert ("here", []) == (live.place, asked)
