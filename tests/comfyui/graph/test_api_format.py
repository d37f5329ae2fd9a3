"""Graphs in API format: slots, links, orphans, prefixes, uploads."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest

from fakes.comfyui_recordings import i2v_graph, video_graph
from fakes.comfyui_rules import recorded_object_info
from wanworker.comfyui.graph.api_format import (
    Link,
    changed_prefixes,
    links,
    needed,
    orphans,
    output_nodes,
    read_graph,
    titled,
    unwrapped,
    upload_name,
    with_prefix,
    with_slot,
    with_uploads,
)
from wanworker.errors import GraphRefused

INFO = recorded_object_info()
UI_FORMAT = {"nodes": [{"id": 1, "type": "LoadImage"}], "links": [], "version": 0.4}


def titled_graph() -> dict[str, Any]:
    graph = video_graph()
    graph["1"]["_meta"] = {"title": "size"}
    return graph


@pytest.mark.parametrize(
    "document",
    [
        video_graph(),
        {"prompt": video_graph()},
        {"workflow": UI_FORMAT, "output": video_graph()},
        {"prompt": json.dumps(video_graph()), "workflow": json.dumps(UI_FORMAT), "parameters": "a cat"},
        {"prompt": json.dumps({"prompt": video_graph()})},
        {"workflow": {"prompt": video_graph()}},
        {"client_id": "x", "prompt": video_graph(), "extra_data": {"extra_pnginfo": {"workflow": UI_FORMAT}}},
        {"prompt": [3, "id", video_graph(), {}, ["3"]], "outputs": {}, "status": {}},
        {"5f3a": {"prompt": [3, "id", video_graph(), {}, ["3"]], "outputs": {}, "status": {}}},
        {"input": {"action": "comfyui_workflow", "workflow": video_graph()}},
        {"input": {"workflow": json.dumps(json.dumps({"prompt": video_graph()}))}},
    ],
)
def test_a_graph_is_read_with_or_without_its_wrapper(document: dict[str, Any]) -> None:
    assert video_graph() == read_graph(document)


def test_a_node_may_be_called_prompt() -> None:
    graph = {"prompt": {"class_type": "EmptyImage", "inputs": {}}}

    assert graph == read_graph(graph)


def test_a_document_without_a_graph_gives_the_browsers_workflow() -> None:
    texts = {"prompt": "", "workflow": json.dumps(UI_FORMAT)}

    assert UI_FORMAT == unwrapped(texts) == unwrapped({"output": {}, "workflow": UI_FORMAT}) == unwrapped(UI_FORMAT)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[1]", "7"], ids=["cut", "deep", "list", "number"])
def test_a_text_that_holds_no_workflow_is_refused_in_words(text: str) -> None:
    with pytest.raises(GraphRefused, match="A workflow is an object of nodes by id; got "):
        read_graph({"prompt": text})


@pytest.mark.parametrize("key", ["workflow", "prompt", "input"])
def test_a_damaged_text_in_a_wrapper_is_named(key: str) -> None:
    with pytest.raises(
        GraphRefused, match=f"got text in '{key}' that cannot be read as JSON: .*line 1 column 2"
    ) as said:
        read_graph({key: "{bad"})

    assert "workflow" == said.value.field


@pytest.mark.parametrize("document", [UI_FORMAT, {"prompt": UI_FORMAT}])
def test_the_browsers_format_is_named(document: dict[str, Any]) -> None:
    with pytest.raises(GraphRefused, match="browser's own format"):
        read_graph(document)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "got an empty list"), ({}, "an empty object"), ("x", "got 'x'"), (None, "got null"),
        ({"1": {"inputs": {}}}, "Node '1' of the workflow has no class_type"), ({"1": 3}, "no class_type"),
        ({"1": {"class_type": "A", "inputs": []}}, "inputs must be an object"), ({"prompt": []}, "got an empty list"),
    ],
)  # fmt: skip
def test_what_is_no_graph_is_refused_in_words(document: object, said: str) -> None:
    with pytest.raises(GraphRefused, match=said):
        read_graph(document)


def test_links_are_found() -> None:
    assert [Link("2", "images", "1", 0), Link("3", "video", "2", 0)] == list(links(video_graph()))


def test_a_slot_is_set_by_its_title_in_a_new_graph() -> None:
    graph = titled_graph()
    before = copy.deepcopy(graph)

    changed = with_slot(graph, "size", "width", 128)

    assert 128 == changed["1"]["inputs"]["width"]
    assert before == graph
    assert ("1",) == titled(graph, "size")


def test_a_slot_that_is_not_there_is_refused_with_the_known_titles() -> None:
    with pytest.raises(GraphRefused, match="no node titled 'prompt'; it has: size"):
        with_slot(titled_graph(), "prompt", "text", "x")
    with pytest.raises(GraphRefused, match="no input 'length'"):
        with_slot(titled_graph(), "size", "length", 5)


def test_orphans_are_what_no_output_node_needs() -> None:
    graph = {**i2v_graph(), "900": {"class_type": "VAELoader", "inputs": {"vae_name": "x"}}}

    assert ("108",) == output_nodes(graph, INFO)
    assert ("900",) == orphans(graph, INFO)


def test_links_that_lead_nowhere_or_in_a_circle_are_followed_to_their_end() -> None:
    graph = {"1": {"inputs": {"a": ["2", 0], "b": ["9", 0]}}, "2": {"inputs": {"a": ["1", 0]}}, "3": {}}

    assert frozenset({"1", "2"}) == needed(graph, ("1", "8"))


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("video/clip", "video/clip_r1"), ("", "r1"), (None, "r1"), ("folder/", "folder_r1"), (["7", 0], "r1")],
)
def test_every_output_carries_the_request_id(prefix: Any, expected: str) -> None:
    graph = video_graph()
    graph["3"]["inputs"]["filename_prefix"] = prefix

    changed = with_prefix(graph, INFO, "r1")

    assert expected == changed["3"]["inputs"]["filename_prefix"]
    assert prefix == graph["3"]["inputs"]["filename_prefix"]


def test_an_output_without_a_prefix_stays_as_it_is() -> None:
    graph = {"1": {"class_type": "PreviewAny", "inputs": {"source": "x"}}}

    assert graph == with_prefix(graph, INFO, "r1")


def test_inputs_that_name_an_upload_are_rewritten() -> None:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "me.png", "n": 3, "l": ["me.png", 0]}}}

    changed, used = with_uploads(graph, {"me.png": "r1/0.png", "unused.png": "r1/1.png"})

    assert {"image": "r1/0.png", "n": 3, "l": ["me.png", 0]} == changed["1"]["inputs"]
    assert {"me.png"} == used


@pytest.mark.parametrize("value", ["in.png", "in.png [input]", "in.png[input] "])
def test_an_annotated_name_is_the_upload_of_that_name(value: str) -> None:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": value}}}

    changed, used = with_uploads(graph, {"in.png": "run_0.png"})

    assert ("in.png", "run_0.png", {"in.png"}) == (upload_name(value).strip(), changed["1"]["inputs"]["image"], used)


def test_a_linked_prefix_gives_way_to_the_request_id_and_that_is_told() -> None:
    graph = video_graph()
    graph["3"]["inputs"]["filename_prefix"] = ["1", 0]

    assert "r1" == with_prefix(graph, INFO, "r1")["3"]["inputs"]["filename_prefix"]
    assert [] == list(changed_prefixes(video_graph(), INFO))
    assert list(changed_prefixes(graph, INFO)) == [
        "node 3 (SaveVideo): filename_prefix is the request id, not what node 1 gives, so that no two runs share a file"
    ]


def test_two_dots_in_a_row_in_a_prefix_become_one_and_that_is_told() -> None:
    graph = video_graph()
    graph["3"]["inputs"]["filename_prefix"] = "a..b/my...clip"

    assert "a..b/my.clip_r1" == with_prefix(graph, INFO, "r1")["3"]["inputs"]["filename_prefix"]
    assert list(changed_prefixes(graph, INFO)) == [
        "node 3 (SaveVideo): filename_prefix 'a..b/my...clip' became 'a..b/my.clip': "
        "the server sends no file with '..' in its name"
    ]


def test_a_long_text_is_read_for_its_ending_in_time_in_proportion_to_its_length() -> None:
    started = time.process_time()
    for text in (" " * 200_000 + "x", "[input]" * 30_000 + "y", "[input] " * 30_000 + "x", " [input]x" * 30_000):
        assert text == upload_name(text)

    assert time.process_time() - started < 5  # It takes a millisecond; each space once took a scan.


def test_a_file_of_another_folder_is_no_upload() -> None:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "in.png [output]"}}}

    assert (graph, frozenset()) == with_uploads(graph, {"in.png": "run_0.png"})
