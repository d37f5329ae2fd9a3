"""What the worker does once, before its first job."""

import asyncio
import threading

import pytest

from wanworker.actions.base import Call
from wanworker.app import Worker
from wanworker.errors import InvalidRequest
from wanworker.jobs.store.job_store import JobStore


class HeldStore(JobStore):
    """A store of a slow volume: looking for what an earlier process left ends when *go* is set."""

    def __init__(self, folder, order):
        super().__init__(folder)
        self.go = threading.Event()
        self.looks = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._order = order

    def recover(self):
        assert threading.current_thread() is not threading.main_thread(), "the event loop waits for the volume"
        self._loop.call_soon_threadsafe(self.looks.set)
        self.go.wait()
        self._order.append("recovered")
        return super().recover()


async def test_jobs_wait_for_the_recovery_and_the_event_loop_does_not(settings):
    order = []
    worker = Worker(settings, engines=())
    worker.store = HeldStore(settings.jobs_dir, order)

    async def ask():
        with pytest.raises(InvalidRequest):
            await worker.perform({"action": "status", "request_id": "no id!"}, Call("a", None, lambda _: None, 10**7))
        order.append("answered")

    async with asyncio.TaskGroup() as jobs:
        jobs.create_task(ask())
        await worker.store.looks.wait()
        jobs.create_task(ask())
        asyncio.get_running_loop().call_soon(worker.store.go.set)

    assert order == ["recovered", "answered", "answered"]
    await worker.close()
