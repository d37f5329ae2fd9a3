"""What waits to be told to webhooks has bounds, because each holds an answer with a video."""

import asyncio
import threading

import pytest

from fakes.webhook_receiver import Receiver
from wanworker.jobs.store.job_store import JobStore
from wanworker.media.threads import in_thread
from wanworker.rest.service._end_webhooks import EndWebhooks
from wanworker.rest.service.webhooks import Network, Webhooks


@pytest.mark.parametrize(
    ("bounds", "sizes", "dropped"),
    [
        ({"most": 2}, (1, 1, 1), "c"),
        ({"most_characters": 10}, (5, 5, 1), "c"),
        ({"most_characters": 10}, (50, 1), "b"),  # a single one is never too large
    ],
)
async def test_what_is_too_much_beside_what_waits_is_dropped_with_its_name(settings, caplog, bounds, sizes, dropped):
    asleep = asyncio.Event()

    async def sleep(_seconds):
        asleep.set()
        await asyncio.Event().wait()

    async with Receiver([500] * 9) as receiver, asyncio.timeout(20):
        webhooks = Webhooks(secret=None, allow_hosts=("127.0.0.1",), network=Network(sleep=sleep))
        telling = EndWebhooks(webhooks, JobStore(settings.jobs_dir).ends, **bounds)
        for name, size in zip("abc", sizes, strict=False):
            telling.tell(receiver.url, name, {"id": name}, size)
        told = [line for line in caplog.messages if "was dropped" in line]
        await asleep.wait()
        await telling.close()
        telling.tell(receiver.url, "next", {"id": "next"}, 50)
        await telling.close()

    assert [f"the webhook of job {dropped} was dropped: {len(sizes) - 1} others wait for slow receivers"] == told
    assert not any("job next" in line for line in caplog.messages)


class Told:
    """Webhooks that only note whom they told."""

    def __init__(self):
        self.told = set()

    async def post(self, _url, job_id, make_body, _waits_s):
        self.told.add((job_id, make_body()))


class Held:
    """A volume that keeps what is put, once the gate is open."""

    def __init__(self):
        self.gate, self.reached = threading.Event(), threading.Event()
        self.kept = {}

    def put(self, job_id, *what):
        self.reached.set()
        assert self.gate.wait(60)
        self.kept[job_id] = what

    def remove(self, job_id):
        del self.kept[job_id]

    def close(self):
        pass


@pytest.mark.parametrize("moment", ["start", "end"])
async def test_jobs_that_wait_for_the_volume_leave_threads_to_those_who_only_ask(moment):
    kept, webhooks, names = Held(), Told(), [f"job-{number}" for number in range(40)]
    gate, reached = kept.gate, kept.reached
    telling = EndWebhooks(webhooks, kept)
    if moment == "start":
        noting = [telling.expect("https://example.com/", name) for name in names]
    else:
        for name in names:
            telling.tell("https://example.com/", name, {}, 0)
        noting = list(telling._waiting)
    try:
        async with asyncio.timeout(20):
            while not reached.is_set():
                await asyncio.sleep(0.001)
        answered, _ = await asyncio.wait([asyncio.create_task(in_thread(lambda: None))], timeout=20)
    finally:
        gate.set()
        await asyncio.gather(*noting)

    assert answered
    assert webhooks.told == ({(name, b"{}") for name in names} if moment == "end" else set())
    assert set(kept.kept) == (set(names) if moment == "start" else set())


async def test_a_server_that_stops_keeps_every_end_that_waited_for_the_volume():
    kept, names = Held(), [f"job-{number}" for number in range(10)]
    telling = EndWebhooks(Told(), kept)
    for name in names:
        telling.expect("https://example.com/", name)
        telling.tell("https://example.com/", name, {"id": name}, 0)
    closing = asyncio.create_task(telling.close())
    async with asyncio.timeout(20):
        while not kept.reached.is_set():
            await asyncio.sleep(0.001)
        kept.gate.set()
        await closing

    assert kept.kept == {name: ("https://example.com/", f'{{"id":"{name}"}}'.encode()) for name in names}
