"""The memory of all bodies together."""

import asyncio
import io

import aiohttp
import pytest

from wanworker.rest.http.limits import Limits

MB = 1000**2
PICTURE = "A" * 600_000


@pytest.fixture
async def rest(serve):
    async with serve(limits=Limits(bodies_bytes=MB)) as server:
        yield server


async def _hold(rest):
    """Let every render wait, and return what lets them go on."""
    go_on = asyncio.Event()

    async def wait(_spec, out_path, _report):
        await go_on.wait()
        out_path.write_bytes(rest.engine.clip.read_bytes())

    rest.engine.act = wait
    return go_on


def _job(seed):
    """Return a job with a large input that its engine does not look at."""
    return {
        "input": {"prompt": "a cat", "task": "t2v-A14B", "size": "64*64", "frame_num": 5, "seed": seed, "x": PICTURE}
    }


async def test_the_input_of_a_job_counts_until_the_job_has_ended(rest):
    go_on = await _hold(rest)
    _, first = await rest.ask("POST", "/v2/x/run", json=_job(1))
    async with rest.session.post(f"{rest.url}/v2/x/run", json=_job(2)) as answer:
        refused = (answer.status, answer.headers["Retry-After"], answer.headers["Connection"], await answer.json())
    go_on.set()
    async with asyncio.timeout(20):
        while (await rest.ask("GET", f"/v2/x/status/{first['id']}"))[1]["status"] != "COMPLETED":
            await asyncio.sleep(0.02)
    status, again = await rest.ask("POST", "/v2/x/runsync", json=_job(3))

    assert (503, "5", "close", "SERVER_BUSY") == (*refused[:3], refused[3]["code"])
    assert (200, "COMPLETED") == (status, again["status"])


async def test_a_body_that_was_refused_or_read_counts_no_more(rest):
    for _ in range(4):
        assert 422 == (await rest.ask("POST", "/generate", json={"prompt": "", "image": PICTURE}))[0]
        assert 422 == (await rest.ask("POST", "/v2/x/run", json={"input": PICTURE}))[0]


async def test_forms_count_too(rest):
    form = aiohttp.FormData()
    form.add_field("image", io.BytesIO(bytes(2 * MB)), filename="a.png")

    status, failure = await rest.ask("POST", "/generate", data=form)

    assert (503, "SERVER_BUSY") == (status, failure["code"])
