"""Subgraphs are unfolded, each instance with the values that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from wanworker.comfyui.ui_workflow._document import BYPASSED, MUTED, Document, Sheet, Slot, UiLink, UiNode
from wanworker.comfyui.ui_workflow._subgraphs import MOST_NODES, OWN, SubgraphPath, unfold
from wanworker.errors import GraphRefused


def node(key: str, kind: str, *inputs: Slot, mode: int = 0, values: tuple[Any, ...] = (), **more: Any) -> UiNode:
    return UiNode(key, kind, "", mode, inputs, values=values, **more)


def sheet(*nodes: UiNode, links: tuple[UiLink, ...] = (), inputs: tuple[str, ...] = ()) -> Sheet:
    return Sheet("made", {one.id: one for one in nodes}, {one.id: one for one in links}, inputs)


def promoted(*names: str) -> Sheet:
    """A subgraph whose inputs all end on widgets of one inner node."""
    slots = [Slot(name, "INT", str(at), name) for at, name in enumerate(names)]
    links = [UiLink(str(at), "-10", at, "1", at) for at in range(len(names))]
    return sheet(node("1", "Made", *slots), links=tuple(links), inputs=names)


def inside(instance: UiNode, definition: Sheet, **others: Sheet) -> SubgraphPath:
    document = Document(sheet(instance), {instance.type: definition, **others})
    return unfold(document).places[f"{instance.id}:"]


def given(instance: UiNode, definition: Sheet, **others: Sheet) -> Mapping[str, Any]:
    return inside(instance, definition, **others).given


def test_nodes_of_nested_subgraphs_have_the_path_to_them_as_id_in_the_files_order() -> None:
    document = Document(
        sheet(node("1", "VAELoader"), node("12", "outer"), node("13", "SaveImage")),
        {"outer": sheet(node("3", "KSampler"), node("4", "inner")), "inner": sheet(node("5", "UNETLoader"))},
    )

    ids = [place.id_of(one) for place, one in unfold(document).nodes]

    assert ["1", "12:3", "12:4:5", "13"] == ids


@pytest.mark.parametrize("mode", [MUTED, BYPASSED])
def test_what_is_inside_a_muted_or_bypassed_instance_is_left_out(mode: int) -> None:
    document = Document(sheet(node("12", "sub", mode=mode)), {"sub": sheet(node("3", "KSampler"))})

    assert () == unfold(document).nodes


def test_an_instance_holds_a_value_for_each_input_that_ends_on_a_widget() -> None:
    definition = promoted("width", "height")

    assert {"width": 832, "height": 480} == given(node("12", "sub", values=(832, 480)), definition)


def test_inputs_that_end_on_no_widget_have_no_value() -> None:
    plain = node("1", "Made", Slot("model", "MODEL", "0", None), Slot("width", "INT", "1", "width"))
    links = (UiLink("0", "-10", 0, "1", 0), UiLink("1", "-10", 1, "1", 1))
    definition = sheet(plain, links=links, inputs=("model", "width", "unused"))

    assert {"width": 832} == given(node("12", "sub", values=(832,)), definition)


def test_a_widget_two_subgraphs_down_counts() -> None:
    middle = node("1", "inner", Slot("seed", "INT", "0", None))
    definition = sheet(middle, links=(UiLink("0", "-10", 0, "1", 0),), inputs=("noise",))
    place = inside(node("12", "sub", values=(7,)), definition, inner=promoted("seed"))

    assert {"noise": 7} == place.given


def test_controls_among_an_instances_values_are_skipped() -> None:
    values = (7, "randomize", 20)

    assert {"seed": 7, "steps": 20} == given(node("12", "sub", values=values), promoted("seed", "steps"))


def test_values_by_name_help_where_the_count_is_wrong() -> None:
    instance = node("12", "sub", values=(7,), named_values={"steps": 20, "other": 1})

    assert {"steps": 20} == given(instance, promoted("seed", "steps"))


def test_proxy_widgets_hold_values_for_the_instances_inputs_and_for_widgets_inside() -> None:
    proxies = [["-1", "seed"], ["3", "steps"], ["4", "$$canvas-image-preview"]]
    instance = node("12", "sub", values=(7, 20, None), properties={"proxyWidgets": proxies})

    place = inside(instance, promoted("seed"))

    assert {"seed": 7} == place.given
    assert {("3", "steps"): 20, ("4", "$$canvas-image-preview"): OWN} == place.overrides


@pytest.mark.parametrize("proxies", [[["3", "steps"]], '[["3", "steps"]]'])
def test_proxy_widgets_without_values_leave_those_inside_as_they_are(proxies: object) -> None:
    place = inside(node("12", "sub", properties={"proxyWidgets": proxies}), promoted("steps"))

    assert ({}, {("3", "steps"): OWN}) == (place.given, place.overrides)


def test_a_proxy_of_the_first_widget_of_an_input_holds_the_inputs_value() -> None:
    instance = node("12", "sub", values=(20,), properties={"proxyWidgets": [["1", "steps"]]})

    place = inside(instance, promoted("steps"))

    assert ({"steps": 20}, {}) == (place.given, place.overrides)


def test_a_proxy_of_a_later_widget_of_an_input_holds_that_widgets_value_alone() -> None:
    nodes = [node(key, "Made", Slot("steps", "INT", key, "steps")) for key in ("1", "2")]
    links = tuple(UiLink(key, "-10", 0, key, 0) for key in ("1", "2"))
    definition = sheet(*nodes, links=links, inputs=("steps",))
    instance = node("12", "sub", values=(20,), properties={"proxyWidgets": [["2", "steps"]]})

    place = inside(instance, definition)

    assert 20 == place.overrides["2", "steps"]


def test_an_id_in_front_of_a_proxys_name_is_dropped() -> None:
    instance = node("12", "sub", values=(20,), properties={"proxyWidgets": [["1", "7: steps"]]})

    assert {"steps": 20} == inside(instance, promoted("steps")).given


def test_a_value_for_a_widget_of_an_instance_inside_goes_to_that_instance() -> None:
    instance = node("12", "sub", values=(9,), properties={"proxyWidgets": [["4", "seed"]]})
    document = Document(sheet(instance), {"sub": sheet(node("4", "inner")), "inner": promoted("seed")})

    assert {"seed": 9} == unfold(document).places["12:4:"].given


def test_subgraphs_that_multiply_without_bound_are_refused() -> None:
    layers = {f"s{at}": sheet(*[node(str(n), f"s{at + 1}") for n in range(10)]) for at in range(8)}
    document = Document(sheet(node("1", "s0")), {**layers, "s8": sheet(node("1", "VAELoader"))})

    with pytest.raises(GraphRefused, match=f"more than {MOST_NODES} nodes"):
        unfold(document)


def test_instances_of_an_empty_subgraph_multiply_too() -> None:
    layers = {f"s{at}": sheet(*[node(str(n), f"s{at + 1}") for n in range(10)]) for at in range(8)}

    with pytest.raises(GraphRefused, match=f"more than {MOST_NODES} nodes"):
        unfold(Document(sheet(node("1", "s0")), {**layers, "s8": sheet()}))


def test_an_input_that_ends_on_no_widget_is_looked_at_once_in_each_definition() -> None:
    def layer(inner: str) -> Sheet:
        nodes = [node(str(at), inner, Slot("in", "INT", str(at), None)) for at in range(10)]
        return sheet(*nodes, links=tuple(UiLink(str(at), "-10", 0, str(at), 0) for at in range(10)), inputs=("in",))

    layers = {f"s{at}": layer(f"s{at + 1}") for at in range(12)}
    muted = {key: Sheet(one.name, {k: replace(n, mode=MUTED) for k, n in one.nodes.items()}, one.links, one.inputs)
             for key, one in layers.items()}  # fmt: skip

    assert {} == given(node("12", "s0", values=(1,)), muted["s0"], **muted, s12=sheet(inputs=("in",)))
