"""A drawn link is followed to what really feeds it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wanworker.comfyui.ui_workflow._document import BYPASSED, MUTED, Document, Sheet, Slot, UiLink, UiNode
from wanworker.comfyui.ui_workflow._links import (
    UNLINKED,
    LinkSource,
    NoLink,
    OwnValue,
    SetValue,
    Source,
    Value,
    source_of,
)
from wanworker.comfyui.ui_workflow._subgraphs import unfold
from wanworker.errors import GraphRefused

Feed = tuple[str, int]


def node(
    key: str, kind: str, *feeds: tuple[str, Feed | None], outputs: tuple[str, ...] = (), mode: int = 0, values: Any = ()
) -> tuple[UiNode, list[UiLink]]:
    """A node whose inputs are (type, what feeds it); links are numbered by where they end."""
    slots, links = [], []
    for at, (slot_type, feed) in enumerate(feeds):
        link = f"{key}.{at}"
        slots.append(Slot(f"in{at}", slot_type, link if feed else None, None))
        if feed:
            links.append(UiLink(link, *feed, key, at))
    return UiNode(key, kind, "", mode, tuple(slots), outputs, values), links


def sheet(*parts: tuple[UiNode, list[UiLink]], inputs: tuple[str, ...] = (), output: Feed | None = None) -> Sheet:
    links = {link.id: link for _, found in parts for link in found}
    if output:
        links["out"] = UiLink("out", *output, "-20", 0)
    return Sheet("made", {one.id: one for one, _ in parts}, links, inputs, ("OUT",))


def source(top: Sheet, key: str, at: int = 0, **subgraphs: Sheet) -> Source:
    unfolded = unfold(Document(top, subgraphs))
    place, found = next((place, one) for place, one in unfolded.nodes if place.id_of(one) == key)
    return source_of(unfolded, place, found, at)


LOADER = node("1", "UNETLoader", outputs=("MODEL",))


def test_a_plain_link_leads_to_its_node() -> None:
    assert LinkSource("1", 0) == source(sheet(LOADER, node("2", "KSampler", ("MODEL", ("1", 0)))), "2")


@pytest.mark.parametrize("feed", [None, ("77", 0)])
def test_no_link_and_a_link_from_a_node_that_is_gone_feed_nothing(feed: Feed | None) -> None:
    assert UNLINKED == source(sheet(node("2", "KSampler", ("MODEL", feed))), "2")


def test_reroutes_are_followed_however_many() -> None:
    chain = [node(str(at), "Reroute", ("*", (str(at - 1), 0))) for at in range(2, 3000)]

    assert LinkSource("1", 0) == source(sheet(LOADER, *chain, node("end", "KSampler", ("MODEL", ("2999", 0)))), "end")


def test_a_primitive_even_a_muted_one_gives_its_value_to_a_widget_that_it_is_linked_to() -> None:
    primitive = node("1", "PrimitiveNode", outputs=("INT",), values=(49, "fixed"), mode=MUTED)
    sampler, links = node("3", "KSampler", ("INT", ("1", 0)))
    widget = replace(sampler, inputs=(replace(sampler.inputs[0], widget="steps"),))

    assert SetValue(49) == source(sheet(primitive, (widget, links)), "3")


def test_a_primitive_reaches_nothing_through_a_reroute_and_no_socket() -> None:
    primitive = node("1", "PrimitiveNode", outputs=("INT",), values=(49, "fixed"))
    reroute, sampler = node("2", "Reroute", ("*", ("1", 0))), node("3", "KSampler", ("INT", ("2", 0)))

    assert isinstance(source(sheet(primitive, reroute, sampler), "3"), NoLink)
    assert isinstance(source(sheet(primitive, node("3", "KSampler", ("INT", ("1", 0)))), "3"), NoLink)


def test_a_getter_takes_what_its_setter_was_given() -> None:
    setter = node("2", "SetNode", ("MODEL", ("1", 0)), values=("model",))
    getter = node("3", "GetNode", outputs=("MODEL",), values=("model",))
    top = sheet(LOADER, setter, getter, node("4", "KSampler", ("MODEL", ("3", 0)), ("MODEL", ("2", 0))))

    assert LinkSource("1", 0) == source(top, "4")
    assert LinkSource("1", 0) == source(top, "4", 1)


def test_a_getter_inside_a_subgraph_finds_the_setter_outside() -> None:
    getter = node("1", "GetNode", outputs=("MODEL",), values=("model",))
    inner = sheet(getter, node("2", "KSampler", ("MODEL", ("1", 0))))
    top = sheet(LOADER, node("2", "SetNode", ("MODEL", ("1", 0)), values=("model",)), node("12", "sub"))

    assert LinkSource("1", 0) == source(top, "12:2", sub=inner)


def test_a_getter_without_a_setter_says_so() -> None:
    top = sheet(node("3", "GetNode", values=("vae",)), node("4", "VAEDecode", ("VAE", ("3", 0))))

    assert NoLink("its source, node 3 (GetNode), has no SetNode named 'vae'") == source(top, "4")


def test_a_muted_node_feeds_nothing_and_is_named() -> None:
    top = sheet(node("1", "UNETLoader", mode=MUTED), node("2", "KSampler", ("MODEL", ("1", 0))))

    assert NoLink("its source, node 1 (UNETLoader), is muted") == source(top, "2")


def test_a_bypassed_node_passes_its_input_of_the_same_number_where_it_fits() -> None:
    feeds = (("CONDITIONING", ("1", 0)), ("CONDITIONING", ("1", 1)))
    bypassed = node("2", "ControlNetApply", *feeds, outputs=("CONDITIONING", "CONDITIONING"), mode=BYPASSED)
    top = sheet(
        node("1", "Both", outputs=("CONDITIONING",) * 2), bypassed, node("3", "End", ("CONDITIONING", ("2", 1)))
    )

    assert LinkSource("1", 1) == source(top, "3")


def test_a_bypassed_node_passes_the_first_input_of_exactly_the_type_where_the_number_does_not_fit() -> None:
    feeds = (("CLIP", ("1", 0)), ("*", ("1", 1)), ("MODEL", ("1", 2)))
    bypassed = node("2", "Lora", *feeds, outputs=("MODEL",), mode=BYPASSED)

    assert LinkSource("1", 2) == source(sheet(node("1", "Many"), bypassed, node("3", "End", ("MODEL", ("2", 0)))), "3")


def test_a_bypassed_node_passes_a_compatible_input_where_none_is_exact() -> None:
    feeds = (("CLIP", ("1", 0)), ("IMAGE,MASK", ("1", 1)))
    bypassed = node("2", "Resize", *feeds, outputs=("*",), mode=BYPASSED)

    assert LinkSource("1", 1) == source(sheet(node("1", "Many"), bypassed, node("3", "End", ("MASK", ("2", 0)))), "3")


def test_a_bypassed_node_passes_the_same_number_to_an_input_of_any_type() -> None:
    feeds = (("CLIP", ("1", 0)), ("VAE", ("1", 1)))
    bypassed = node("2", "Any", *feeds, outputs=("CLIP", "VAE", "MODEL"), mode=BYPASSED)
    top = sheet(node("1", "Many"), bypassed, node("3", "End", ("*", ("2", 1)), ("*", ("2", 2))))

    assert LinkSource("1", 1) == source(top, "3")
    assert LinkSource("1", 0) == source(top, "3", 1)


def test_a_bypassed_node_with_nothing_that_fits_feeds_nothing() -> None:
    bypassed = node("2", "VAEEncode", ("IMAGE", ("1", 0)), ("VAE", None), outputs=("LATENT",), mode=BYPASSED)
    found = source(sheet(node("1", "LoadImage"), bypassed, node("3", "KSampler", ("LATENT", ("2", 0)))), "3")

    assert NoLink("its source, node 2 (VAEEncode), is bypassed and has no input of type LATENT to pass on") == found


def test_an_input_panel_leads_to_what_feeds_the_instance_by_name() -> None:
    inner = sheet(node("2", "KSampler", ("MODEL", ("-10", 1))), inputs=("clip", "in0"))

    assert LinkSource("1", 0) == source(sheet(LOADER, node("12", "sub", ("MODEL", ("1", 0)))), "12:2", sub=inner)


def test_an_input_panel_without_a_link_gives_the_instances_value_or_that_of_the_first_widget_inside() -> None:
    inner_node = UiNode("2", "KSampler", "", 0, (Slot("steps", "INT", "a", "steps"), Slot("cfg", "FLOAT", "b", "cfg")))
    links = {"a": UiLink("a", "-10", 0, "2", 0), "b": UiLink("b", "-10", 1, "2", 1)}
    inner = Sheet("made", {"2": inner_node}, links, ("steps", "cfg"))
    top = sheet(node("12", "sub", values=(20, None)))

    assert Value(20) == source(top, "12:2", sub=inner)
    own = source(top, "12:2", 1, sub=inner)
    assert isinstance(own, OwnValue)
    assert ("12:2", "cfg") == (own.place.id_of(own.node), own.widget)


def test_an_output_panel_leads_to_the_node_inside() -> None:
    inner = sheet(node("5", "VAEDecode", outputs=("IMAGE",)), output=("5", 0))
    top = sheet(node("12", "sub"), node("3", "SaveImage", ("IMAGE", ("12", 0))))

    assert LinkSource("12:5", 0) == source(top, "3", sub=inner)


def test_a_subgraph_that_links_its_panels_together_passes_its_input_on() -> None:
    inner = sheet(inputs=("in0",), output=("-10", 0))
    top = sheet(LOADER, node("12", "sub", ("MODEL", ("1", 0))), node("3", "KSampler", ("MODEL", ("12", 0))))

    assert LinkSource("1", 0) == source(top, "3", sub=inner)


def test_a_bypassed_instance_passes_its_input_like_any_node() -> None:
    inner = sheet(node("5", "LoraLoader", outputs=("MODEL",)), output=("5", 0))
    instance = node("12", "sub", ("MODEL", ("1", 0)), outputs=("MODEL",), mode=BYPASSED)
    top = sheet(LOADER, instance, node("3", "KSampler", ("MODEL", ("12", 0))))

    assert LinkSource("1", 0) == source(top, "3", sub=inner)


def test_an_output_panel_that_nothing_feeds_says_so() -> None:
    top = sheet(node("12", "sub"), node("3", "SaveImage", ("IMAGE", ("12", 0))))

    assert NoLink("output 0 of the subgraph 'made' is linked to nothing inside") == source(top, "3", sub=sheet())


def test_reroutes_in_a_circle_are_refused() -> None:
    circle = (node("1", "Reroute", ("*", ("2", 0))), node("2", "Reroute", ("*", ("1", 0))))

    with pytest.raises(GraphRefused, match=r"in a circle through node [12] \(Reroute\)"):
        source(sheet(*circle, node("3", "KSampler", ("MODEL", ("1", 0)))), "3")


@pytest.mark.parametrize("values", [(), {"name": "model"}])
def test_a_getter_without_a_value_goes_by_its_title(values: Any) -> None:
    getter, _ = node("3", "GetNode", outputs=("MODEL",), values=values)
    setter = node("2", "SetNode", ("MODEL", ("1", 0)), values=("model", "kept"))
    end = node("4", "KSampler", ("MODEL", ("3", 0)))

    assert LinkSource("1", 0) == source(sheet(LOADER, setter, (replace(getter, title="model"), []), end), "4")


@pytest.mark.parametrize("values", [(), {"value": 49}])
def test_a_primitive_without_a_value_feeds_nothing(values: Any) -> None:
    top = sheet(node("1", "PrimitiveNode", outputs=("INT",), values=values), node("3", "KSampler", ("INT", ("1", 0))))

    assert isinstance(source(top, "3"), NoLink)


BYPASSED_LORA = node("2", "Lora", ("CLIP", ("1", 0)), ("MODEL", ("1", 1)), outputs=("MODEL",), mode=BYPASSED)


@pytest.mark.parametrize(
    "between",
    [
        [node("3", "Reroute", ("*", ("2", 0)))],
        [node("5", "SetNode", ("*", ("2", 0)), values=("m",)), node("3", "GetNode", values=("m",))],
    ],
    ids=["reroute", "getter"],
)
def test_what_is_wanted_at_the_end_decides_what_a_bypassed_node_before_a_reroute_passes(between: list[Any]) -> None:
    top = sheet(node("1", "Many"), BYPASSED_LORA, *between, node("4", "KSampler", ("MODEL", ("3", 0))))

    assert LinkSource("1", 1) == source(top, "4")


def test_what_is_wanted_outside_decides_what_a_bypassed_node_in_a_subgraph_passes() -> None:
    inner = sheet(node("1", "Many"), BYPASSED_LORA, output=("2", 0))
    top = sheet(node("12", "sub"), node("3", "KSampler", ("MODEL", ("12", 0))))

    assert LinkSource("12:1", 1) == source(top, "3", sub=inner)


def test_a_bypassed_node_passes_an_input_that_fits_its_own_output_too() -> None:
    feeds = (("IMAGE", ("1", 0)), ("MASK", ("1", 1)))
    bypassed = node("2", "Invert", *feeds, outputs=("MASK",), mode=BYPASSED)
    top = sheet(node("1", "Many"), bypassed, node("3", "End", ("IMAGE,MASK", ("2", 0))))

    assert LinkSource("1", 1) == source(top, "3")


def test_a_bypassed_node_that_names_no_outputs_passes_what_is_wanted() -> None:
    bypassed = node("2", "Lora", ("CLIP", ("1", 0)), ("MODEL", ("1", 1)), mode=BYPASSED)

    assert LinkSource("1", 1) == source(sheet(node("1", "Many"), bypassed, node("3", "End", ("MODEL", ("2", 0)))), "3")


def test_a_bypassed_node_without_inputs_feeds_nothing() -> None:
    assert UNLINKED == source(sheet(node("2", "Make", mode=BYPASSED), node("3", "End", ("*", ("2", 0)))), "3")
