"""
Small workflows of every kind become what ComfyUI's own frontend makes of them.

`ui_sisters.json` holds workflows and what frontend 1.49.6 sent for them on a server 0.33.0 on 2026-11-29. With a server
and Chromium, test_frontend.py asks again.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fakes.comfyui_page import run_of
from wanworker.comfyui.graph.api_format import read_graph
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.ui_workflow.convert import api_graph

DATA = Path(__file__).parents[2] / "data/comfyui"
INFO = json.loads((DATA / "object_info-0.33.0.json").read_text())
SISTERS = json.loads((DATA / "ui_sisters.json").read_text())
NOW = datetime(2026, 11, 29, 3, 4, 5)


def sister(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(SISTERS[name]["workflow"]))
    return found


@pytest.mark.parametrize("name", SISTERS)
def test_a_workflow_becomes_the_run_that_the_frontend_sends(name: str) -> None:
    ours = api_graph(sister(name), INFO, now=NOW).graph

    assert run_of(SISTERS[name]["sent"], INFO) == run_of(ours, INFO)


def test_what_a_primitive_resets_is_told() -> None:
    warnings = api_graph(sister("savevideo_primitive_format"), INFO, now=NOW).warnings
    lost = "format.codec, format.codec.encoding, format.codec.encoding.crf, format.codec.encoding.color_space"

    assert [line for line in warnings if "a primitive sets format" in line and line.endswith(f"in the browser: {lost}")]


def test_nothing_that_the_frontend_sends_is_told_as_unknown() -> None:
    remarks = [line for sister in SISTERS.values() for line in check(read_graph(sister["sent"]), INFO).remarks]

    assert [] == [line for line in remarks if "does not list" in line]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("savevideo_avi", "input 'format': 'avi' is none of 'auto', 'mp4'"),
        ("savevideo_webm_bad", "input 'format.codec': 'h264' is none of 'auto', 'av1'"),
        ("resize_bad", "input 'resize_type': 'scale badly' is none of the 9 choices; nearest: 'scale width'"),
    ],
)
def test_a_choice_that_there_is_not_is_told_at_its_own_depth(name: str, told: str) -> None:
    problems = check(api_graph(sister(name), INFO, now=NOW).graph, INFO).problems

    assert any(told in str(problem) for problem in problems), problems


@pytest.mark.parametrize(("more", "is_refused"), [({}, True), ({"format.codec": "h264"}, False)])
def test_a_former_choice_is_checked_where_the_node_takes_it(more: dict[str, str], is_refused: bool) -> None:
    """SaveVideo takes its former `codec` if there is no `format.codec`, and fails late if there is no such codec."""
    graph = api_graph(sister("savevideo_empty"), INFO, now=NOW).graph
    kept = {name: value for name, value in graph["3"]["inputs"].items() if name != "format.codec"}
    graph["3"]["inputs"] = {**kept, "codec": "divx", **more}

    found = [str(problem) for problem in check(graph, INFO).problems]

    told = "node 3 (SaveVideo), input 'codec': 'divx' is none of 'auto', 'h264', 'av1'"
    assert found == ([told] if is_refused else [])


def test_the_values_of_an_instance_may_be_saved_by_name() -> None:
    """No frontend writes this; other programs do."""
    document = sister("host_values_one")
    document["nodes"][0]["widgets_values"] = {"w": 160, "h": None}

    image = api_graph(document, INFO, now=NOW).graph["10:1"]["inputs"]

    assert (160, 64) == (image["width"], image["height"])


def test_what_the_browser_leaves_out_of_a_text_is_told() -> None:
    document = sister("prompt_url")
    (line,) = api_graph(document, INFO, now=NOW).warnings
    assert "node 1 (CLIPTextEncode): text is sent without its comments and braces, as the browser sends it" in line

    document["nodes"][1]["widgets_values"] = ["a {red|blue} fox"]
    converted = api_graph(document, INFO, now=NOW)
    (line,) = converted.warnings
    assert "a red fox" == converted.graph["1"]["inputs"]["text"]
    assert "text has '{red|blue}', of which the browser would pick one at random; the first is sent" in line
