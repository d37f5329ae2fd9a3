"""A graph is let in by what the server has now, not by what it had."""

from __future__ import annotations

import pytest

from fakes.comfyui import FakeComfyUI
from fakes.comfyui_recordings import i2v_graph, video_graph
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.run.validate import validate
from wanworker.errors import GraphRefused, ModelNotFound


async def test_a_good_graph_asks_for_its_own_classes_only(client: ComfyClient, server: FakeComfyUI) -> None:
    await validate(client, video_graph())
    await validate(client, video_graph(color=3))

    assert 0 == server.seen["GET /object_info"]
    assert 1 == server.seen["GET /object_info/SaveVideo"]


async def test_a_graph_that_was_found_good_is_not_checked_again(client: ComfyClient) -> None:
    graph = i2v_graph()
    del graph["95"]["inputs"]["weight_dtype"]
    admitted = await validate(client, graph)
    assert admitted.remarks, "a default was filled in"

    again = await validate(client, {node: {**body} for node, body in admitted.graph.items()})

    assert (admitted.graph, (), (), ()) == (again.graph, again.problems, again.remarks, again.left_out)
    assert again.graph is (await validate(client, again.graph)).graph, "a check makes a graph of its own"


async def test_a_graph_that_is_sent_again_is_told_the_same(client: ComfyClient, server: FakeComfyUI) -> None:
    graph = video_graph()
    graph["9"] = {"class_type": "VAELoader", "inputs": {"vae_name": "wan_2.1_vae.safetensors"}}
    first = await validate(client, graph)
    again = await validate(client, graph)
    assert ("node 9 (VAELoader) is used by no output node",) == first.remarks == again.remarks
    assert again.graph is graph, "it was not checked again"

    del graph["3"]["inputs"]["codec"]
    first = await validate(client, graph)
    assert 2 == len(first.remarks)
    assert first.remarks == (await validate(client, graph)).remarks
    assert first.remarks[1:] == (await validate(client, first.graph)).remarks, "nothing is filled in here"


async def test_another_graph_or_another_server_is_checked_again(client: ComfyClient, server: FakeComfyUI) -> None:
    graph = (await validate(client, i2v_graph())).graph
    sampler = next(body for body in graph.values() if body["class_type"] == "KSamplerAdvanced")
    sampler["inputs"]["steps"] = float(sampler["inputs"]["steps"])
    assert graph is not (await validate(client, graph)).graph, "1.0 is not 1"
    other = {**graph, "90": {**graph["90"], "inputs": {"vae_name": "wan2.2_vae.safetensors"}}}
    assert other is not (await validate(client, other)).graph
    graph = (await validate(client, graph)).graph
    graph["90"]["inputs"]["vae_name"] = "gone.safetensors"
    with pytest.raises(ModelNotFound, match="gone"):
        await validate(client, graph)

    graph = (await validate(client, i2v_graph())).graph
    server.info["VAELoader"]["input"]["required"]["vae_name"][0].clear()
    client.drop_object_info()
    with pytest.raises(ModelNotFound, match="vae"):
        await validate(client, graph)


async def test_a_model_that_came_since_is_found(client: ComfyClient, server: FakeComfyUI) -> None:
    graph = i2v_graph()
    await validate(client, graph)
    graph["90"]["inputs"]["vae_name"] = "new.safetensors"
    server.info["VAELoader"]["input"]["required"]["vae_name"][0].append("new.safetensors")

    found = await validate(client, graph)

    assert "new.safetensors" == found.graph["90"]["inputs"]["vae_name"]


async def test_a_missing_model_is_the_documented_error(server: FakeComfyUI) -> None:
    graph = i2v_graph()
    graph["90"]["inputs"]["vae_name"] = "xyz.safetensors"

    async with ComfyClient(server.url, models_place="/workspace/models/") as client:
        with pytest.raises(ModelNotFound, match=r"^Model 'xyz.safetensors' not found in /workspace/models/$"):
            await validate(client, graph)

    assert 0 == server.seen["POST /prompt"]


async def test_the_documents_own_examples_say_that_nothing_saves(client: ComfyClient) -> None:
    graph = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors"}},
        "2": {"class_type": "VAELoader", "inputs": {"vae_name": "wan_2.1_vae.safetensors"}},
    }

    with pytest.raises(GraphRefused, match="no output node: add one that saves, such as SaveVideo, SaveWEBM"):
        await validate(client, graph)


async def test_an_unknown_class_has_near_names_from_the_whole_server(client: ComfyClient) -> None:
    graph = {"1": {"class_type": "SaveVidoe", "inputs": {}}}

    with pytest.raises(GraphRefused, match="nearest: 'SaveVideo'"):
        await validate(client, graph)
