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


async def test_jobs_that_wait_for_the_volume_leave_threads_to_those_who_only_ask():
    gate, reached = threading.Event(), threading.Event()

    class Kept:
        def put(self, _job_id, _url):
            reached.set()
            assert gate.wait(60)

    telling = EndWebhooks(Webhooks(secret=None), Kept())
    noting = [telling.expect("https://example.com/", f"job-{number}") for number in range(40)]
    try:
        async with asyncio.timeout(20):
            while not reached.is_set():
                await asyncio.sleep(0.001)
        answered, _ = await asyncio.wait([asyncio.create_task(in_thread(lambda: None))], timeout=20)
    finally:
        gate.set()
        await asyncio.gather(*noting)

    assert answered
