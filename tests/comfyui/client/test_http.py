"""One method a route, against the fake server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_recordings import i2v_graph, video_graph
from wanworker.comfyui.client.connection import ServerRefused
from wanworker.comfyui.client.http import ComfyClient, Queue, Uploaded
from wanworker.errors import EngineFailed, GraphRefused, InputRefused, ModelNotFound


async def test_a_graph_is_queued_under_our_own_id(client: ComfyClient, server: FakeComfyUI) -> None:
    server.nodes.holds = frozenset({"EmptyImage"})
    first, second = str(uuid.uuid4()), str(uuid.uuid4())

    submitted = await client.submit(video_graph(), prompt_id=first, client_id="c", extra={"preview_method": "auto"})
    await client.submit(video_graph(color=2), prompt_id=second, client_id="c")
    await server.nodes.held.wait()

    assert (first, ()) == (submitted.prompt_id, submitted.problems)
    assert Queue((first,), (second,)) == await client.queue()
    assert server.running is not None
    assert "auto" == server.running.extra["preview_method"]


async def test_a_refused_graph_is_readable_and_the_cache_is_dropped(client: ComfyClient, server: FakeComfyUI) -> None:
    await client.node_classes(["EmptyImage"])
    graph = video_graph()
    graph["1"]["inputs"]["width"] = 0

    with pytest.raises(GraphRefused, match=r"node 1 \(EmptyImage\), input 'width': Value 0 smaller than min of 1"):
        await client.submit(graph, prompt_id="p", client_id="c")
    await client.node_classes(["EmptyImage"])

    assert 2 == server.seen["GET /object_info/EmptyImage"]


async def test_a_missing_model_names_the_place_where_models_belong(server: FakeComfyUI) -> None:
    (server.folder / "input" / "example.png").write_bytes(b"png")
    graph = i2v_graph()
    graph["90"]["inputs"]["vae_name"] = "nope.safetensors"

    async with ComfyClient(server.url, models_place="/workspace/models/") as client:
        with pytest.raises(ModelNotFound, match=r"^Model 'nope.safetensors' not found in /workspace/models/$"):
            await client.submit(graph, prompt_id="p", client_id="c")


async def test_outputs_that_the_server_leaves_out_are_told(client: ComfyClient) -> None:
    bad = {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}}
    graph = {**video_graph(), "5": {"class_type": "VAELoader", "inputs": {"vae_name": "x"}}, "6": bad}

    submitted = await client.submit(graph, prompt_id="p", client_id="c")

    assert ["node 6 (PreviewImage), input 'images'"] == [str(p).partition(":")[0] for p in submitted.problems]


async def test_history_is_empty_until_the_end(client: ComfyClient) -> None:
    assert {} == await client.history("never/was")


async def test_classes_are_asked_for_once(client: ComfyClient, server: FakeComfyUI) -> None:
    first = await client.node_classes(["EmptyImage", "SaveVideo", "NoSuchNode"])
    second = await client.node_classes(["EmptyImage"])
    client.drop_object_info()
    everything = await client.object_info()
    await client.node_classes(["EmptyImage"])

    assert ["EmptyImage", "SaveVideo"] == list(first)
    assert ["EmptyImage"] == list(second)
    assert len(server.info) == len(everything)
    assert 1 == server.seen["GET /object_info/EmptyImage"]


async def test_models_are_listed_by_folder(client: ComfyClient) -> None:
    assert "wan_2.1_vae.safetensors" in await client.models("vae")
    with pytest.raises(EngineFailed, match="no models folder 'unet'"):
        await client.models("unet")


async def test_freed_memory_forgets_cached_results(client: ComfyClient, server: FakeComfyUI) -> None:
    server._cache["x"] = None

    await client.free()

    assert {} == server._cache


async def test_the_version_is_told(client: ComfyClient) -> None:
    assert "0.10.0" == (await client.system_stats())["system"]["comfyui_version"]


async def test_a_wrong_token_is_no_server_that_is_away(server: FakeComfyUI) -> None:
    server.token = "right"

    async with ComfyClient(server.url, token="wrong") as client:
        with pytest.raises(ServerRefused, match="HTTP 401") as caught:
            await client.system_stats()
    async with ComfyClient(server.url, token="right") as client:
        socket = await client.open_socket("c")
        await socket.close()

    assert "token" in caught.value.hint


@pytest.mark.parametrize("name", ["in.png", "voice.wav", "drive.mp4", "h\u00e9llo \u4e16\u754c.png", 'a"b%20.png'])
async def test_a_file_goes_up_whole_in_its_own_folder(
    client: ComfyClient, server: FakeComfyUI, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "anything"
    path.write_bytes(bytes(range(256)) * 5000)

    uploaded = await client.upload(path, name=name, subfolder="r1")

    assert Uploaded(name, "r1") == uploaded
    assert path.read_bytes() == (server.folder / "input" / uploaded.value).read_bytes()


async def test_the_servers_name_counts(client: ComfyClient, tmp_path: Path) -> None:
    path = tmp_path / "a"
    names = []
    for text, overwrite in (("one", False), ("one", False), ("two", False), ("three", True)):
        path.write_text(text)
        names.append((await client.upload(path, name="a.png", overwrite=overwrite)).value)

    assert ["a.png", "a.png", "a (1).png", "a.png"] == names


@pytest.mark.parametrize(
    ("name", "subfolder"),
    [("../x.png", ""), ("a\\b.png", ""), ("", ""), ("..", ""), ("/etc/x", ""), ("x" * 300, ""), ("x.png", "a/../b")],
)
async def test_a_name_with_a_path_in_it_is_refused_before_anything_is_sent(
    client: ComfyClient, server: FakeComfyUI, tmp_path: Path, name: str, subfolder: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")

    with pytest.raises(InputRefused, match="plain file name"):
        await client.upload(path, name=name, subfolder=subfolder)

    assert 0 == server.seen["POST /upload/image"]


async def test_a_file_over_the_servers_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(3 << 20))

    async with FakeComfyUI(tmp_path / "s", upload_limit_bytes=1 << 20) as server, ComfyClient(server.url) as client:
        with pytest.raises(InputRefused, match="Larger than the ComfyUI server takes"):
            await client.upload(path, name="a.mp4")


def test_a_file_of_another_folder_is_named_with_it() -> None:
    assert "r1/a.png" == Uploaded("a.png", "r1").value
    assert "a.png [temp]" == Uploaded("a.png", "", "temp").value
