"""The stream of a job's life."""

import asyncio
import json

import pytest

from wanworker.progress import Progress
from wanworker.rest.responses.events import events


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


class _Silent:
    """A job service with one job whose state never changes."""

    def __init__(self):
        self.asked = 0

    def live(self, _request_id):
        return None

    async def status(self, _request_id):
        self.asked += 1
        if self.asked > 5:
            raise pytest.fail("asked too often")
        return {"status": "processing"}


async def test_silence_is_kept_alive_by_comments():
    async def no_time(_seconds):
        await asyncio.sleep(0)

    stream = events(_Silent(), "x", keepalive_s=3.0, look_s=1.0, sleep=no_time)
    heard = [await anext(stream) for _ in range(2)]

    assert heard[0].startswith("event: progress")
    assert heard[1].startswith(":")
