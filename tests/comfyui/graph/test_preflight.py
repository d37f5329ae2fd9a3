"""A graph is checked before it is queued, and says node, input, value and what would do."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from fakes.comfyui_recordings import i2v_graph, video_graph
from fakes.comfyui_rules import recorded_object_info
from wanworker.comfyui.graph.preflight import check
from wanworker.comfyui.graph.problems import as_error

INFO = recorded_object_info()
PREVIEW_ANY = {"input": {"required": {"source": ["*", {}]}}, "output": [], "output_node": True}


def broken(node: str, **inputs: Any) -> dict[str, Any]:
    """Return the recorded graph with inputs of a node changed; None takes one out."""
    graph = i2v_graph()
    graph[node]["inputs"] |= inputs
    graph[node]["inputs"] = {name: value for name, value in graph[node]["inputs"].items() if value is not None}
    return graph


def only_problem(graph: dict[str, Any]) -> str:
    (problem,) = check(graph, INFO).problems
    return str(problem)


@pytest.mark.parametrize("graph", [i2v_graph(), video_graph()])
def test_a_graph_that_ran_has_no_problem(graph: dict[str, Any]) -> None:
    found = check(graph, INFO)

    assert ((), (), graph) == (found.problems, found.remarks, found.graph)


def test_an_unknown_class_comes_with_the_nearest_names() -> None:
    graph = {**video_graph(), "9": {"class_type": "SaveVideos", "inputs": {}}}

    assert "node 9 (SaveVideos): the server has no node class 'SaveVideos'; a custom node pack may be missing; " in (
        only_problem(graph)
    )
    assert "nearest: 'SaveVideo'" in only_problem(graph)


def test_a_graph_that_saves_nothing_names_nodes_that_do() -> None:
    graph = video_graph()
    del graph["3"]

    said = only_problem(graph)

    assert said.startswith("no output node: add one that saves, such as SaveVideo, SaveWEBM, ")


@pytest.mark.parametrize(
    ("savers", "named"),
    [
        (("SaveImage", "VHS_VideoCombine"), "SaveImage, VHS_VideoCombine"),
        ((), "SaveVideo, SaveWEBM, SaveAnimatedWEBP, SaveImage"),
    ],
)
def test_the_nodes_named_are_those_of_the_server_or_else_of_the_core(savers: tuple[str, ...], named: str) -> None:
    info = {"ImageInvert": INFO["ImageInvert"], "SaveWEBM": {}, **{name: {"output_node": True} for name in savers}}
    graph = {"1": {"class_type": "ImageInvert", "inputs": {}}}

    found = check(graph, info)

    assert f"no output node: add one that saves, such as {named}" == str(found.problems[0])
    assert (graph, ()) == (found.graph, found.remarks)


def test_a_graph_of_unknown_classes_comes_back_as_it_is() -> None:
    graph = {"1": {"class_type": "Lost", "inputs": {}}}

    found = check(graph, INFO)

    assert (graph, (), 1) == (found.graph, found.remarks, len(found.problems))


def test_a_name_that_is_no_file_name_is_a_missing_model_where_models_are_chosen() -> None:
    (problem,) = check(broken("95", unet_name="wan high"), INFO).problems

    assert problem.missing_model


def made(*inputs: tuple[str, list[Any]], **given: Any) -> list[str]:
    """Return the problems of a graph of one node whose class has these inputs, all required."""
    info = {"Made": {"input": {"required": dict(inputs)}, "output": [], "output_node": True}}
    return [str(problem) for problem in check({"1": {"class_type": "Made", "inputs": given}}, info).problems]


def test_a_list_that_the_server_fills_on_demand_takes_anything() -> None:
    remote = {"remote": {"route": "/models"}}

    assert [] == made(("name", ["COMBO", {"options": [], **remote}]), name="x")
    assert ["node 1 (Made), input 'name': 'x': the server has no choice"] == made(("name", [[], {}]), name="x")
    assert ["node 1 (Made), input 'name': 'x' is none of 'a'"] == made(("name", [["a"], remote]), name="x")


def test_what_cannot_be_checked_or_was_left_out_stops_no_other_check() -> None:
    optional = {"Made": {"input": {"required": {"codec": ["COMFY_DYNAMICCOMBO_V3", {}]}, "optional": {"a": ["INT"]}}}}
    optional["Made"]["input"]["optional"]["b"] = ["INT"]
    graph = {"1": {"class_type": "Made", "inputs": {"codec": "h264", "b": "x"}}}

    (problem,) = check(graph, {"Made": {**optional["Made"], "output_node": True}}).problems

    assert "node 1 (Made), input 'b': takes a whole number; got 'x'" == str(problem)


def test_a_missing_model_names_node_input_value_and_the_nearest_files() -> None:
    found = check(broken("95", unet_name="wan2.2_i2v_high_noise_14B_fp16.safetensors"), INFO)

    (problem,) = found.problems
    assert ("95", "UNETLoader", "unet_name", True) == (
        problem.node, problem.class_type, problem.input, problem.missing_model,
    )  # fmt: skip
    assert "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors" == problem.nearest()[0]
    assert "'wan2.2_i2v_high_noise_14B_fp16.safetensors' is none of the 8 files" in str(problem)


def test_a_wrong_choice_is_no_missing_model() -> None:
    (problem,) = check(broken("86", sampler_name="eular"), INFO).problems

    assert not problem.missing_model
    assert "euler" == problem.nearest()[0]


def test_only_file_names_may_come_in_other_letters() -> None:
    assert "'EULER' is none of the" in only_problem(broken("86", sampler_name="EULER"))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"noise_seed": -1}, "must be at least 0; got -1"),
        ({"noise_seed": 2**64}, "must be at most 18446744073709551615"),
        ({"steps": "many"}, "takes a whole number; got 'many'"),
        ({"cfg": {}}, "takes a number; got {}"),
        ({"model": None}, "the required input is missing; it takes a link to an output of type MODEL"),
        ({"model": ["84", 0]}, r"takes MODEL; linked to output 0 of node 84 (CLIPLoader), which is CLIP"),
        ({"model": ["84", 7]}, "linked to output 7 of node 84 (CLIPLoader), which has 1"),
        ({"model": ["999", 0]}, "linked to node '999', which is not in the graph"),
        ({"model": ["84", 1]}, "linked to output 1 of node 84 (CLIPLoader), which has 1"),
        ({"model": ["84", -1]}, "linked to output -1 of node 84 (CLIPLoader), which has 1"),
        ({"model": [84, 0]}, "[84, 0] is not a link"),
        ({"model": ["84", 0, 1]}, "is not a link"),
    ],
)
def test_a_bad_input_says_what_was_given_and_what_is_taken(inputs: dict[str, Any], said: str) -> None:
    (problem,) = check(broken("86", **inputs), INFO).problems

    assert str(problem).startswith(f"node 86 (KSamplerAdvanced), input '{next(iter(inputs))}': ")
    assert said in str(problem)
    assert problem.value is None, "a value belongs to a choice; a number that is named like an upload is still wrong"


def test_left_out_inputs_with_a_default_are_filled_in_and_told() -> None:
    graph = broken("95", weight_dtype=None)

    found = check(graph, INFO)

    assert () == found.problems
    assert "default" == found.graph["95"]["inputs"]["weight_dtype"]
    assert ("node 95 (UNETLoader): weight_dtype was missing; set to 'default'",) == found.remarks
    assert "weight_dtype" not in graph["95"]["inputs"]


def test_a_node_without_any_inputs_is_filled_in() -> None:
    graph = video_graph()
    del graph["1"]["inputs"]

    assert 512 == check(graph, INFO).graph["1"]["inputs"]["width"]


def test_a_model_is_never_filled_in() -> None:
    first_three = ", ".join(map(repr, INFO["UNETLoader"]["input"]["required"]["unet_name"][0][:3]))

    assert (
        "node 95 (UNETLoader), input 'unet_name': the required input is missing; it takes a value; "
        f"nearest: {first_three}"
    ) == only_problem(broken("95", unet_name=None))


def test_a_circle_is_named() -> None:
    graph = {
        "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }

    assert "the links make a circle: 1 -> 2 -> 1" in only_problem(graph).replace("2 -> 1 -> 2", "1 -> 2 -> 1")


def test_nodes_that_nothing_uses_are_told_and_not_checked() -> None:
    graph = {**video_graph(), "9": {"class_type": "UNETLoader", "inputs": {"unet_name": "nope.safetensors"}}}

    found = check(graph, INFO)

    assert () == found.problems
    assert ("node 9 (UNETLoader) is used by no output node",) == found.remarks


@pytest.mark.parametrize(("node", "name"), [("97", "image")])
def test_an_uploaded_file_need_not_be_in_the_list(node: str, name: str) -> None:
    assert () == check(broken(node, **{name: "r1/my.png"}), INFO).problems


def test_a_wrapped_list_is_a_value() -> None:
    assert "takes a whole number; got [1, 2]" in only_problem(broken("86", steps={"__value__": [1, 2]}))


def switched(value: Any, kind: str = "BOOLEAN", **more: Any) -> tuple[Any, list[str], list[str]]:
    """Return what becomes of a value: the value that is sent, the remarks and the problems."""
    inputs = {"required": {"on": [kind, {}]}, **more}
    info = {"Switch": {"input": inputs, "output": [], "output_node": True}}
    graph = {"1": {"class_type": "Switch", "inputs": value if isinstance(value, dict) else {"on": value}}}
    found = check(graph, info)
    return found.graph["1"]["inputs"].get("on"), list(found.remarks), [each.text for each in found.problems]


@pytest.mark.parametrize(
    ("value", "kind", "sent", "told"),
    [
        ("false", "BOOLEAN", False, ["node 1 (Switch): on 'false' is read as false"]),
        (" True ", "BOOLEAN", True, ["node 1 (Switch): on ' True ' is read as true"]),
        (0, "BOOLEAN", 0, []),
        (7.9, "INT", 7, ["node 1 (Switch): on 7.9 is read as 7"]),
        (True, "INT", 1, ["node 1 (Switch): on true is read as 1"]),
        (True, "FLOAT", 1.0, ["node 1 (Switch): on true is read as 1.0"]),
        (7.0, "INT", 7.0, []),
        ("7", "INT", "7", []),
    ],
)
def test_a_value_of_another_type_is_read_with_a_remark(value: Any, kind: str, sent: Any, told: list[str]) -> None:
    found = switched(value, kind)

    assert (sent, told, []) == found
    assert type(sent) is type(found[0])


@pytest.mark.parametrize("value", ["no", "", 2, {"on": {"__value__": "false"}}], ids=str)
def test_what_is_neither_true_nor_false_is_refused(value: Any) -> None:
    (problem,) = switched(value)[2]

    assert problem.startswith("takes true or false; got ")


def test_inputs_that_the_class_does_not_have_are_remarked_with_the_nearest() -> None:
    found = check(broken("86", step=30, cgf=["1", 0]), INFO)

    assert () == found.problems
    assert 30 != found.graph["86"]["inputs"]["steps"]
    assert found.lasting == found.remarks == (
        "node 86 (KSamplerAdvanced): the server's version of this class does not list the input 'step', 'cgf'; "
        "nearest: 'steps', 'cfg'",
    )  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {"optional": {}},
        {"optional": {"values": ["COMFY_AUTOGROW_V3", {}]}},
        {"optional": {"choice": ["COMBO", {"options": []}]}},
        {"hidden": {"other": "PROMPT"}},
    ],
    ids=str,
)
def test_a_class_that_may_take_other_names_gets_no_remark_about_them(more: dict[str, Any]) -> None:
    given = {"on": True, "other": 1}

    assert (True, [], []) == switched(given, **more)
    assert [] == switched({"on": True, "_note": 1, "upload": "image"})[1]
    assert 1 == len(switched(given)[1])


def test_unknown_inputs_of_many_nodes_are_counted() -> None:
    info = {"Switch": {"input": {"required": {"on": ["BOOLEAN", {}]}}, "output_node": True}}
    node = {"class_type": "Switch", "inputs": {"on": True, **{f"x{at}": 1 for at in range(500)}}}
    remarks = check({str(at): node for at in range(500)}, info).remarks

    assert "492 more nodes have inputs that their classes do not list" == remarks[-1]
    assert "'x7' and 492 more" in remarks[0]


def test_all_problems_are_found_at_once() -> None:
    graph = broken("86", noise_seed=-1)
    graph["90"]["inputs"]["vae_name"] = "nope.safetensors"

    assert {"86", "90"} == {problem.node for problem in check(graph, INFO).problems}


def _with_folder(name: str, *more: str) -> dict[str, Any]:
    info = copy.deepcopy(dict(INFO))
    info["UNETLoader"]["input"]["required"]["unet_name"][0] = [f"Wan/{name}", *more]
    return info


@pytest.mark.parametrize("value", ["Wan\\{}", "wan/{}", "WAN\\{}"])
def test_a_model_of_a_graph_from_windows_gets_the_servers_name_and_a_remark(value: str) -> None:
    name = i2v_graph()["95"]["inputs"]["unet_name"]
    asked = value.format(name)
    graph = {"95": {"class_type": "UNETLoader", "inputs": {"weight_dtype": "default", "unet_name": asked}}}
    graph["1"] = {"class_type": "PreviewAny", "inputs": {"source": ["95", 0]}}

    found = check(graph, {**_with_folder(name), "PreviewAny": PREVIEW_ANY})

    assert () == found.problems
    assert f"Wan/{name}" == found.graph["95"]["inputs"]["unet_name"]
    assert (f"node 95 (UNETLoader): unet_name {asked!r} is 'Wan/{name}' on the server",) == found.remarks
    assert asked == graph["95"]["inputs"]["unet_name"], "the caller's own graph stays as it is"


def test_a_model_that_two_files_could_be_is_left_to_the_caller() -> None:
    name = i2v_graph()["95"]["inputs"]["unet_name"]
    graph = {"95": broken("95", unet_name=f"WAN/{name}")["95"]}
    graph["1"] = {"class_type": "PreviewAny", "inputs": {"source": ["95", 0]}}

    found = check(graph, {**_with_folder(name, f"wan/{name}"), "PreviewAny": PREVIEW_ANY})

    assert [True] == [problem.missing_model for problem in found.problems]


def test_a_large_graph_of_unknown_nodes_and_files_is_checked_soon() -> None:
    files = [f"wan2.2_i2v_high_noise_{number}_fp8_scaled.safetensors" for number in range(20_000)]
    info = {
        "UNETLoader": {"input": {"required": {"unet_name": [files]}}, "output": ["MODEL"]},
        "Save": {"input": {"required": {"model": ["MODEL"]}}, "output_node": True},
    }
    wrong = "wan2.2_i2v_hihg_noise_{}_fp8_scaled.safetensors"
    loaders = {
        f"{number}": {"class_type": "UNETLoader", "inputs": {"unet_name": wrong.format(number)}}
        for number in range(250)
    }
    savers = {f"s{number}": {"class_type": "Save", "inputs": {"model": [f"{number}", 0]}} for number in range(250)}
    started = time.process_time()

    known = check({**loaders, **savers}, info)
    unknown = check({f"{number}": {"class_type": f"Lost{number}", "inputs": {}} for number in range(10_000)}, info)

    assert "high_noise" in str(as_error(known.problems).hint)
    assert "9992 more" in str(as_error(unknown.problems))
    # Half a second; with the nearest names of each wrong one it would be minutes.
    assert time.process_time() - started < 15


def two_outputs(**bad: Any) -> dict[str, Any]:
    """Return a graph with a good saver, and one whose inputs are *bad*, with a node that only it needs."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
        "3": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "4": {
            "class_type": "SaveWEBM",
            "inputs": {
                "images": ["3", 0], "filename_prefix": "b", "codec": "vp9", "fps": 16.0, "crf": 32.0, **bad,
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize("bad", [{"codec": "vp99"}, {"fps": -1}, {"images": ["77", 0]}, {"images": ["4", 0]}], ids=str)
def test_a_bad_output_beside_a_good_one_is_left_out(bad: dict[str, Any]) -> None:
    found = check(two_outputs(**bad), INFO)

    assert ((), ["1", "2"]) == (found.problems, list(found.graph))
    assert {"4"} == {problem.node for problem in found.left_out if problem.node}
    alone = two_outputs(**bad)
    del alone["2"]
    assert found.left_out == check(alone, INFO).problems


def test_an_unknown_class_hides_no_other_problem() -> None:
    graph = broken("95", unet_name="lost.safetensors")
    graph["86"]["inputs"]["sampler_name"] = "eular"
    graph["200"] = {"class_type": "NoSuchNode", "inputs": {"samples": graph["86"]["inputs"]["latent_image"]}}
    graph["86"]["inputs"]["latent_image"] = ["200", 7]

    first, *others = [(problem.node, problem.input) for problem in check(graph, INFO).problems]

    assert (("200", ""), [("86", "sampler_name"), ("95", "unet_name")]) == (first, sorted(others))


def test_what_a_saver_of_unknown_class_needs_is_checked_too() -> None:
    graph = video_graph()
    graph["1"]["inputs"]["width"] = 0
    graph["3"]["class_type"] = "SaveVideos"

    assert [("3", ""), ("1", "width")] == [(each.node, each.input) for each in check(graph, INFO).problems]


def test_a_graph_that_saves_nothing_hears_of_its_other_faults_too() -> None:
    graph = video_graph()
    graph["1"]["inputs"]["width"] = 0
    del graph["3"]

    assert [("", ""), ("1", "width")] == [(each.node, each.input) for each in check(graph, INFO).problems]


def test_a_fault_that_all_outputs_share_stops_the_graph() -> None:
    graph = two_outputs()
    graph["1"]["inputs"]["width"] = 0
    found = check(graph, INFO)

    assert ("1",) == tuple(problem.node for problem in found.problems)
    assert ((), graph) == (found.left_out, found.graph)


def test_an_unknown_class_stops_the_good_outputs_too_as_on_the_server() -> None:
    graph = two_outputs()
    graph["3"]["class_type"] = "Lost"

    assert 1 == len(check(graph, INFO).problems)


def test_a_file_that_is_sent_excuses_the_choice_that_names_it() -> None:
    graph = two_outputs(codec="in.webm [input]")

    assert ((), ()) == (check(graph, INFO, ["in.webm"]).problems, check(graph, INFO, ["in.webm"]).left_out)
    assert list(graph) == list(check(graph, INFO, ["in.webm"]).graph)
