"""A server's queue is read and emptied by the newest routes that it has, and by the older ones where it lacks them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_recordings import video_graph
from wanworker.comfyui.client.http import ComfyClient, Queue

ONE, TWO, THREE = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
CANCEL = f"POST /api/jobs/{ONE}/cancel"

#: What each version is asked, in the order of the questions, for one look at the queue and one cancelled prompt.
ASKED = {
    "0.3.64": ["GET /api/jobs", "GET /queue", CANCEL, "POST /queue", "POST /interrupt"],
    "0.10.0": ["GET /api/jobs", CANCEL, "POST /queue", "POST /interrupt"],
    "0.33.0": ["GET /api/jobs", CANCEL],
}


@pytest.fixture(params=ASKED)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FakeComfyUI]:
    """A server on which prompt ONE runs and holds; TWO and THREE wait behind it."""
    async with FakeComfyUI(tmp_path / "comfyui", version=request.param) as running, ComfyClient(running.url) as client:
        running.nodes.holds = frozenset({"EmptyImage"})
        for color, prompt_id in enumerate((ONE, TWO, THREE)):
            await client.submit(video_graph(color=color), prompt_id=prompt_id, client_id="c")
        await running.nodes.held.wait()
        running.seen.clear()
        yield running


async def test_the_queue_is_told_in_the_order_in_which_it_runs(client: ComfyClient, server: FakeComfyUI) -> None:
    assert Queue((ONE,), (TWO, THREE)) == await client.queue()

    server.pending[1].number = -1  # sent to the front

    assert Queue((ONE,), (THREE, TWO)) == await client.queue()


async def test_a_waiting_prompt_is_taken_out_and_no_other_one(client: ComfyClient, server: FakeComfyUI) -> None:
    await client.cancel(TWO)

    assert Queue((ONE,), (THREE,)) == await client.queue()
    assert not server.interrupted


async def test_a_running_prompt_is_interrupted_and_an_unknown_one_is_nothing(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    server.heeds_interrupts = False  # the next prompt would begin at once, and with it the server forgets
    await client.cancel("never was")
    assert not server.interrupted

    await client.cancel(ONE)

    assert server.interrupted


async def test_what_a_server_lacks_is_asked_once_only(client: ComfyClient, server: FakeComfyUI) -> None:
    for _ in range(3):
        await client.queue()
        await client.cancel(ONE)

    asked = ASKED[server.version]
    old = [request for request in asked if "/jobs" not in request]
    lacking = {"GET /queue": "GET /api/jobs", "POST /queue": CANCEL}
    once = {lacking[request] for request in old if request in lacking}
    assert {request: 1 if request in once else 3 for request in asked} == dict(server.seen)


async def test_a_list_that_fails_on_somebodys_odd_prompt_is_asked_for_in_the_older_way(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    server.pending[0].extra["extra_pnginfo"] = {"workflow": None}

    assert Queue((ONE,), (TWO, THREE)) == await client.queue()
