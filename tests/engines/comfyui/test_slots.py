"""What a request may set in a workflow of the browser, read without a server."""

from __future__ import annotations

from typing import Any

from wanworker.engines.comfyui._slots import workflow_slots


def widget(name: str, kind: Any = "INT", link: int | None = None) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link, "widget": {"name": name}}


def drawn(number: int, kind: str, *inputs: dict[str, Any], values: Any = (), **more: Any) -> dict[str, Any]:
    values = list(values) if isinstance(values, tuple) else values
    return {"id": number, "type": kind, "inputs": list(inputs), "widgets_values": values, **more}


async def told(*nodes: object, **more: Any) -> dict[str, Any]:
    listed = await workflow_slots(None, {"nodes": list(nodes), "links": [], **more})
    assert "without the server" in listed.note
    return {slot.key: (slot.type, slot.default) for slot in listed.slots}


async def test_widgets_that_no_link_feeds_are_slots_with_their_values() -> None:
    sampler = drawn(
        7, "KSampler", widget("seed"), widget("steps"), widget("name", [["euler"]]), widget("cfg", "FLOAT", link=3),
        {"name": "model", "type": "MODEL", "link": 4}, values=(5, "randomize", 20, "euler", 7.5), title=" Sampler ",
    )  # fmt: skip

    assert {"Sampler.seed": ("INT", 5), "Sampler.steps": ("INT", 20), "Sampler.name": ("COMBO", "euler")} == await told(
        sampler
    )


async def test_values_by_name_are_read_and_those_that_do_not_fit_are_left_open() -> None:
    by_name = drawn(1, "A", widget("a"), widget("b"), values={"a": 1})
    too_many = drawn(2, "B", widget("a"), values=(1, 2, 3))
    none = drawn(3, "C", widget("a"), values=None)

    assert {"A.a": ("INT", 1), "A.b": ("INT", None), "B.a": ("INT", None), "C.a": ("INT", None)} == await told(
        by_name, too_many, none
    )


async def test_of_two_nodes_of_one_title_the_ids_are_told() -> None:
    assert {"1.a", "2.a"} == set(await told(drawn(1, "A", widget("a")), drawn(2, "B", widget("a"), title="A")))


async def test_what_does_not_run_has_no_slots() -> None:
    off = [drawn(number, "A", widget("a"), mode=mode) for number, mode in ((1, 2), (2, 4))]
    primitive = drawn(3, "PrimitiveNode", widget("value"))
    subgraph = drawn(4, "f3a1", widget("text"))

    definitions = {"subgraphs": [{"id": "f3a1"}, 3]}
    assert {} == await told(*off, primitive, subgraph, "x", {"id": 5}, definitions=definitions)
