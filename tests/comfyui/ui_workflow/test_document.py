"""The browser's file is read into values, whichever version wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from wanworker.comfyui.ui_workflow._document import Slot, UiLink, read_document
from wanworker.errors import GraphRefused

LIST_LINK = [7, 1, 0, 2, 3, "MODEL"]
DICT_LINK = {
    "id": 7,
    "origin_id": 1,
    "origin_slot": 0,
    "target_id": 2,
    "target_slot": 3,
    "type": "MODEL",
    "parentId": 4,
}


def document(**parts: Any) -> dict[str, Any]:
    return {"nodes": [{"id": 1, "type": "UNETLoader"}], "links": [], **parts}


def subgraph(key: str, *types: str) -> dict[str, Any]:
    return {"id": key, "name": key, "nodes": [{"id": n, "type": kind} for n, kind in enumerate(types)], "links": []}


@pytest.mark.parametrize("links", [[LIST_LINK], [DICT_LINK], [None, LIST_LINK], {"7": DICT_LINK}])
def test_links_are_read_in_the_old_form_and_the_new(links: Any) -> None:
    read = read_document(document(links=links))

    assert {"7": UiLink("7", "1", 0, "2", 3)} == read.top.links


def test_a_slot_says_its_link_its_type_and_its_widget() -> None:
    inputs = [
        {"name": "model", "type": "MODEL", "link": 7},
        {"name": "sampler", "type": ["euler", "lcm"], "link": None, "widget": {"name": "sampler_name"}},
        {"name": "any", "type": 0, "link": 8},
    ]
    node = {
        "id": 3,
        "type": "KSampler",
        "inputs": inputs,
        "title": "Sampler",
        "mode": 4,
        "widgets_values": [1, "fixed"],
    }

    read = read_document(document(nodes=[node])).top.nodes["3"]

    expected = (
        Slot("model", "MODEL", "7", None),
        Slot("sampler", "COMBO", None, "sampler_name"),
        Slot("any", "*", "8", None),
    )
    assert expected == read.inputs
    assert ("Sampler", 4, (1, "fixed"), False) == (read.title, read.mode, read.values, read.is_live)


def test_subgraphs_are_found_wherever_they_are_defined() -> None:
    outer = subgraph("outer", "inner") | {"definitions": {"subgraphs": [subgraph("inner", "VAELoader")]}}

    read = read_document(document(definitions={"subgraphs": [outer]}))

    assert {"outer", "inner"} == set(read.subgraphs)
    assert ("-10", "-20") == (read.subgraphs["inner"].input_panel, read.subgraphs["inner"].output_panel)


def test_subgraphs_have_a_hundred_levels_at_most() -> None:
    def chain(levels: int) -> dict[str, Any]:
        inner = [{"id": f"s{at}", "nodes": [{"id": 1, "type": f"s{at + 1}"}]} for at in range(levels)]
        return {"nodes": [{"id": 1, "type": "s0"}], "links": [], "definitions": {"subgraphs": inner}}

    assert read_document(chain(100))
    with pytest.raises(GraphRefused, match="nested more than 100 levels deep"):
        read_document(chain(101))


def test_subgraphs_that_contain_each_other_are_refused() -> None:
    circle = [subgraph("a", "b"), subgraph("b", "a")]

    with pytest.raises(GraphRefused, match=r"contain each other in a circle: '[ab]' in '[ab]' in '[ab]'"):
        read_document(document(definitions={"subgraphs": circle}))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"nodes": {"1": {}}}, "'nodes' must be a list; got an object"),
        ({"nodes": ["text"]}, "lacks 'id' or 'type': 'text'"),
        ({"nodes": [{"id": 1, "type": None}]}, "lacks 'id' or 'type'"),
        ({"links": [[1, 2]]}, r"link of the workflow cannot be read: \[1, 2\]"),
        ({"links": [{"id": 1}]}, "link of the workflow cannot be read"),
        ({"links": [3]}, "link of the workflow cannot be read: 3"),
        ({"links": [[1, 2, "x", 3, 4]]}, "link of the workflow cannot be read"),
    ],
)
def test_what_is_no_workflow_is_refused_in_words(broken: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphRefused, match=words):
        read_document(document(**broken))
