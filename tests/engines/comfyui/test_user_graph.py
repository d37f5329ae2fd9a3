"""A caller's own graph: checked with the files that come along, and its outputs under names that fit."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path

import pytest

from fakes.graphs import reading, saving
from wanworker.comfyui.client.history import OutputFile
from wanworker.comfyui.client.http import ComfyClient
from wanworker.engines.comfyui._slots import workflow_slots
from wanworker.engines.comfyui._user_graph import checked_graph, fetched
from wanworker.errors import GraphRefused, NoOutput

DATA = Path(__file__).parents[2] / "data" / "comfyui"


@pytest.fixture
async def client(comfyui):
    async with ComfyClient(comfyui.url) as made:
        yield made


def put(comfyui, name, *, subfolder="", data=b"x"):
    """Put a file into the server's output folder and return it as the history names it."""
    path = comfyui.folder / "output" / subfolder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return OutputFile(name, subfolder, "output", "9", "images")


async def test_a_file_that_is_sent_excuses_its_own_input_only(client):
    graph = reading("VHS_LoadVideo", "video", "dance.mp4")
    checked, _, _ = await checked_graph(client, graph, ["dance.mp4"])
    graph["9"]["inputs"]["images"] = ["44", 0]
    with pytest.raises(GraphRefused) as refused:
        await checked_graph(client, graph, ["dance.mp4"])

    assert checked["4"]["inputs"]["video"] == "dance.mp4"
    assert "node '44', which is not in the graph" in str(refused.value)
    assert "dance.mp4" not in str(refused.value)


async def test_without_its_file_the_same_graph_is_refused(client):
    with pytest.raises(GraphRefused, match=r"'dance\.mp4' is none of"):
        await checked_graph(client, reading("VHS_LoadVideo", "video", "dance.mp4"), ["other.mp4"])


async def test_the_callers_document_is_left_as_it_was(client):
    graph = saving("SaveVideo")
    del graph["9"]["inputs"]["codec"]
    checked, remarks, _ = await checked_graph(client, graph)

    assert "codec" not in graph["9"]["inputs"]
    assert checked["9"]["inputs"]["codec"] == "auto"
    assert len(remarks) == 1


async def test_a_linked_prefix_is_told_before_the_run(client):
    graph = saving("SaveVideo")
    graph["7"] = {"class_type": "PrimitiveString", "inputs": {"value": "clip"}}
    graph["9"]["inputs"]["filename_prefix"] = ["7", 0]
    found = await checked_graph(client, graph)

    assert "node 9 (SaveVideo): filename_prefix is the request id, not what node 7 gives" in found.remarks[0]


class Watched(dict):
    """Note which thread reads which key."""

    def __init__(self, fields):
        super().__init__(fields)
        self.readers = {}

    def get(self, key, default=None):
        self.readers.setdefault(key, set()).add(threading.current_thread())
        return super().get(key, default)


@pytest.mark.parametrize("work", [checked_graph, workflow_slots])
async def test_a_workflow_of_the_browser_is_converted_beside_the_event_loop(client, work):
    document = Watched({"nodes": [{"id": 1, "type": "NoSuchNode"}], "links": []})
    with contextlib.suppress(GraphRefused):  # It has no output.
        await work(client, document)

    assert document.readers["links"]
    assert threading.current_thread() not in document.readers["links"]


def browsers(**values):
    """The browser's workflow of the tests, in which node 3 has a class that no server has."""
    document = json.loads((DATA / "ui_i2v.json").read_text())
    nodes = {node["id"]: node for node in document["nodes"]}
    nodes[3]["type"] = "NoSuchNode"
    for node, (at, value) in values.items():
        nodes[int(node[1:])]["widgets_values"][at] = value
    return document


async def test_a_workflow_of_the_browser_with_an_unknown_class_hears_of_its_other_faults_too(client):
    with pytest.raises(GraphRefused) as refused:
        await checked_graph(client, browsers(n1=(0, "lost.safetensors"), n8=(0, "gone.safetensors")))

    said = str(refused.value)
    assert said.startswith(
        "The workflow needs a node class that the ComfyUI server does not have: 'NoSuchNode' (node 3"
    )
    assert "Its other nodes cannot run either: node 1 (UNETLoader), input 'unet_name': 'lost.safetensors'" in said
    assert "node 8 (VAELoader), input 'vae_name': 'gone.safetensors'" in said
    assert "Install the custom node packs" in refused.value.hint


@pytest.mark.parametrize(
    "slots", [{}, {"1.unet_name": "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors"}, {"no such.slot": 1}]
)
async def test_of_an_unknown_class_alone_nothing_else_is_said(client, slots):
    document = browsers(**({"n1": (0, "lost.safetensors")} if slots else {}))
    with pytest.raises(GraphRefused) as refused:
        await checked_graph(client, document, slots=slots)

    assert "NoSuchNode" in str(refused.value)
    assert "other nodes" not in str(refused.value)


NAMES = {
    "clip_job-1_00001_.mp4": "clip_00001_.mp4",
    "job-1_00001_.png": "output_00001_.png",
    "plain.mp4": "plain.mp4",
}


@pytest.mark.parametrize("name", NAMES)
async def test_an_output_is_named_without_the_runs_id(client, comfyui, tmp_path, name):
    (path,) = (await fetched(client, [put(comfyui, name)], tmp_path, "job-1")).files

    assert path == tmp_path / NAMES[name]
    assert path.read_bytes() == b"x"


async def test_files_of_one_name_are_numbered_apart(client, comfyui, tmp_path):
    files = [put(comfyui, "a.png", subfolder=folder, data=folder.encode()) for folder in ("x", "y", "z")]
    paths = (await fetched(client, files, tmp_path, "job-1")).files

    assert [path.name for path in paths] == ["a.png", "a_2.png", "a_3.png"]
    assert [path.read_bytes() for path in paths] == [b"x", b"y", b"z"]


async def test_names_that_differ_in_case_are_kept_apart_because_some_volumes_do_not(client, comfyui, tmp_path):
    files = [put(comfyui, name) for name in ("Clip.png", "clip.png")]
    paths = (await fetched(client, files, tmp_path, "job-1")).files

    assert [path.name for path in paths] == ["Clip.png", "clip_2.png"]


async def test_a_long_name_is_cut_so_that_the_request_id_fits_before_it(client, comfyui, tmp_path):
    (path,) = (await fetched(client, [put(comfyui, f"{'ü' * 120}.mp4")], tmp_path, "job-1")).files

    assert len(path.name.encode()) <= 150
    assert path.suffix == ".mp4"
    assert path.stem == "ü" * 73


async def test_an_output_that_the_server_no_longer_has_is_no_output(client, tmp_path):
    with pytest.raises(NoOutput, match=r"gone\.png"):
        await fetched(client, [OutputFile("gone.png", "", "output", "9", "images")], tmp_path, "job-1")

    assert list(tmp_path.glob("*.p*")) == []
