"""A run ends right whatever the socket, the server and the caller do."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from pathlib import Path
from typing import Any

import pytest

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_recordings import video_graph
from fakes.passing_time import PassingTime
from wanworker.comfyui.client.events import Event, Executing, NodeStates, QueueStatus, Succeeded
from wanworker.comfyui.client.http import ComfyClient, Queue
from wanworker.comfyui.run.monitor import Finished, Limits, run_prompt
from wanworker.errors import EngineFailed, EngineUnavailable, GraphRefused, NoOutput, OutOfMemory

QUICK = Limits(poll_s=0.02, stop_s=2.0)
NEVER = Limits(poll_s=60.0, stop_s=2.0)


async def start(client: ComfyClient, graph: dict[str, Any] | None = None, **more: Any) -> Finished:
    ids = {"prompt_id": str(uuid.uuid4()), "client_id": uuid.uuid4().hex}
    return await run_prompt(client, graph or video_graph(), **{**ids, "limits": QUICK, **more})


def names(finished: Finished) -> list[str]:
    return [file.filename for file in finished.outcome.outputs]


def raising(kind: str) -> dict[str, Any]:
    return {"1": {"class_type": "TestRaise", "inputs": {"kind": kind, "message": "boom"}}}


async def held(server: FakeComfyUI, client: ComfyClient, **more: Any) -> asyncio.Task[Finished]:
    """Start a run whose first node holds, and wait until it does."""
    server.nodes.holds = frozenset({"EmptyImage"})
    task = asyncio.create_task(start(client, **more))
    await asyncio.wait_for(server.nodes.held.wait(), 5)
    return task


async def test_a_run_ends_by_its_events_alone(client: ComfyClient) -> None:
    heard = list[Event]()

    finished = await start(client, limits=NEVER, on_event=heard.append)

    assert ["clip_00001_.mp4"] == names(finished)
    assert "video" == finished.outcome.outputs[0].subfolder
    assert ["1", "2", "3"] == [event.node for event in heard if isinstance(event, Executing) and event.node]
    assert any(isinstance(event, NodeStates) for event in heard)


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_prompt_is_called_queued_only_once_the_server_has_it(
    client: ComfyClient, server: FakeComfyUI, is_there: bool
) -> None:
    """A server that was killed before was not killed because of this prompt."""
    queued: list[bool] = []
    if not is_there:
        await server.die()

    with contextlib.nullcontext() if is_there else pytest.raises(EngineUnavailable):
        await start(client, on_queued=lambda: queued.append(True))

    assert queued == [True] * is_there


async def test_a_run_ends_by_the_history_alone(client: ComfyClient, server: FakeComfyUI) -> None:
    server.silent = True

    assert ["clip_00001_.mp4"] == names(await start(client))


async def test_a_run_ends_without_any_websocket(client: ComfyClient, server: FakeComfyUI) -> None:
    server.gates["/ws"] = asyncio.Event()

    async with ComfyClient(server.url, answer_s=0.05) as impatient:
        finished = await start(impatient)

    assert ["clip_00001_.mp4"] == names(finished)


@pytest.mark.parametrize("drops", [1, 2, 3])
async def test_a_socket_that_drops_loses_nothing(client: ComfyClient, server: FakeComfyUI, drops: int) -> None:
    server.drop_sockets = drops

    assert ["clip_00001_.mp4"] == names(await start(client))
    assert Queue() == await client.queue()


async def test_the_same_graph_again_is_cached_and_names_the_same_file(client: ComfyClient) -> None:
    first, second = await start(client, limits=NEVER), await start(client, limits=NEVER)

    assert names(first) == names(second)
    assert ("1", "2", "3") == second.outcome.cached


async def test_the_end_may_be_told_before_the_history_has_it(client: ComfyClient, server: FakeComfyUI) -> None:
    server.hide_history = 3

    assert ["clip_00001_.mp4"] == names(await start(client, limits=NEVER))


async def test_a_cleared_history_is_made_up_for_by_the_events(client: ComfyClient, server: FakeComfyUI) -> None:
    server.hide_history = 1_000_000

    assert ["clip_00001_.mp4"] == names(await start(client))


async def test_two_clients_get_their_own_files_and_events(client: ComfyClient, server: FakeComfyUI) -> None:
    graphs = [video_graph(color=n, prefix=f"clip{n}") for n in range(4)]
    heard: dict[int, list[Event]] = {n: [] for n in range(4)}

    found = await asyncio.gather(*(start(client, g, on_event=heard[n].append) for n, g in enumerate(graphs)))

    assert [[f"clip{n}_00001_.mp4"] for n in range(4)] == [names(one) for one in found]
    for events in heard.values():
        assert 1 == len({event.prompt_id for event in events if isinstance(event, NodeStates)})
        assert 1 == sum(isinstance(event, Succeeded) for event in events)


async def test_several_outputs_come_in_the_graphs_order_without_previews(client: ComfyClient) -> None:
    graph = video_graph()
    graph["0"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    graph["4"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "deep/er/still"}}
    graph["5"] = {"class_type": "TestGifs", "inputs": {"seed": 1}}

    finished = await start(client, graph)

    assert ["clip_00001_.mp4", "still_00001_.png", "ComfyUI_00001_.mp4"] == names(finished)
    assert ["images", "images", "gifs"] == [file.key for file in finished.outcome.outputs]


async def test_previews_alone_count_when_asked_for(client: ComfyClient) -> None:
    graph = video_graph()
    graph["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}

    with pytest.raises(NoOutput):
        await start(client, graph)
    finished = await start(client, graph, temp_if_alone=True)

    assert ["temp"] == [file.type for file in finished.outcome.outputs]


async def test_a_node_that_raises_ends_the_run_at_once(client: ComfyClient) -> None:
    with pytest.raises(EngineFailed, match=r"Node 1 \(TestRaise\) failed: RuntimeError: boom"):
        await start(client, raising("RuntimeError"), limits=NEVER)


async def test_out_of_memory_is_recognised(client: ComfyClient) -> None:
    with pytest.raises(OutOfMemory, match="would exceed allowed memory"):
        await start(client, raising("OOM"), limits=NEVER)


async def test_a_refused_graph_never_asks_to_be_withdrawn(client: ComfyClient, server: FakeComfyUI) -> None:
    graph = video_graph()
    graph["2"]["inputs"]["fps"] = "fast"

    with pytest.raises(GraphRefused, match="fps"):
        await start(client, graph)

    assert not [request for request in server.seen if "/queue" in request or "/jobs" in request]


async def test_outputs_that_were_left_out_are_told(client: ComfyClient) -> None:
    graph = {**video_graph(), "9": {"class_type": "PreviewImage", "inputs": {}}}

    assert ["9"] == [problem.node for problem in (await start(client, graph)).problems]


async def test_a_cancelled_run_is_gone_from_the_server_first(client: ComfyClient, server: FakeComfyUI) -> None:
    task = await held(server, client)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert Queue() == await client.queue()
    assert ["error"] == [entry["status"]["status_str"] for entry in server.history.values()]


async def test_a_cancelled_run_that_waits_leaves_the_running_one_alone(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    first = await held(server, client)
    queued = asyncio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, QueueStatus) and event.remaining == 2:
            queued.set()

    second = asyncio.create_task(start(client, video_graph(color=7), on_event=on_event))
    await asyncio.wait_for(queued.wait(), 5)

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    server.nodes.release.set()

    assert ["clip_00001_.mp4"] == names(await first)
    assert 1 == len(server.history)


async def test_a_run_cancelled_while_its_post_is_on_the_way_is_withdrawn(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    server.nodes.holds = frozenset({"EmptyImage"})
    server.gates["/prompt"] = asyncio.Event()
    task = asyncio.create_task(start(client))
    while not server.seen["POST /prompt"]:
        await asyncio.sleep(0.001)

    task.cancel()
    asyncio.get_running_loop().call_later(0.05, server.gates["/prompt"].set)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert Queue() == await client.queue()


async def test_a_second_cancellation_does_not_leave_the_prompt_behind(client: ComfyClient, server: FakeComfyUI) -> None:
    task = await held(server, client)

    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert Queue() == await client.queue()


async def test_a_deadline_is_a_cancellation_and_bounded(client: ComfyClient, server: FakeComfyUI) -> None:
    server.heeds_interrupts = False
    server.nodes.holds = frozenset({"EmptyImage"})
    clock = asyncio.get_running_loop().time
    started = clock()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await start(client, limits=Limits(poll_s=0.02, stop_s=0.2))

    assert 10.0 > clock() - started


async def test_a_server_that_dies_and_comes_back_empty_has_lost_the_run(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    task = await held(server, client)

    await server.die()
    await server.start()

    with pytest.raises(EngineFailed, match="lost the run"):
        await asyncio.wait_for(task, 5)


async def test_a_server_that_dies_and_stays_away_is_not_responding(client: ComfyClient, server: FakeComfyUI) -> None:
    task = await held(server, client, limits=Limits(poll_s=0.02, unreachable_s=0.1, stop_s=0.1))

    await server.die()

    with pytest.raises(EngineUnavailable, match="not responding"):
        await asyncio.wait_for(task, 5)


async def test_a_run_removed_by_somebody_else_is_lost(client: ComfyClient, server: FakeComfyUI) -> None:
    first = await held(server, client)
    second = asyncio.create_task(start(client, video_graph(color=7)))
    while not server.pending:
        await asyncio.sleep(0.001)

    await client.cancel(server.pending[0].prompt_id)

    with pytest.raises(EngineFailed, match="lost the run"):
        await asyncio.wait_for(second, 5)
    server.nodes.release.set()
    await first


async def test_a_run_interrupted_by_somebody_else_is_a_failure(client: ComfyClient, server: FakeComfyUI) -> None:
    task = await held(server, client)
    assert server.running is not None

    await client.cancel(server.running.prompt_id)

    with pytest.raises(EngineFailed, match="interrupt"):
        await asyncio.wait_for(task, 5)


async def test_a_dead_worker_thread_is_found_by_its_silence(client: ComfyClient, server: FakeComfyUI) -> None:
    now = [0.0]
    clock = PassingTime(lambda: now[0])
    task = await held(server, client, clock=clock, limits=Limits(poll_s=0.01, stall_s=100, stop_s=0.1))
    server.heeds_interrupts = False
    polls = server.seen["GET /api/jobs"]
    while server.seen["GET /api/jobs"] < polls + 2:
        await asyncio.sleep(0.005)
    assert not task.done()

    now[0] = 101

    with pytest.raises(EngineFailed, match="sent no event for 101 s"):
        await asyncio.wait_for(task, 5)


async def test_the_time_in_which_the_worker_was_frozen_is_not_the_servers_silence(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    now = [0.0]
    task = await held(server, client, clock=lambda: now[0], limits=Limits(poll_s=0.01, stall_s=100))
    now[0] = 3600
    polls = server.seen["GET /api/jobs"]
    while server.seen["GET /api/jobs"] < polls + 3:
        await asyncio.sleep(0.005)
    server.nodes.release.set()

    assert 1 == len(names(await task))


async def test_a_question_that_was_on_its_way_when_the_worker_was_frozen_is_asked_again(server: FakeComfyUI) -> None:
    """Its time is over at once when the worker goes on, and that says nothing of the server."""
    now, prompt_id = [0.0], str(uuid.uuid4())
    asked = f"GET /history/{prompt_id}"
    async with ComfyClient(server.url, answer_s=0.2) as client:
        task = await held(
            server, client, prompt_id=prompt_id, clock=lambda: now[0], limits=Limits(poll_s=0.01, unreachable_s=60)
        )
        server.gates[f"/history/{prompt_id}"] = gate = asyncio.Event()
        questions = server.seen[asked]
        while server.seen[asked] < questions + 1:
            await asyncio.sleep(0.005)
        now[0] = 3600
        while server.seen[asked] < questions + 2:
            await asyncio.sleep(0.005)
        assert not task.done()
        gate.set()
        server.nodes.release.set()

        assert 1 == len(names(await task))


async def test_waiting_in_the_queue_is_no_silence(client: ComfyClient, server: FakeComfyUI) -> None:
    now = [0.0]
    first = await held(server, client)
    limits = Limits(poll_s=0.01, stall_s=100)
    clock = PassingTime(lambda: now[0])
    second = asyncio.create_task(start(client, video_graph(color=7), clock=clock, limits=limits))
    while not server.pending:
        await asyncio.sleep(0.001)
    for _ in range(5):
        now[0] += 90
        polls = server.seen["GET /api/jobs"]
        while server.seen["GET /api/jobs"] < polls + 3:
            await asyncio.sleep(0.005)

    server.nodes.release.set()

    assert [1, 1] == [len(names(await task)) for task in (first, second)]


async def until_told(told: list[int], wanted: list[int]) -> None:
    async with asyncio.timeout(5):
        while told != wanted:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("limits", [QUICK, NEVER], ids=["by asking", "by events"])
async def test_the_prompts_ahead_are_told_until_none_is(
    client: ComfyClient, server: FakeComfyUI, limits: Limits
) -> None:
    first = await held(server, client)
    second = asyncio.create_task(start(client, video_graph(color=7), limits=QUICK))
    while not server.pending:
        await asyncio.sleep(0.001)
    told = list[int]()
    third = asyncio.create_task(start(client, video_graph(color=8), on_wait=told.append, limits=limits))
    await until_told(told, [2])

    second.cancel()
    await asyncio.wait({second})
    await until_told(told, [2, 1])
    server.nodes.release.set()

    assert ["clip_00002_.mp4"] == names(await third)
    assert [2, 1, 0] == told
    await first


async def test_three_that_wait_behind_two_others_each_know_their_place(
    client: ComfyClient, server: FakeComfyUI
) -> None:
    others = [await held(server, client), asyncio.create_task(start(client, video_graph(color=1)))]
    told: list[list[int]] = [[], [], []]
    ours = list[asyncio.Task[Finished]]()
    for number, heard in enumerate(told):
        while len(server.pending) <= number:
            await asyncio.sleep(0.001)
        ours.append(asyncio.create_task(start(client, video_graph(color=10 + number), on_wait=heard.append)))
        await until_told(heard, [2 + number])
    server.nodes.release.set()

    assert 5 == len([names(await task) for task in (*others, *ours)])
    for heard in told:
        assert 0 == heard[-1]
        assert heard == sorted(heard, reverse=True)


async def test_a_run_on_a_free_server_never_waits(client: ComfyClient) -> None:
    told = list[int]()

    await start(client, on_wait=told.append)

    assert [] == told


async def test_a_post_whose_answer_is_lost_is_found_in_the_queue(client: ComfyClient, server: FakeComfyUI) -> None:
    server.lose_answers = {"/prompt"}

    assert ["clip_00001_.mp4"] == names(await start(client))


async def test_no_server_is_the_documented_error(tmp_path: Path) -> None:
    server = FakeComfyUI(tmp_path)
    await server.start()
    await server.die()

    async with ComfyClient(server.url) as client:
        with pytest.raises(EngineUnavailable, match=r"^ComfyUI server is not responding$"):
            await start(client)


async def test_what_the_listener_raises_ends_the_run_and_withdraws_it(client: ComfyClient, server: FakeComfyUI) -> None:
    server.nodes.holds = frozenset({"EmptyImage"})

    def on_event(event: Event) -> None:
        if isinstance(event, Executing):
            raise ConnectionError("the door is gone")

    with pytest.raises(ConnectionError, match="the door is gone"):
        await start(client, on_event=on_event)

    assert Queue() == await client.queue()
