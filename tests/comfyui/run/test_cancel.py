"""A prompt is taken back, waiting or running, and nobody else's."""

from __future__ import annotations

import pytest

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_recordings import video_graph
from wanworker.comfyui.client.http import ComfyClient, Queue
from wanworker.comfyui.run.cancel import cancel_prompt


@pytest.fixture(autouse=True)
async def _busy(client: ComfyClient, server: FakeComfyUI) -> None:
    """One prompt runs and holds; one waits behind it."""
    server.nodes.holds = frozenset({"EmptyImage"})
    await client.submit(video_graph(), prompt_id="runs", client_id="c")
    await client.submit(video_graph(color=2), prompt_id="waits", client_id="c")
    await server.nodes.held.wait()


async def test_a_waiting_prompt_leaves_the_queue(client: ComfyClient) -> None:
    assert await cancel_prompt(client, "waits", within_s=5, step_s=0.01)
    assert Queue(("runs",), ()) == await client.queue()


async def test_a_running_prompt_is_interrupted_and_waited_for(client: ComfyClient) -> None:
    assert await cancel_prompt(client, "runs", within_s=5, step_s=0.01)
    assert "runs" not in (await client.queue()).running
    assert "error" == (await client.history("runs"))["status"]["status_str"]


async def test_an_unknown_prompt_is_gone_already(client: ComfyClient) -> None:
    assert await cancel_prompt(client, "unknown", within_s=5)
    assert Queue(("runs",), ("waits",)) == await client.queue()


async def test_a_node_that_cannot_be_interrupted_is_waited_for_so_long_only(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    server.heeds_interrupts = False

    assert not await cancel_prompt(client, "runs", within_s=0.05, step_s=0.01)


async def test_a_dead_server_holds_nothing_of_ours(client: ComfyClient, server: FakeComfyUI) -> None:
    await server.die()

    assert not await cancel_prompt(client, "runs", within_s=5)
