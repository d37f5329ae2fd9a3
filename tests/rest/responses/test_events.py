"""The stream of a job's life."""

import asyncio
import json

import pytest

from wanworker.errors import EngineUnavailable
from wanworker.progress import Progress
from wanworker.rest.http.limits import Limits
from wanworker.rest.responses.events import EventStreams, Pace


async def _stream(rest, job_id):
    """Yield (event, data) as they come."""
    async with rest.session.get(f"{rest.url}/events/{job_id}") as answer:
        assert ("text/event-stream", 200) == (answer.content_type, answer.status)
        name = ""
        async for line in answer.content:
            if line.startswith(b"event: "):
                name = line.removeprefix(b"event: ").decode().strip()
            elif line.startswith(b"data: "):
                yield name, json.loads(line.removeprefix(b"data: "))


async def test_progress_comes_as_it_happens_and_the_end_ends_the_stream(rest):
    seen = asyncio.Semaphore(0)

    async def render(_spec, out_path, report):
        for step in range(3, 6):
            report(Progress("sampling", step / 6, step - 2, 3, 1.0))
            await seen.acquire()
        out_path.write_bytes(rest.engine.clip.read_bytes())

    rest.engine.act = render
    job_id = await rest.generate()
    found = []
    async with asyncio.timeout(20):
        async for name, data in _stream(rest, job_id):
            found.append((name, data))
            if data.get("stage") == "sampling":
                seen.release()
    percents = [data["progress"] for _, data in found]

    assert "completed" == found[-1][0]
    assert {"progress"} == {name for name, _ in found[:-1]}
    assert sorted(percents) == percents
    assert {50, 66, 83, 100} <= set(percents)
    assert await rest.status(job_id) == found[-1][1]


async def test_a_job_that_has_ended_is_one_event(rest):
    job_id = await rest.generate()
    await rest.until(job_id)

    assert ["completed"] == [name async for name, _ in _stream(rest, job_id)]


async def test_a_deleted_job_ends_the_stream(rest):
    async def hang(_spec, _path, _report):
        await asyncio.Event().wait()

    rest.engine.act = hang
    job_id = await rest.generate()
    names = []
    async with asyncio.timeout(20):
        async for name, data in _stream(rest, job_id):
            names.append(name)
            if data.get("stage") == "sampling":
                await rest.ask("DELETE", f"/jobs/{job_id}")

    assert "deleted" == names[-1]
    assert {"progress"} == set(names[:-1])


async def test_an_unknown_job_is_404_not_a_stream(rest):
    assert 404 == (await rest.ask("GET", "/events/nothing"))[0]


class _Service:
    """A job service with one job of another process, which changes only when the test says so."""

    def __init__(self):
        self.looks = 0
        self.shown = {"status": "processing"}
        self.looked = asyncio.Event()

    def live(self, _request_id):
        return None

    async def status(self, _request_id):
        self.looks += 1
        self.looked.set()
        return self.shown


async def _at_once(_seconds):
    await asyncio.sleep(0)


async def _for_ever(_seconds):
    await asyncio.Event().wait()


async def test_silence_is_kept_alive_by_comments():
    stream = EventStreams(_Service(), 1, pace=Pace(keepalive_s=0.01, sleep=_for_ever)).follow("x")
    heard = [await anext(stream) for _ in range(3)]

    assert heard[0].startswith("event: progress")
    assert [":", ":"] == [text[0] for text in heard[1:]]


async def test_a_hundred_who_watch_a_job_cost_one_look():
    service = _Service()
    streams = EventStreams(service, 100, pace=Pace(sleep=_for_ever))
    followed = [streams.follow("x") for _ in range(100)]
    async with asyncio.timeout(10):
        heard = await asyncio.gather(*(anext(stream) for stream in followed))

    assert 1 == service.looks
    assert 1 == len(set(heard))
    for stream in followed:
        await stream.aclose()


async def test_nobody_looks_at_a_job_that_nobody_watches_any_more():
    service = _Service()
    stream = EventStreams(service, 1, pace=Pace(sleep=_at_once)).follow("x")
    await anext(stream)
    await stream.aclose()
    service.looked.clear()
    looks = service.looks
    for _ in range(20):
        await asyncio.sleep(0)

    assert looks == service.looks


async def test_who_reads_slowly_gets_the_newest_event_alone():
    service = _Service()
    stream = EventStreams(service, 1, pace=Pace(sleep=_at_once)).follow("x")
    await anext(stream)
    for percent in range(5):
        service.shown = {"status": "processing", "progress": percent}
        service.looked.clear()
        await service.looked.wait()
    service.shown = {"status": "completed"}
    async with asyncio.timeout(10):
        heard = [text async for text in stream]

    assert "event: completed" in heard[-1]
    assert 2 >= len(heard)


async def test_a_failure_ends_the_stream_also_of_a_client_that_was_reading():
    service = _Service()
    failed = asyncio.Event()

    async def fail(_request_id):
        failed.set()
        raise EngineUnavailable("The volume is gone.")

    stream = EventStreams(service, 1, pace=Pace(keepalive_s=0.01, sleep=_at_once)).follow("x")
    await anext(stream)  # the client is still busy with this when the look at the job fails
    service.status = fail
    await failed.wait()
    await asyncio.sleep(0)

    with pytest.raises(EngineUnavailable):
        await anext(stream)


async def test_a_stream_too_many_is_refused_and_a_place_comes_free(serve):
    async def hang(_spec, _path, _report):
        await asyncio.Event().wait()

    async with serve(limits=Limits(streams=1)) as rest, asyncio.timeout(20):
        rest.engine.act = hang
        job_id = await rest.generate()
        async with rest.session.get(f"{rest.url}/events/{job_id}") as first:
            await first.content.readline()
            async with rest.session.get(f"{rest.url}/events/{job_id}") as second:
                refused = (second.status, second.headers["Retry-After"], (await second.json())["code"])
        while True:  # until the server has heard that the first one left
            async with rest.session.get(f"{rest.url}/events/{job_id}") as third:
                if third.status == 200:
                    break

        assert (503, "5", "SERVER_BUSY") == refused
