"""What lacks a required input goes, with all that needs it, as long as an output is left."""

from __future__ import annotations

from typing import Any

import pytest

from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.graph.object_info import read_class
from wanworker.comfyui.ui_workflow._incomplete_nodes import lacking, without_broken
from wanworker.comfyui.ui_workflow._links import LinkSource, NoLink
from wanworker.errors import GraphRefused

INFO: dict[str, dict[str, Any]] = {"Save": {"output_node": True}, "Load": {}, "Decode": {}, "Anything Everywhere": {}}


def node(kind: str, title: str = "", **links: str) -> dict[str, Any]:
    return {
        "class_type": kind,
        "inputs": {name: [key, 0] for name, key in links.items()},
        "_meta": {"title": title or kind},
    }


def two_outputs() -> Graph:
    return {
        "1": node("Load"),
        "2": node("Decode", latent="1"),
        "3": node("Save", images="2"),
        "4": node("Save", "Preview", images="1"),
    }


def test_a_required_link_that_is_missing_is_named_with_its_reason() -> None:
    required = {"vae": ["VAE"], "latent": ["LATENT"], "text": ["STRING"], "images": ["COMFY_AUTOGROW_V3", {}]}
    its_class = read_class("Decode", {"input": {"required": required, "optional": {"mask": ["MASK"]}}})

    found = list(lacking(its_class, {}, {"vae": NoLink("its source is muted"), "latent": LinkSource("1", 0)}))

    assert ["input 'vae': its source is muted", "input 'latent': nothing is linked to it"] == found
    assert [] == list(lacking(its_class, {"vae": ["1", 0], "latent": ["2", 0]}, {}))


def test_a_whole_graph_stays_as_it_is() -> None:
    graph = two_outputs()

    assert (graph, ()) == without_broken(graph, {}, INFO)


def test_an_output_that_cannot_run_goes_with_a_reason_and_the_other_stays() -> None:
    left, warnings = without_broken(two_outputs(), {"2": ["input 'vae': nothing is linked to it"]}, INFO)

    assert ["1", "4"] == list(left)
    expected = "output node 3 (Save) is left out: node 2 (Decode), input 'vae': nothing is linked to it"
    assert (expected,) == warnings


def test_a_broken_node_that_no_output_needs_goes_with_a_word() -> None:
    graph = {**two_outputs(), "5": node("Decode", "Spare")}

    left, warnings = without_broken(graph, {"5": ["input 'vae': nothing is linked to it"]}, INFO)

    assert two_outputs() == left
    assert ("left out, because they lack inputs and no output needs them: node 5 (Decode 'Spare')",) == warnings


def test_a_graph_whose_every_output_is_broken_is_refused_with_the_reasons() -> None:
    broken = {"1": ["input 'model': its source, node 9 (UNETLoader), is muted"]}

    with pytest.raises(GraphRefused) as refused:
        without_broken(two_outputs(), broken, INFO)

    expected = "No output of the workflow has all that it needs: node 1 (Load), input 'model': its source, node 9"
    assert str(refused.value).startswith(expected)


def test_links_that_anything_everywhere_makes_in_the_browser_are_pointed_at() -> None:
    graph = {**two_outputs(), "5": node("Anything Everywhere", anything="1")}

    with pytest.raises(GraphRefused) as refused:
        without_broken(graph, {"1": ["input 'model': nothing is linked to it"]}, INFO)

    assert refused.value.hint is not None
    assert "'Anything Everywhere' links exist in the browser only" in refused.value.hint


def test_a_graph_without_any_output_is_left_for_the_preflight_to_refuse() -> None:
    graph = {"1": node("Load")}

    assert ({}, ("left out, because they lack inputs and no output needs them: node 1 (Load)",)) == without_broken(
        graph, {"1": ["input 'model': nothing is linked to it"]}, INFO
    )
