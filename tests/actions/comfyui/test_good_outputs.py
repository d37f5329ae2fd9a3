"""`comfyui_workflow`: good outputs survive a bad one beside them, and a wait behind others is told."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from door import ask
from fakes.graphs import reading, saving, several
from wanworker.comfyui.client.http import ComfyClient
from wanworker.errors import UnknownJob


def job(workflow, **fields):
    return {"input": {"action": "comfyui_workflow", "workflow": workflow, **fields}}


async def run(worker, workflow, *, job_id="sync-1", **fields):
    return (await ask(worker, job(workflow, **fields), job_id=job_id))[0]


def kinds(answer):
    return [output["type"] for output in answer["outputs"]]


def two(**bad):
    """Return a graph that saves a picture, and a film whose inputs are *bad*."""
    film = saving("SaveWEBM")["9"]
    return {**saving("SaveImage"), "10": {**film, "inputs": {**film["inputs"], **bad}}}


async def test_a_bad_output_beside_a_good_one_is_a_warning_that_names_node_input_and_value(comfyui_worker, comfyui):
    answer = await run(comfyui_worker(), two(codec="vp99"))

    assert (answer["status"], kinds(answer)) == ("completed", ["image/png"])
    (line,) = answer["warnings"]
    assert line.startswith("node 10 (SaveWEBM), input 'codec': 'vp99' is none of 'vp9', 'av1'; ")
    assert line.endswith("the output nodes that need it were left out.")
    (graph,) = comfyui.graphs
    assert list(graph) == ["1", "9"]


async def test_a_fault_that_only_the_server_sees_is_the_same_warning(comfyui_worker):
    """The server's own check of a file of its input folder answers 200 with node_errors."""
    loader = reading("LoadImage", "image", "gone.png")
    answer = await run(comfyui_worker(), {**saving("SaveVideo"), "4": loader["4"], "8": loader["9"]})

    assert (answer["status"], kinds(answer)) == ("completed", ["video/mp4"])
    (line,) = answer["warnings"]
    assert line.startswith("node 4 (LoadImage), input 'image': ")
    assert "gone.png" in line
    assert line.endswith("; the output nodes that need it were left out.")


async def test_all_outputs_bad_is_a_refusal_as_for_one(comfyui_worker, comfyui):
    graph = two(codec="vp99")
    graph["9"]["inputs"]["images"] = ["77", 0]
    both = await run(comfyui_worker(), graph)
    del graph["9"]
    one = await run(comfyui_worker(), graph, job_id="sync-2")

    assert [both["code"], one["code"]] == ["GRAPH_REFUSED", "GRAPH_REFUSED"]
    assert "node 9 (SaveImage), input 'images'" in both["error"]
    assert "node 10 (SaveWEBM), input 'codec'" in both["error"]
    assert comfyui.seen["POST /prompt"] == 0


async def test_validate_only_tells_what_would_be_left_out(comfyui_worker):
    answer = await run(comfyui_worker(), two(codec="vp99"), validate_only=True)

    assert (answer["status"], list(answer["workflow"])) == ("valid", ["1", "9"])
    assert "'vp99' is none of 'vp9', 'av1'" in answer["warnings"][0]


async def test_with_only_a_preview_left_the_error_names_what_was_left_out(comfyui_worker):
    graph = two(codec="vp99")
    graph["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    answer = await run(comfyui_worker(), graph)

    assert (answer["status"], answer["code"]) == ("NO_OUTPUT", "NO_OUTPUT")
    assert "node 10 (SaveWEBM), input 'codec': 'vp99' is none of" in answer["error"]


async def test_an_output_whose_file_is_gone_is_a_warning_and_the_rest_is_there(comfyui_worker, comfyui):
    comfyui.nodes.loses = frozenset({"SaveVideo"})
    answer = await run(comfyui_worker(), several())

    assert (answer["status"], kinds(answer)) == ("completed", ["image/png", "audio/flac", "video/mp4"])
    assert all(Path(output["path"]).is_file() for output in answer["outputs"])
    (line,) = answer["warnings"]
    assert line.startswith("Output 'clip_sync-1-1_00001_.mp4' of node 3 is lost: ")
    assert "does not have it" in line


async def test_an_output_that_cannot_be_downloaded_is_a_warning_and_the_rest_is_there(comfyui_worker, comfyui):
    comfyui.cut_downloads = 3  # the first output's three tries
    answer = await run(comfyui_worker(), several())

    assert (answer["status"], kinds(answer)) == ("completed", ["video/mp4", "audio/flac", "video/mp4"])
    assert [line.partition(": ")[2] for line in answer["warnings"]] == ["ComfyUI server is not responding"]


async def test_a_film_that_is_damaged_is_a_warning_and_the_rest_is_there(comfyui_worker, comfyui, films, settings):
    comfyui.nodes.media = {**films, ".mp4": films[".mp4"][:100]}
    answer = await run(comfyui_worker(), several())
    alone = await run(comfyui_worker(), saving("SaveVideo"), job_id="sync-2")

    assert (answer["status"], kinds(answer)) == ("completed", ["image/png", "audio/flac"])
    assert len(answer["warnings"]) == 2
    assert all("was left out: " in line for line in answer["warnings"])
    assert alone["status"] == "NO_OUTPUT"
    assert len([path for path in settings.out_dir.iterdir() if path.suffix != ".json" and path.is_file()]) == 2


async def test_when_nothing_is_left_it_is_no_output_with_every_reason(comfyui_worker, comfyui):
    comfyui.nodes.loses = frozenset({"SaveImage", "SaveWEBM"})
    answer = await run(comfyui_worker(), two())

    assert (answer["status"], answer["code"]) == ("NO_OUTPUT", "NO_OUTPUT")
    assert "of node 9 is lost" in answer["error"]
    assert "of node 10 is lost" in answer["error"]


async def test_progress_tells_how_many_prompts_are_ahead(comfyui_worker, comfyui):
    comfyui.nodes.holds = frozenset({"EmptyImage"})
    worker = comfyui_worker()
    async with ComfyClient(comfyui.url) as other:
        for color in (5, 6):
            await other.submit(saving("SaveImage", color=color), prompt_id=str(uuid.uuid4()), client_id="other")
        await asyncio.wait_for(comfyui.nodes.held.wait(), 10)
        ours = asyncio.create_task(ask(worker, job(saving("SaveImage", color=7)), job_id="sync-7"))
        async with asyncio.timeout(20):
            while (shown := await shown_progress(worker)).get("detail") != "2 prompts ahead":
                await asyncio.sleep(0.001)
        comfyui.nodes.release.set()
        answer, _ = await ours

    assert (answer["status"], answer["warnings"]) == ("completed", [])
    assert (shown["stage"], shown["progress"]) == ("waiting", 0)


async def shown_progress(worker):
    """Return what the job's record tells of its progress."""
    try:
        return worker.store.find("sync-7").progress or {}
    except UnknownJob:
        return {}
