"""
What the client relies on, asked of the fake in each recorded version and, with COMFYUI_URL set, of a real server.

Only nodes of the core and no weights, so that any server will do. Each run has its own prefix: a real server keeps
its files and its cache. The second half asks with a client that is not ours, so that what ours and the fake agree on
is not all that is known of the wire.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_nodes import MEDIA
from fakes.comfyui_recordings import FOLDER, i2v_graph, slow_graph, video_graph
from fakes.comfyui_rules import VERSIONS, recorded_object_info
from fakes.other_client import Message, OtherClient, in_a_thread
from wanworker.comfyui.client.events import Cached, Event, Executed, Executing, NodeStates, Started, Succeeded
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import with_prefix, with_uploads
from wanworker.comfyui.run.monitor import Finished, Limits, run_prompt
from wanworker.comfyui.run.progress import RunProgress
from wanworker.comfyui.run.validate import validate
from wanworker.errors import EngineFailed, GraphRefused, NoOutput

REAL = os.environ.get("COMFYUI_URL", "")
NEEDS_REAL = [pytest.mark.real_comfyui, pytest.mark.skipif(not REAL, reason="COMFYUI_URL is not set")]


def fake(folder: Path, version: str) -> FakeComfyUI:
    return FakeComfyUI(folder, info=recorded_object_info(version), version=version)


@pytest.fixture(params=[*VERSIONS, pytest.param("real", marks=NEEDS_REAL)])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ComfyClient]:
    """A client of the fake, and one of the real server where there is one."""
    if request.param == "real":
        async with ComfyClient(REAL, token=os.environ.get("COMFYUI_TOKEN")) as client:
            yield client
        return
    async with fake(tmp_path / "comfyui", request.param) as server, ComfyClient(server.url) as client:
        yield client


@pytest.fixture(params=[*VERSIONS, pytest.param("real", marks=NEEDS_REAL)])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OtherClient]:
    """A client that is not ours, of the same servers; at the fake, ImageScale works until it is interrupted."""
    if request.param == "real":
        with closing(OtherClient(REAL.rstrip("/"), token=os.environ.get("COMFYUI_TOKEN"))) as client:
            yield client
        return
    server = fake(tmp_path / "comfyui", request.param)
    server.nodes.holds = frozenset({"ImageScale"})
    with in_a_thread(server), closing(OtherClient(server.url)) as client:
        yield client


@pytest.fixture
def color() -> int:
    """A colour that the server has not cached."""
    return random.SystemRandom().randrange(1 << 24)


async def start(client: ComfyClient, graph: dict[str, Any], **more: Any) -> Finished:
    ids = {"prompt_id": str(uuid.uuid4()), "client_id": uuid.uuid4().hex}
    return await run_prompt(client, graph, **{**ids, "limits": Limits(poll_s=0.5), **more})


async def test_a_server_says_its_version(client: ComfyClient) -> None:
    assert (await client.system_stats())["system"]["comfyui_version"]


async def test_a_video_is_made_and_brought_here(client: ComfyClient, tmp_path: Path, color: int) -> None:
    request_id = uuid.uuid4().hex
    admitted = await validate(client, video_graph(color=color, prefix="a b/\u00fcml"))
    graph = with_prefix(admitted.graph, await client.object_info(), request_id)

    finished = await start(client, graph)
    (file,) = finished.outcome.outputs
    size = await client.view(file, tmp_path / "out.mp4")

    assert (f"\u00fcml_{request_id}_00001_.mp4", "a b", "output") == (file.filename, file.subfolder, file.type)
    assert size == (tmp_path / "out.mp4").stat().st_size > 100
    assert b"ftyp" == (tmp_path / "out.mp4").read_bytes()[4:8]


async def test_the_events_of_a_run_come_in_order(client: ComfyClient, color: int) -> None:
    heard = list[Event]()

    await start(client, video_graph(color=color), on_event=heard.append)

    kinds = [type(event) for event in heard]
    assert kinds.index(Started) < kinds.index(Cached) < kinds.index(NodeStates) < kinds.index(Executed)
    assert kinds.index(Executed) < kinds.index(Succeeded)
    assert ["1", "2", "3"] == [event.node for event in heard if isinstance(event, Executing) and event.node]


async def test_progress_never_falls(client: ComfyClient, color: int) -> None:
    graph, fractions = video_graph(color=color), [0.0]
    progress = RunProgress(graph, clock=asyncio.get_running_loop().time)

    def on_event(event: Event) -> None:
        now = progress.hear(event)
        fractions.append(now.fraction if now else fractions[-1])

    await start(client, graph, on_event=on_event)

    assert sorted(fractions) == fractions
    assert fractions[-1] > 0.9


async def test_the_same_graph_again_is_cached(client: ComfyClient, color: int) -> None:
    first = await start(client, video_graph(color=color))
    second = await start(client, video_graph(color=color))

    assert first.outcome.outputs == second.outcome.outputs
    assert {"1", "2", "3"} == set(second.outcome.cached)


async def test_every_saver_of_the_core_is_found(client: ComfyClient, color: int) -> None:
    graph = video_graph(color=color)
    name = f"all_{uuid.uuid4().hex}"
    images = {"images": ["1", 0], "filename_prefix": name}
    webm, webp = {"codec": "vp9", "fps": 16.0, "crf": 32.0}, {"fps": 16.0, "lossless": False, "quality": 80}
    graph |= {
        "4": {"class_type": "SaveWEBM", "inputs": {**images, **webm}},
        "5": {"class_type": "SaveAnimatedWEBP", "inputs": {**images, **webp, "method": "default"}},
        "6": {"class_type": "SaveImage", "inputs": images},
        "7": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }

    outputs = (await start(client, graph)).outcome.outputs

    assert [".mp4", ".webm", ".webp", ".png"] == list(dict.fromkeys(Path(file.filename).suffix for file in outputs))
    assert {"images"} == {file.key for file in outputs}
    assert {"output"} == {file.type for file in outputs}


async def test_an_uploaded_picture_reaches_its_node(client: ComfyClient, tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(_png())
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "mine.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }

    uploaded = await client.upload(picture, name="0.png", subfolder=uuid.uuid4().hex)
    graph, used = with_uploads(graph, {"mine.png": uploaded.value})
    admitted = await validate(client, graph)
    finished = await start(client, admitted.graph, temp_if_alone=True)

    assert {"mine.png"} == used
    assert ["temp"] == [file.type for file in finished.outcome.outputs]


async def test_a_missing_picture_is_refused_in_words(client: ComfyClient) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "never/was.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }

    with pytest.raises(GraphRefused, match=r"node 1 \(LoadImage\), input 'image': Invalid image file: never/was.png"):
        await start(client, graph)


@pytest.mark.parametrize(
    ("node", "name", "value", "said"),
    [
        ("1", "width", 0, "Value 0 smaller than min of 1"),
        ("1", "width", "wide", "got 'wide'"),
        ("2", "images", ["9", 0], "node '9', which is not in the graph"),
        ("3", "video", ["1", 0], "wrong type"),
        ("4", "upscale_method", "avi", "'avi' is none of 'nearest-exact', 'bilinear'"),
    ],
)
async def test_a_bad_graph_is_refused_in_words_by_the_server_and_beforehand(
    client: ComfyClient, node: str, name: str, value: Any, said: str
) -> None:
    graph = video_graph()
    scale = {"upscale_method": "lanczos", "width": 32, "height": 32, "crop": "disabled"}
    graph["4"] = {"class_type": "ImageScale", "inputs": {"image": ["1", 0], **scale}}
    graph["2"]["inputs"]["images"] = ["4", 0]
    graph[node]["inputs"][name] = value

    with pytest.raises(GraphRefused, match=said):
        await start(client, graph)
    with pytest.raises(GraphRefused, match=rf"node {node} \(\w+\), input '{name}'"):
        await validate(client, graph)


@pytest.mark.parametrize("name", ["format", "format.codec"])
async def test_a_choice_that_a_newer_server_does_not_check_is_refused_beforehand(
    client: ComfyClient, name: str
) -> None:
    graph = video_graph()
    graph["3"]["inputs"] |= {"format": "mp4", "format.codec": "h264"} | {name: "avi"}
    (its_class,) = (await client.node_classes(["SaveVideo"])).values()
    is_dynamic = its_class["input"]["required"].get("format", [""])[0] == "COMFY_DYNAMICCOMBO_V3"
    if name == "format.codec" and not is_dynamic:
        pytest.skip("this server's formats have no codecs of their own")

    with pytest.raises(GraphRefused, match=rf"node 3 \(SaveVideo\), input '{name}': 'avi' is none of 'auto'"):
        await validate(client, graph)


async def test_a_graph_that_saves_nothing_is_refused(client: ComfyClient) -> None:
    graph = video_graph()
    del graph["3"]

    with pytest.raises(GraphRefused, match="no output node"):
        await start(client, graph)


async def test_a_prefix_that_leads_outside_fails_in_its_node(client: ComfyClient, color: int) -> None:
    with pytest.raises(EngineFailed, match=r"Node 3 \(SaveVideo\) failed: .*outside the output folder"):
        await start(client, video_graph(color=color, prefix="../../x"))


async def test_previews_alone_are_no_output(client: ComfyClient, color: int) -> None:
    graph = video_graph(color=color)
    graph["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}

    with pytest.raises(NoOutput):
        await start(client, graph)


async def _cancelled_at(client: ComfyClient, graph: dict[str, Any], kind: type[Event]) -> str:
    """Run *graph*, cancel it at the first event of *kind*, and return its prompt id."""
    prompt_id, reached = str(uuid.uuid4()), asyncio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, kind):
            reached.set()

    task = asyncio.create_task(start(client, graph, prompt_id=prompt_id, on_event=on_event))
    await asyncio.wait_for(reached.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return prompt_id


async def test_a_running_prompt_is_interrupted_by_its_id(client: ComfyClient, color: int) -> None:
    prompt_id = await _cancelled_at(client, slow_graph(color=color), Executing)

    queue = await client.queue()
    assert prompt_id not in {*queue.running, *queue.pending}
    entry = await client.history(prompt_id)
    assert "execution_interrupted" == entry["status"]["messages"][-1][0]


async def test_a_waiting_prompt_is_taken_out_and_the_running_one_goes_on(client: ComfyClient, color: int) -> None:
    started = asyncio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, Executing):
            started.set()

    first = asyncio.create_task(start(client, slow_graph(nodes=12, color=color), on_event=on_event))
    await asyncio.wait_for(started.wait(), 20)
    waiting = str(uuid.uuid4())
    second = asyncio.create_task(start(client, video_graph(color=color), prompt_id=waiting))
    while waiting not in (await client.queue()).pending:
        assert not second.done()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    assert 1 == len((await first).outcome.outputs)
    assert {} == await client.history(waiting)


async def test_two_clients_at_once_hear_their_own(client: ComfyClient, color: int) -> None:
    heard: list[list[Event]] = [[], []]
    graphs = [video_graph(color=color ^ n, prefix=f"two_{uuid.uuid4().hex}") for n in range(2)]

    found = await asyncio.gather(*(start(client, graphs[n], on_event=heard[n].append) for n in range(2)))

    for finished, graph, events in zip(found, graphs, heard, strict=True):
        (file,) = finished.outcome.outputs
        assert file.filename.startswith(graph["3"]["inputs"]["filename_prefix"])
        assert 1 == sum(isinstance(event, Succeeded) for event in events)


async def test_a_socket_that_is_closed_under_way_loses_nothing(client: ComfyClient, color: int) -> None:
    ids = {"prompt_id": str(uuid.uuid4()), "client_id": uuid.uuid4().hex}
    sockets = []

    def on_event(event: Event) -> None:
        if isinstance(event, Executing) and not sockets:
            # A second socket of the same id takes the events away from ours, and closing it silences both.
            sockets.append(asyncio.ensure_future(client.open_socket(ids["client_id"])))

    finished = await start(client, slow_graph(nodes=12, color=color), on_event=on_event, **ids)
    await (await sockets[0]).close()

    assert 1 == len(finished.outcome.outputs)


async def test_a_finished_prompt_cannot_be_found_under_another_id(client: ComfyClient) -> None:
    assert {} == await client.history(str(uuid.uuid4()))


async def test_classes_and_models_are_listed(client: ComfyClient) -> None:
    classes = await client.node_classes(["SaveVideo", "LoadImage", "NoSuchNode"])

    assert {"SaveVideo", "LoadImage"} == set(classes)
    assert isinstance(await client.models("vae"), tuple)
    with pytest.raises(EngineFailed, match="no models folder"):
        await client.models("unet")
    await client.free()


def _png() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    return out.getvalue()


# With requests and websocket-client


def _of(prompt_id: str, heard: list[Message]) -> list[Message]:
    return [message for message in heard if message.data.get("prompt_id") == prompt_id]


def test_another_client_is_told_its_own_id_first(other: OtherClient) -> None:
    with other.listening() as socket:
        (first,) = socket.until("status")

    assert other.client_id == first.data["sid"]
    assert isinstance(first.data["status"]["exec_info"]["queue_remaining"], int)


def test_another_client_without_an_id_is_given_one(other: OtherClient) -> None:
    sids = []
    for _ in range(2):
        with other.listening("") as socket:
            sids.append(socket.until("status")[0].data["sid"])

    assert 2 == len({*filter(None, sids)})


def test_another_client_is_told_what_the_server_can_do(other: OtherClient) -> None:
    with other.listening() as socket:
        socket.say("feature_flags", {"supports_preview_metadata": True})
        flags = socket.until("feature_flags")[-1].data

    assert True is flags["supports_preview_metadata"]
    assert flags["max_upload_size"] > 0


def test_another_client_hears_a_run_from_its_start_to_its_end(other: OtherClient, color: int) -> None:
    with other.listening() as socket:
        prompt_id = other.queue(video_graph(color=color, prefix=f"other_{uuid.uuid4().hex}"))
        heard = _of(prompt_id, socket.until("executing", node=None, prompt_id=prompt_id))

    kinds = list(dict.fromkeys(message.kind for message in heard))
    (executed,) = [message.data for message in heard if message.kind == "executed"]
    states = [message.data["nodes"] for message in heard if message.kind == "progress_state"]
    order = ["execution_start", "execution_cached", "progress_state", "executing", "executed", "execution_success"]
    assert order == kinds
    assert ["1", "2", "3", None] == [message.data["node"] for message in heard if message.kind == "executing"]
    assert ("3", "3") == (executed["node"], executed["display_node"])
    assert ["running"] == [state["state"] for state in states[0].values()]
    assert {"1": "finished", "2": "finished", "3": "finished"} == {
        node: state["state"] for node, state in states[-1].items()
    }


def test_another_client_finds_the_run_in_the_history_and_fetches_its_file(other: OtherClient, color: int) -> None:
    with other.listening() as socket:
        prompt_id = other.queue(video_graph(color=color, prefix=f"other_{uuid.uuid4().hex}"))
        heard = _of(prompt_id, socket.until("executing", node=None, prompt_id=prompt_id))
    history = other.history(prompt_id)
    entry = history[prompt_id]
    (file,) = entry["outputs"]["3"]["images"]
    answer = other.ask("GET", "/view", params={name: file[name] for name in ("filename", "subfolder", "type")})

    (shown,) = [message.data["output"] for message in heard if message.kind == "executed"]
    assert [prompt_id] == list(history)
    assert shown == entry["outputs"]["3"]
    assert ("success", True) == (entry["status"]["status_str"], entry["status"]["completed"])
    assert ["execution_start", "execution_cached", "execution_success"] == [
        kind for kind, _ in entry["status"]["messages"]
    ]
    assert (200, b"ftyp") == (answer.status_code, answer.content[4:8])


def test_another_client_hears_that_the_same_run_again_is_cached(other: OtherClient, color: int) -> None:
    graph = video_graph(color=color, prefix=f"other_{uuid.uuid4().hex}")
    with other.listening() as socket:
        first = other.queue(graph)
        socket.until("executing", node=None, prompt_id=first)
        second = other.queue(graph)
        heard = _of(second, socket.until("executing", node=None, prompt_id=second))

    (cached,) = [message.data["nodes"] for message in heard if message.kind == "execution_cached"]
    assert {"1", "2", "3"} == set(cached)
    assert "execution_success" in {message.kind for message in heard}
    assert other.history(first)[first]["outputs"] == other.history(second)[second]["outputs"]


def test_another_clients_bad_graph_is_400_with_the_node(other: OtherClient) -> None:
    graph = video_graph()
    graph["1"]["inputs"]["width"] = 0
    answer = other.ask("POST", "/prompt", json={"prompt": graph, "client_id": other.client_id})

    assert (400, "prompt_outputs_failed_validation") == (answer.status_code, answer.json()["error"]["type"])
    assert "value_smaller_than_min" == answer.json()["node_errors"]["1"]["errors"][0]["type"]


def test_another_client_that_comes_back_under_its_id_hears_the_rest_of_its_run(other: OtherClient, color: int) -> None:
    with other.listening() as socket:
        prompt_id = other.queue(slow_graph(color=color))
        socket.until("executing", node="2", prompt_id=prompt_id)
    with other.listening() as socket:
        first = socket.until("status")[0]
        running = socket.until("executing")[-1]
        other.ask("POST", "/interrupt", json={"prompt_id": prompt_id})
        interrupted = socket.until("execution_interrupted", prompt_id=prompt_id)[-1]
        socket.until("executing", node=None, prompt_id=prompt_id)

    entry = other.history(prompt_id)[prompt_id]
    assert other.client_id == first.data["sid"]
    assert first.data["status"]["exec_info"]["queue_remaining"] >= 1
    assert running.data["node"]
    assert "1" in interrupted.data["executed"]
    assert ("error", False) == (entry["status"]["status_str"], entry["status"]["completed"])
    assert "execution_interrupted" == entry["status"]["messages"][-1][0]


@pytest.mark.parametrize(("asks", "event"), [(False, 1), (True, 4)])
def test_the_fakes_samplers_show_steps_and_previews_as_recorded(tmp_path: Path, asks: bool, event: int) -> None:
    """A real server needs weights and --preview-method for this: the frames are held against the recorded ones."""
    jpeg = (FOLDER / "preview.bin").read_bytes()[8:]
    with in_a_thread(FakeComfyUI(tmp_path / "comfyui", preview=jpeg)) as server:
        (server.folder / "input" / "star.png").write_bytes(_png())
        graph = i2v_graph()
        for node in graph.values():
            if node["class_type"] == "LoadImage":
                node["inputs"]["image"] = "star.png"
        with closing(OtherClient(server.url)) as other, other.listening() as socket:
            if asks:
                socket.say("feature_flags", {"supports_preview_metadata": True})
                socket.until("feature_flags")
            prompt_id = other.queue(graph)
            heard = socket.until("executing", node=None, prompt_id=prompt_id)

    steps = [message for message in heard if message.kind in {"preview", "progress"}]
    previews, progress = steps[::2], steps[1::2]
    assert [("86", 1, 2), ("86", 2, 2), ("85", 1, 2), ("85", 2, 2)] == [
        (step.data["node"], step.data["value"], step.data["max"]) for step in progress
    ]
    assert [(event, jpeg)] * 4 == [(preview.data["event"], preview.picture) for preview in previews]
    if asks:
        names = {"node_id", "prompt_id", "display_node_id", "parent_node_id", "real_node_id", "image_type"}
        assert names == previews[0].data.keys() - {"event"}
        assert ("86", prompt_id) == (previews[0].data["node_id"], previews[0].data["prompt_id"])
    else:
        assert {1} == {preview.data["format"] for preview in previews}


def test_the_fakes_media_begin_like_real_ones() -> None:
    assert b"ftyp" == MEDIA[".mp4"][4:8]
