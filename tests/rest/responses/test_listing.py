"""Pages of jobs, shared by those who ask at the same time."""

import asyncio
import json

from starlette.datastructures import Headers

from wanworker.rest.responses.listing import Listings


class _Service:
    """A job service that counts how often its records are read, and waits for a gate to do so."""

    def __init__(self):
        self.reads = 0
        self.state = 0
        self.gate = asyncio.Event()

    async def listing(self, limit, cursor):
        self.reads += 1
        await self.gate.wait()
        return {"jobs": [], "total": self.reads, "next_cursor": cursor, "limit": limit}


def total(response):
    return json.loads(response.body)["total"]


async def test_a_hundred_who_ask_at_once_cost_one_reading():
    service = _Service()
    listings = Listings(service, clock=lambda: 1.0)
    asking = [asyncio.create_task(listings.respond(50, None, Headers())) for _ in range(100)]
    leaving = asyncio.create_task(listings.respond(50, None, Headers()))
    await asyncio.sleep(0)
    leaving.cancel()
    service.gate.set()

    assert [1] * 100 == [total(await each) for each in asking]
    assert 1 == service.reads


async def test_a_page_is_read_again_after_its_time_or_a_change_and_each_page_for_itself():
    service, now = _Service(), [1.0]
    service.gate.set()
    listings = Listings(service, holds_s=0.5, clock=lambda: now[0])

    assert [1, 1, 2] == [
        total(await listings.respond(*page, Headers())) for page in ((50, None), (50, None), (10, None))
    ]
    service.state = 1
    assert 3 == total(await listings.respond(50, None, Headers()))
    now[0] = 1.6
    assert 3 == total(await listings.respond(50, None, Headers())), (
        "while a page is read again, the one before is answered"
    )
    async with asyncio.timeout(20):
        while 4 != total(await listings.respond(50, None, Headers())):
            await asyncio.sleep(0)
    now[0] = 3.7
    assert 5 == total(await listings.respond(50, None, Headers())), "a page that is too old is not answered any more"


async def test_what_starts_ends_or_goes_is_in_the_next_page(rest):
    job_id = await rest.generate()
    _, first = await rest.ask("GET", "/jobs")
    await rest.until(job_id)
    _, ended = await rest.ask("GET", "/jobs")
    await rest.bytes_of(f"/download/{job_id}")
    _, taken = await rest.ask("GET", "/jobs")
    await rest.ask("DELETE", f"/jobs/{job_id}")
    _, deleted = await rest.ask("GET", "/jobs")

    assert 1 == first["total"]
    assert ("completed", True) == (ended["jobs"][0]["status"], ended["jobs"][0]["video_ready"])
    assert not taken["jobs"][0]["video_ready"]
    assert [] == deleted["jobs"]


async def test_a_page_looks_for_its_videos_in_one_go_and_forgets_none_of_them(rest, monkeypatch):
    monkeypatch.setattr("wanworker.rest.service.jobs._REMEMBERED", 2)
    for _ in range(5):
        await rest.until(await rest.generate())
    _, page = await rest.ask("GET", "/jobs")
    _, again = await rest.ask("GET", "/jobs?limit=6")

    assert [True] * 5 == [job["video_ready"] for job in page["jobs"]] == [job["video_ready"] for job in again["jobs"]]
