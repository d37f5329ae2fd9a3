"""`comfyui_workflow`: a graph by name or URL, with values for its slots."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from door import ask
from fakes.files import file_server
from fakes.graphs import reading, saving
from fakes.saved_files import saved_with
from wanworker.actions.comfyui import _workflow_files

DATA = Path(__file__).parents[2] / "data" / "comfyui"


async def run(worker, workflow, *, job_id="sync-1", **fields):
    given = {"action": "comfyui_workflow", "workflow": workflow, **fields}
    return (await ask(worker, {"input": given}, job_id=job_id))[0]


def titled(graph, **titles):
    """Return the graph with titles by node id (`n9` for 9)."""
    return {
        node: {**body, **({"_meta": {"title": titles[f"n{node}"]}} if f"n{node}" in titles else {})}
        for node, body in graph.items()
    }


@pytest.fixture
def folder(settings):
    """The volume's folder of workflows, beside the models: one in API format, one below a folder."""
    place = settings.ckpt_dir.parent / "workflows"
    (place / "deep").mkdir(parents=True)
    (place / "still.json").write_text(json.dumps(titled(saving("SaveImage"), n1="Canvas", n9="Save it")))
    frame = titled(reading("LoadImage", "image", "old.png"), n4="Start image")
    (place / "deep" / "frame.json").write_text(json.dumps({"prompt": frame}))
    return place


@pytest.mark.parametrize("name", ["still", "still.json", " still "])
async def test_a_workflow_is_called_by_its_name_with_slots(comfyui_worker, comfyui, folder, name):
    slots = {"Canvas.width": 128, "1.height": 32, "Save it.filename_prefix": "mine"}
    answer = await run(comfyui_worker(), name, slots=slots)

    (graph,) = comfyui.graphs
    assert (answer["status"], answer["warnings"]) == ("completed", [])
    assert (graph["1"]["inputs"]["width"], graph["1"]["inputs"]["height"]) == (128, 32)
    assert "mine" in answer["outputs"][0]["filename"]


async def test_a_slot_names_a_picture_that_was_sent(comfyui_worker, comfyui, folder, films):
    images = [{"name": "in.png", "data": base64.b64encode(films[".png"]).decode()}]
    answer = await run(comfyui_worker(), "deep/frame", images=images, slots={"Start image.image": "in.png"})

    (graph,) = comfyui.graphs
    assert (answer["status"], answer["warnings"]) == ("completed", [])
    assert graph["4"]["inputs"]["image"].startswith("sync-1")


async def test_a_workflow_of_the_browser_takes_slots_after_its_conversion(comfyui_worker, comfyui, folder, films):
    document = json.loads((DATA / "ui_i2v.json").read_text())
    (folder / "browser.json").write_text(json.dumps(document))
    names = {node["widgets_values"][0] for node in document["nodes"] if node["type"] == "LoadImage"}
    images = [{"name": name, "data": base64.b64encode(films[".png"]).decode()} for name in sorted(names)]
    listed = await ask(comfyui_worker(), {"input": {"action": "comfyui_models"}})
    (entry,) = [each for each in listed[0]["workflows"] if each["name"] == "browser"]
    slot = next(each for each in entry["slots"] if each["input"] == "length")
    answer = await run(comfyui_worker(), "browser", images=images, slots={slot["slot"]: 5})

    (graph,) = comfyui.graphs
    assert answer["status"] == "completed"
    assert graph[slot["id"]]["inputs"]["length"] == 5


async def test_slots_work_for_a_graph_that_was_sent_too(comfyui_worker, comfyui):
    graph = saving("SaveImage")
    sent = await run(comfyui_worker(), graph, slots={"EmptyImage.width": 16})
    text = await run(comfyui_worker(), json.dumps(graph), slots={"EmptyImage.width": 24}, job_id="sync-2")

    assert (sent["status"], text["status"]) == ("completed", "completed")
    assert [each["1"]["inputs"]["width"] for each in comfyui.graphs] == [16, 24]


async def test_our_own_workflows_have_names_and_the_volume_may_hide_them(comfyui_worker, comfyui, folder):
    own = await run(comfyui_worker(), "ti2v-5B", validate_only=True, slots={"Prompt.text": "a fox"})
    (folder / "ti2v-5B.json").write_text(json.dumps(saving("SaveImage")))
    hidden = await run(comfyui_worker(), "ti2v-5B", validate_only=True)

    assert own["workflow"]["4"]["inputs"]["text"] == "a fox"
    assert list(hidden["workflow"]) == ["1", "9"]


async def test_another_folder_is_searched_where_it_is_set(comfyui_worker, folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.json").write_text(json.dumps(saving("SaveImage")))
    worker = comfyui_worker(workflows=tmp_path / "mine")
    found = await run(worker, "own", validate_only=True)
    missing = await run(worker, "still", validate_only=True)

    assert found["status"] == "valid"
    assert f"There is no workflow 'still' in {tmp_path / 'mine'}" in missing["error"]


@pytest.mark.parametrize("ending", [".png", ".webp", ".jpg", ".mp4"])
async def test_what_comfyui_saved_is_called_by_its_name_too(comfyui_worker, comfyui, folder, ending):
    graph = titled(saving("SaveImage"), n1="Canvas")
    (folder / f"made{ending}").write_bytes(saved_with(ending, prompt=json.dumps(graph)))
    worker = comfyui_worker()
    short = await run(worker, "made", slots={"Canvas.width": 16})
    exact = await run(worker, f"made{ending}", slots={"Canvas.width": 24}, job_id="sync-2")

    assert (short["status"], exact["status"]) == ("completed", "completed")
    assert [each["1"]["inputs"]["width"] for each in comfyui.graphs] == [16, 24]


async def test_of_two_files_with_one_name_the_json_has_it(comfyui_worker, folder):
    (folder / "still.png").write_bytes(saved_with(".png", prompt=json.dumps(saving("SaveWEBM"))))
    short = await run(comfyui_worker(), "still", validate_only=True)
    exact = await run(comfyui_worker(), "still.png", validate_only=True)

    assert [body["workflow"]["9"]["class_type"] for body in (short, exact)] == ["SaveImage", "SaveWEBM"]


async def test_a_picture_without_a_workflow_is_refused_by_its_name(comfyui_worker, folder):
    (folder / "photo.png").write_bytes(saved_with(".png"))
    answer = await run(comfyui_worker(), "photo")

    assert (answer["code"], "no workflow in it" in answer["error"]) == ("GRAPH_REFUSED", True)


@pytest.mark.parametrize("name", ["stil", "STILL", "deep/frames"])
async def test_an_unknown_name_is_refused_with_the_nearest(comfyui_worker, folder, name):
    answer = await run(comfyui_worker(), name)

    wanted = "deep/frame" if "deep" in name else "still"
    assert answer["code"] == "INVALID_REQUEST"
    assert f"There is no workflow '{name}' in {folder} or among the worker's own; nearest: " in answer["error"]
    assert f"nearest: '{wanted}'" in answer["error"]


@pytest.mark.parametrize("name", ["../secret", "deep/../../secret", "/etc/passwd", "link", "away/secret", "link.json"])
async def test_no_name_leads_out_of_the_folder(comfyui_worker, folder, tmp_path, name):
    (tmp_path / "secret.json").write_text(json.dumps(saving("SaveImage", prefix="SECRET")))
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "link.png").symlink_to(tmp_path / "secret.json")
    (folder / "away").symlink_to(tmp_path)
    answer = await run(comfyui_worker(), name, validate_only=True)
    listed, _ = await ask(comfyui_worker(), {"input": {"action": "comfyui_models"}})

    assert answer["code"] in {"INPUT_REFUSED", "INVALID_REQUEST"}
    assert "SECRET" not in str(answer)
    assert not {"link", "away/secret"} & {each["name"] for each in listed["workflows"]}


async def test_a_link_within_the_folder_is_followed(comfyui_worker, folder):
    (folder / "alias.json").symlink_to("still.json")

    assert (await run(comfyui_worker(), "alias", validate_only=True))["status"] == "valid"


FAULTS = {
    "not json": ("hello", "workflow 'bad' is text, but cannot be read as JSON"),
    "a list": ("[1]", "workflow 'bad' must be an object"),
    "no graph": ('{"a": 1}', "has no class_type"),
    "too deep": ("[" * 5000 + "]" * 5000, "nested too deeply"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_file_that_is_no_workflow_is_said_so(comfyui_worker, folder, fault):
    content, said = FAULTS[fault]
    (folder / "bad.json").write_text(content)
    answer = await run(comfyui_worker(), "bad")

    assert said in answer["error"]


async def test_a_file_over_the_limit_is_refused(comfyui_worker, folder):
    with (folder / "big.json").open("wb") as file:
        file.truncate(_workflow_files.MAX_BYTES + 1)

    assert (await run(comfyui_worker(), "big"))["code"] == "INPUT_REFUSED"


async def test_a_workflow_comes_from_a_url_by_the_rules_of_pictures(comfyui_worker, comfyui, films):
    async with file_server() as server:
        server.files["flow.json"] = json.dumps(saving("SaveImage")).encode()
        server.files["page.html"] = b"<html>"
        url = server.url("/files/flow.json")
        answer = await run(comfyui_worker(), url, slots={"EmptyImage.width": 40})
        guarded = await run(comfyui_worker(allow_hosts=""), url, job_id="b")
        missing = await run(comfyui_worker(), server.url("/missing"), job_id="c")
        endless = await run(comfyui_worker(), server.url("/endless"), job_id="d")
        html = await run(comfyui_worker(), server.url("/files/page.html"), job_id="e")

    (graph,) = comfyui.graphs
    assert (answer["status"], graph["1"]["inputs"]["width"]) == ("completed", 40)
    assert (guarded["code"], missing["code"], endless["code"]) == (
        "INPUT_REFUSED",
        "INPUT_UNAVAILABLE",
        "INPUT_REFUSED",
    )
    assert missing["error"].startswith("workflow: ")
    assert "cannot be read as JSON" in html["error"]


async def test_a_wrong_slot_is_refused_before_anything_is_queued(comfyui_worker, comfyui, folder):
    worker = comfyui_worker()
    unknown = await run(worker, "still", slots={"Canvs.width": 1})
    value = await run(worker, "still", slots={"Canvas.width": "wide"})
    shape = await run(worker, "still", slots=["Canvas.width"])

    assert "slot 'Canvs.width' names no node; nearest: 'Canvas'" in unknown["error"]
    assert (value["code"], shape["code"]) == ("GRAPH_REFUSED", "INVALID_REQUEST")
    assert "node 1 (EmptyImage), input 'width': takes a whole number; got 'wide'" in value["error"]
    assert comfyui.seen["POST /prompt"] == 0


async def test_a_wrong_value_of_a_slot_is_a_refusal_even_beside_good_outputs(comfyui_worker, comfyui):
    graph = {**saving("SaveImage"), "10": saving("SaveWEBM")["9"]}
    answer = await run(comfyui_worker(), graph, slots={"10.codec": "vp99"})

    assert answer["code"] == "GRAPH_REFUSED"
    assert "node 10 (SaveWEBM), input 'codec': 'vp99' is none of" in answer["error"]
    assert comfyui.seen["POST /prompt"] == 0


async def test_the_slots_are_part_of_what_a_request_id_names(comfyui_worker, comfyui, folder):
    worker = comfyui_worker()
    first = await run(worker, "still", request_id="r", slots={"Canvas.width": 16})
    again = await run(worker, "still", request_id="r", slots={"Canvas.width": 16})
    other = await run(worker, "still", request_id="r", slots={"Canvas.width": 24})
    none = await run(worker, "still", request_id="r")

    assert first["outputs"] == again["outputs"]
    assert [other["code"], none["code"]] == ["REQUEST_ID_REUSED", "REQUEST_ID_REUSED"]
    assert len(comfyui.graphs) == 1
