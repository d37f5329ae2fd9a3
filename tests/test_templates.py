"""
ComfyUI's official Wan 2.2 templates convert into graphs that a server accepts, or are refused by what it lacks.

The templates of comfyui-workflow-templates 0.11.97 are a development dependency (their texts are a package of their
own, 4 MB). Version 0.1.95 is one wheel of 84 MB, pictures and all, so the slow tests fetch it with pip for themselves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from wanworker.comfyui.graph.api_format import Graph, is_ui_format, orphans, output_nodes
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.ui_workflow._links import FRONTEND_ONLY
from wanworker.comfyui.ui_workflow.convert import api_graph
from wanworker.errors import GraphRefused

SERVERS = {
    version: json.loads((Path(__file__).parent / "data/comfyui" / f"object_info-{version}.json").read_text())
    for version in ("0.3.64", "0.10.0")
}

NOW = datetime(2026, 11, 29, 3, 4, 5)
OLD = "comfyui-workflow-templates==0.1.95"
OLD_SHA256 = "89e20f310f7e7c323d5fe69af895cdb9053d05442404f45e121773cdec95af8a"

#: ComfyMathExpression in its shape of ComfyUI 0.19, newer than both recordings: the templates' only gap on 0.10.0.
MATH = {
    "input": {"required": {"expression": ["STRING", {"multiline": True}], "values": ["COMFY_AUTOGROW_V3", {}]}},
    "input_order": {"required": ["expression", "values"]},
    "output": ["FLOAT", "INT", "BOOLEAN"],
}

Templates = Mapping[str, dict[str, Any]]


def wan_2_2(files: Iterator[tuple[str, str]]) -> Templates:
    """Keep the workflows that name a Wan 2.2 model; index files list the templates and are none."""
    read = {name: json.loads(text) for name, text in files if "wan2.2_" in text.lower()}
    return {name.removesuffix(".json"): document for name, document in sorted(read.items()) if is_ui_format(document)}


def installed() -> Templates:
    folder = resources.files("comfyui_workflow_templates_json") / "templates"
    return wan_2_2((file.name, file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".json"))


NEW = installed()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    folder = tmp_path_factory.mktemp("templates")
    (folder / "wanted.txt").write_text(f"{OLD} --hash=sha256:{OLD_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", str(folder)]
    done = subprocess.run([*pip, "-r", str(folder / "wanted.txt")], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip could not download {OLD}, which this test converts: {done.stderr.strip().splitlines()[-1:]}")
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as opened:
        names = [name for name in opened.namelist() if "/templates/" in name and name.endswith(".json")]
        templates = wan_2_2((Path(name).name, opened.read(name).decode("utf-8")) for name in names)
    wheel.unlink()  # pytest keeps its folders for a while
    return templates


def classes_lacking(document: Mapping[str, Any], info: Mapping[str, Any]) -> set[str]:
    """Count by hand, without the converter: the classes of nodes that run which the server does not have."""
    subgraphs = document.get("definitions", {}).get("subgraphs", [])
    own = {one["id"] for one in subgraphs} | FRONTEND_ONLY
    nodes = [node for sheet in (document, *subgraphs) for node in sheet["nodes"] if node["mode"] not in {2, 4}]
    return {node["type"] for node in nodes} - own - set(info)


def assert_accepted(graph: Graph, info: Mapping[str, Any]) -> None:
    """The server accepts the graph once the weights are there: nothing but files may be missing."""
    found = check(graph, info)

    assert [] == [str(problem) for problem in found.problems if not problem.missing_model]
    assert output_nodes(graph, info)
    assert any("Sampler" in body["class_type"] for body in graph.values())


def convert_or_name_what_is_missing(document: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    lacking = classes_lacking(document, info)
    if not lacking:
        assert_accepted(api_graph(document, info, now=NOW).graph, info)
        return

    with pytest.raises(GraphRefused) as refused:
        api_graph(document, info, now=NOW)

    assert [] == [name for name in lacking if repr(name) not in str(refused.value)]


def test_the_installed_package_has_the_wan_2_2_templates_that_we_know_of() -> None:
    known = {"14B_flf2v", "14B_fun_camera", "14B_fun_control", "14B_fun_inpaint", "14B_i2v", "14B_s2v", "14B_t2v"}
    known |= {"5B_fun_control", "5B_fun_inpaint", "5B_ti2v"}

    assert {f"video_wan2_2_{name}" for name in known} <= set(NEW)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", NEW)
def test_a_wan_2_2_template_of_today_converts_or_names_what_is_missing(name: str, server: str) -> None:
    convert_or_name_what_is_missing(NEW[name], SERVERS[server])


@pytest.mark.parametrize("name", ["14B_flf2v", "14B_fun_camera", "14B_fun_control", "14B_fun_inpaint", "14B_s2v"])
def test_a_14b_template_whose_classes_both_servers_have_converts_alike_for_both(name: str) -> None:
    graphs = [api_graph(NEW[f"video_wan2_2_{name}"], info, now=NOW).graph for info in SERVERS.values()]

    assert graphs[0] == graphs[1]
    assert () == orphans(graphs[0], SERVERS["0.3.64"])


def test_todays_i2v_template_needs_one_class_more_than_0_10_0_has_and_the_refusal_says_which() -> None:
    with pytest.raises(GraphRefused, match=r"'ComfyMathExpression' \(node 129:163; part of ComfyUI itself"):
        api_graph(NEW["video_wan2_2_14B_i2v"], SERVERS["0.10.0"], now=NOW)


@pytest.mark.parametrize("name", ["video_wan2_2_14B_i2v", "video_wan2_2_14B_t2v"])
def test_todays_subgraph_templates_convert_for_a_server_with_that_class(name: str) -> None:
    info = {**SERVERS["0.10.0"], "ComfyMathExpression": MATH}

    graph = api_graph(NEW[name], info, now=NOW).graph

    assert_accepted(graph, info)
    text = next(body for body in graph.values() if "Positive" in body["_meta"]["title"])["inputs"]["text"]
    assert len(text) > 100
    experts = [body["inputs"]["unet_name"] for body in graph.values() if body["class_type"] == "UNETLoader"]
    assert {"high", "low"} == {part for name in experts for part in ("high", "low") if f"_{part}_noise" in name}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("server", SERVERS)
def test_every_wan_2_2_template_of_0_1_95_converts_or_names_what_is_missing(old: Templates, server: str) -> None:
    assert len(old) >= 11
    for document in old.values():
        convert_or_name_what_is_missing(document, SERVERS[server])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["14B_i2v", "14B_t2v", "14B_flf2v", "5B_ti2v"])
def test_the_four_templates_of_0_1_95_that_people_know_convert_for_both_servers(old: Templates, name: str) -> None:
    document = old[f"video_wan2_2_{name}"]

    for info in SERVERS.values():
        graph = api_graph(document, info, now=NOW).graph

        assert_accepted(graph, info)
        assert () == orphans(graph, info)
        samplers = [body["inputs"] for body in graph.values() if body["class_type"] == "KSamplerAdvanced"]
        assert (2 if name.startswith("14B") else 0) == len(samplers)
        assert all(inputs["start_at_step"] < inputs["end_at_step"] for inputs in samplers)
