from __future__ import annotations

import pytest

from wanworker.comfyui.graph.api_format import Graph
from wanworker.engines.comfyui.graphs._wiring import (
    Segment,
    bypassed,
    cut,
    inserted,
    node_titled,
    repeated,
    with_clips,
    without_unused,
)
from wanworker.errors import GraphRefused


def node(title: str, **inputs: object) -> dict[str, object]:
    return {"class_type": title, "inputs": inputs, "_meta": {"title": title}}


#: A first clip, a next clip that goes on from it, and what takes the result.
GRAPH: Graph = {
    "1": node("Prompt", text="x"),
    "2": node("First", prompt=["1", 0], length=77),
    "3": node("First sampler", latent=["2", 0], seed=1),
    "4": node("Next", prompt=["1", 0], before=["3", 0], offset=["2", 5], length=77),
    "5": node("Next sampler", latent=["4", 0], seed=1),
    "6": node("Joined", a=["3", 0], b=["5", 0]),
    "7": node("Save", images=["6", 0]),
}
SEGMENT = Segment(
    titles=("Next", "Next sampler", "Joined"),
    carries={"First": "Next", "First sampler": "Joined"},
    length="Next",
    sampler="Next sampler",
    first_length="First",
    first_sampler="First sampler",
)


def inputs(graph: Graph, title: str) -> dict[str, object]:
    return dict(graph[node_titled(graph, title)]["inputs"])


def test_one_clip_is_the_graph_without_the_segment() -> None:
    graph = repeated(GRAPH, SEGMENT, 0)

    assert ["1", "2", "3", "7"] == list(graph)
    assert {"images": ["3", 0]} == inputs(graph, "Save")


def test_two_clips_are_the_graph_itself() -> None:
    assert GRAPH == repeated(GRAPH, SEGMENT, 1)


def test_four_clips_go_on_from_one_another() -> None:
    graph = repeated(GRAPH, SEGMENT, 3)

    assert {"prompt": ["1", 0], "before": ["6", 0], "offset": ["4", 5], "length": 77} == inputs(graph, "Next (3)")
    third = node_titled(graph, "Next (3)"), node_titled(graph, "Joined (3)")
    assert ([third[1], 0], [third[0], 5]) == (inputs(graph, "Next (4)")["before"], inputs(graph, "Next (4)")["offset"])
    fourth = node_titled(graph, "Next sampler (4)")
    assert {"a": [third[1], 0], "b": [fourth, 0]} == inputs(graph, "Joined (4)")
    assert {"images": [node_titled(graph, "Joined (4)"), 0]} == inputs(graph, "Save")
    assert {"a": ["3", 0], "b": ["5", 0]} == inputs(graph, "Joined")
    assert 13 == len(graph)


def test_each_clip_has_its_length_and_seed() -> None:
    graph, samplers = with_clips(GRAPH, SEGMENT, (77, 77, 21), 2**64 - 2)

    assert ("First sampler", "Next sampler", "Next sampler (3)") == samplers
    assert [77, 77, 21] == [inputs(graph, title)["length"] for title in ("First", "Next", "Next (3)")]
    assert [1, 2**64 - 1, 0] == [inputs(graph, title)["seed"] for title in samplers]


def test_a_cut_node_leaves_its_inputs_out() -> None:
    graph = cut(GRAPH, ["Prompt"])

    assert {"length": 77} == inputs(graph, "First")
    assert "1" in GRAPH


def test_what_the_saver_does_not_need_goes() -> None:
    graph = without_unused(cut(GRAPH, ["Joined"]) | {"8": node("Note")}, "Save")

    assert ["7"] == list(graph)


def test_a_bypassed_node_hands_its_source_on() -> None:
    graph = bypassed(GRAPH, "First sampler", "latent")

    assert ["2", 0] == inputs(graph, "Next")["before"]
    assert ["2", 0] == inputs(graph, "Joined")["a"]


def test_a_node_without_a_source_is_not_bypassed() -> None:
    with pytest.raises(GraphRefused, match="no link in 'seed'"):
        bypassed(GRAPH, "First sampler", "seed")


def test_an_inserted_node_takes_the_place_of_its_source() -> None:
    graph = inserted(GRAPH, "First sampler", "Between", "Pass", "latent", {"strength": 0.5})

    assert {"latent": ["3", 0], "strength": 0.5} == inputs(graph, "Between")
    assert ["8", 0] == inputs(graph, "Next")["before"]
    assert ["2", 5] == inputs(graph, "Next")["offset"]


@pytest.mark.parametrize("title", ["Nothing", "Twice"])
def test_a_title_must_name_one_node(title: str) -> None:
    with pytest.raises(GraphRefused, match=f"nodes titled '{title}'"):
        node_titled(GRAPH | {"8": node("Twice"), "9": node("Twice")}, title)
