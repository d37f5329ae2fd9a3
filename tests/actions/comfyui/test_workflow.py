"""`comfyui_workflow` through the door: every kind of output, every kind of input, refusals, and a server in trouble."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from door import ask
from fakes.bucket import s3_server
from fakes.comfyui_nodes import OOM
from fakes.comfyui_wan import savers
from fakes.graphs import picture, reading, saving, several
from wanworker.actions.comfyui.workflow import WorkflowRequest
from wanworker.errors import InvalidRequest

DATA = Path(__file__).parents[2] / "data" / "comfyui"


def job(workflow, **fields):
    return {"input": {"action": "comfyui_workflow", "workflow": workflow, **fields}}


def sent(name, data):
    return {"name": name, "data": base64.b64encode(data).decode()}


async def run(worker, workflow, *, job_id="sync-1", limit=None, **fields):
    return (await ask(worker, job(workflow, **fields), job_id=job_id, limit=limit))[0]


def files_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


SUFFIXES = {
    "SaveVideo": ".mp4", "SaveWEBM": ".webm", "SaveAnimatedWEBP": ".webp", "SaveImage": ".png", "SaveAudio": ".flac",
    "SaveAudioMP3": ".mp3", "TestGifs": ".mp4",
}  # fmt: skip


@pytest.mark.parametrize("class_type", SUFFIXES)
async def test_what_a_saver_saves_is_fetched_whole(comfyui_worker, settings, films, class_type):
    answer = await run(comfyui_worker(), saving(class_type, prefix="video/clip"))

    (output,) = answer["outputs"]
    path = Path(output["path"])
    assert answer["status"] == "completed"
    assert path.parent == settings.out_dir
    assert path.read_bytes() == films[SUFFIXES[class_type]]
    assert (output["filename"], output["size"]) == (path.name, path.stat().st_size)
    assert output["filename"].startswith("sync-1_")
    assert "data" not in output
    assert output["delivery"]["how"] == "path"


def test_every_saver_of_the_fake_is_tried():
    assert set(savers()) - {"VHS_VideoCombine"} == set(SUFFIXES)


async def test_several_outputs_come_in_the_graphs_order_from_all_their_folders(
    comfyui_worker, comfyui, settings, films
):
    answer = await run(comfyui_worker(), several())

    kinds = [output["type"] for output in answer["outputs"]]
    assert kinds == ["image/png", "video/mp4", "audio/flac", "video/mp4"]
    assert [Path(output["path"]).read_bytes() for output in answer["outputs"]] == [
        films[".png"], films[".mp4"], films[".flac"], films[".mp4"],
    ]  # fmt: skip
    assert files_in(settings.out_dir) == sorted(output["filename"] for output in answer["outputs"])
    assert any(name.startswith("video/deep/clip_sync-1") for name in comfyui.saved())
    assert answer["outputs"][1]["frames"] == 9


async def test_two_files_of_one_name_from_two_folders_both_stay(comfyui_worker, films):
    graph = {**saving("SaveImage", prefix="a/same"), "8": saving("SaveImage", prefix="b/same")["9"]}
    answer = await run(comfyui_worker(), graph)

    names = {output["filename"] for output in answer["outputs"]}
    assert len(names) == 2
    assert all(Path(output["path"]).read_bytes() == films[".png"] for output in answer["outputs"])


async def test_previews_are_no_outputs(comfyui_worker):
    preview = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    both = await run(comfyui_worker(), {**saving("SaveVideo"), "8": preview})
    alone = await run(comfyui_worker(), {**picture(), "8": preview}, job_id="sync-2")

    assert [output["type"] for output in both["outputs"]] == ["video/mp4"]
    assert (alone["status"], alone["code"]) == ("NO_OUTPUT", "NO_OUTPUT")


async def test_base64_is_bare_and_fills_the_limit_in_the_graphs_order(comfyui_worker, films):
    whole = await run(comfyui_worker(), several(), return_base64=True)
    limit = 4096 + len(json.dumps({**whole, "outputs": []})) + 14_000
    some = await run(comfyui_worker(), several(), return_base64=True, job_id="sync-2", limit=limit)

    assert [base64.b64decode(output["data"], validate=True) for output in whole["outputs"]] == [
        films[".png"], films[".mp4"], films[".flac"], films[".mp4"],
    ]  # fmt: skip
    assert "path" not in whole["outputs"][0]
    assert base64.b64decode(some["outputs"][0]["data"]) == films[".png"]
    assert all("data" in output or Path(output["path"]).is_file() for output in some["outputs"])
    assert some["outputs"][2]["delivery"]["how"] == "path"
    assert len(json.dumps(some)) <= limit


def padded(film, size_bytes):
    """Return the film with a `free` box at its end: a whole mp4 of any size."""
    return film + size_bytes.to_bytes(4, "big") + b"free" + bytes(size_bytes - 8)


@pytest.fixture
def large(comfyui, films):
    comfyui.nodes.media = {**films, ".mp4": padded(films[".mp4"], 60_000_000)}
    return comfyui


async def test_sixty_megabytes_arrive_by_path_in_little_memory(comfyui_worker, large):
    worker = comfyui_worker()
    await run(worker, saving("SaveImage"))
    tracemalloc.start()
    answer = await run(worker, saving("SaveVideo"), job_id="sync-2")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    (output,) = answer["outputs"]
    assert Path(output["path"]).stat().st_size == output["size"] > 60_000_000
    assert peak_bytes < 20_000_000  # seven are usual; the whole file would be sixty


async def test_sixty_megabytes_asked_for_as_base64_are_made_to_fit_and_the_original_is_kept(comfyui_worker, large):
    answer = await run(comfyui_worker(), saving("SaveVideo"), return_base64=True)

    (output,) = answer["outputs"]
    assert output["delivery"]["how"] == "reencoded"
    assert Path(output["delivery"]["original_path"]).stat().st_size > 60_000_000
    assert base64.b64decode(output["data"], validate=True)[4:8] == b"ftyp"


async def test_sixty_megabytes_go_to_the_jobs_own_bucket(comfyui_worker, large):
    with s3_server() as s3:
        config = {
            "accessId": s3.access_key_id, "accessSecret": s3.secret_access_key, "bucketName": "videos",
            "endpointUrl": s3.url,
        }  # fmt: skip
        whole = {**job(saving("SaveVideo"), return_base64=True), "s3Config": config}
        answer, _ = await ask(comfyui_worker(), whole)

    (output,) = answer["outputs"]
    assert output["delivery"]["how"] == "bucket"
    assert "/videos/sync-1234/" in output["url"]
    assert "data" not in output


async def test_the_same_graph_twice_is_cached_and_both_jobs_get_their_file(comfyui_worker, comfyui, films):
    worker = comfyui_worker()
    first = await run(worker, saving("SaveVideo"), request_id="one")
    second = await run(worker, saving("SaveVideo"), request_id="two", job_id="sync-2")
    for answer in (first, second):
        (output,) = answer["outputs"]
        assert Path(output["path"]).read_bytes() == films[".mp4"]

    assert first["outputs"][0]["path"] != second["outputs"][0]["path"]
    assert comfyui.seen["POST /prompt"] == 2


async def test_a_request_id_asked_again_is_answered_from_the_store(comfyui_worker, comfyui):
    worker = comfyui_worker()
    first = await run(worker, saving("SaveVideo"), request_id="one")
    again = await run(worker, saving("SaveVideo"), request_id="one", job_id="sync-2", return_base64=True, colour=1)
    other = await run(worker, saving("SaveVideo", color=7), request_id="one", job_id="sync-3")

    assert comfyui.seen["POST /prompt"] == 1
    assert again["outputs"][0]["filename"] == first["outputs"][0]["filename"]
    assert again["outputs"][0]["data"]
    assert "unknown field 'colour' was ignored." in again["warnings"]
    assert other["code"] == "REQUEST_ID_REUSED"


async def test_two_clients_at_once_get_their_own_files(comfyui_worker, comfyui, films):
    jobs = [
        run(comfyui_worker(), saving(kind, color=color), request_id=f"job-{color}")
        for color, kind in enumerate(("SaveVideo", "SaveWEBM", "SaveVideo", "SaveImage"))
    ]
    answers = await asyncio.gather(*jobs)

    assert [answer["outputs"][0]["type"] for answer in answers] == [
        "video/mp4", "video/webm", "video/mp4", "image/png",
    ]  # fmt: skip
    assert all(f"job-{color}_" in answer["outputs"][0]["filename"] for color, answer in enumerate(answers))
    assert (comfyui.running, comfyui.pending) == (None, [])


async def test_a_run_whose_websocket_drops_three_times_ends_right(comfyui_worker, comfyui, films):
    comfyui.drop_sockets = 3
    comfyui.nodes.pauses = {"EmptyImage": 300, "CreateVideo": 300, "EmptyAudio": 300}
    answer, progress = await ask(comfyui_worker(), job(several()))

    shown = [each["progress"] for each in progress]
    assert comfyui.drop_sockets == 0
    assert [Path(output["path"]).stat().st_size for output in answer["outputs"]] == [
        len(films[suffix]) for suffix in (".png", ".mp4", ".flac", ".mp4")
    ]
    assert shown == sorted(shown)


async def test_a_run_of_which_no_event_is_heard_ends_right(comfyui_worker, comfyui):
    comfyui.silent = True
    answer = await run(comfyui_worker(), saving("SaveVideo"))

    assert answer["status"] == "completed"


async def test_a_download_that_breaks_off_is_done_again(comfyui_worker, comfyui, films):
    comfyui.cut_downloads = 2
    answer = await run(comfyui_worker(), saving("SaveVideo"))

    assert Path(answer["outputs"][0]["path"]).read_bytes() == films[".mp4"]


async def test_a_run_lost_by_a_restarted_server_says_so_and_the_next_one_works(comfyui_worker, comfyui):
    comfyui.nodes.holds = frozenset({"CreateVideo"})
    worker = comfyui_worker()
    task = asyncio.create_task(run(worker, saving("SaveVideo")))
    await comfyui.nodes.held.wait()
    await comfyui.die()
    comfyui.nodes.holds = frozenset()
    await comfyui.start()
    lost = await task
    again = await run(worker, saving("SaveVideo"))

    assert (lost["status"], lost["code"]) == ("ERROR", "ENGINE_FAILED")
    assert "lost the run" in lost["error"]
    assert again["status"] == "completed"
    assert again["request_id"] == "sync-1"


async def test_an_execution_error_names_the_node_and_its_message(comfyui_worker, comfyui):
    comfyui.nodes.fails = {"CreateVideo": ("ValueError", "the fps is odd")}
    worker = comfyui_worker()
    answer = await run(worker, saving("SaveVideo"))
    later, _ = await ask(worker, {"input": {"request_id": "sync-1"}})

    assert (answer["status"], answer["code"]) == ("ERROR", "ENGINE_FAILED")
    assert "Node 2 (CreateVideo)" in answer["error"]
    assert "the fps is odd" in answer["error"]
    assert "Traceback" not in json.dumps(answer)
    assert later["status"]["error"] == answer["error"]


async def test_out_of_memory_is_recognised_and_advice_is_given(comfyui_worker, comfyui):
    comfyui.nodes.fails = {"CreateVideo": ("torch.OutOfMemoryError", OOM)}
    answer = await run(comfyui_worker(), saving("SaveVideo"))

    assert (answer["status"], answer["code"]) == ("ERROR", "OUT_OF_MEMORY")
    assert "memory" in answer["error"]
    assert any(word in answer["hint"] for word in ("smaller", "fewer"))


async def test_a_refused_graph_names_node_class_input_value_and_the_nearest_choices(comfyui_worker, comfyui):
    graph = saving("SaveWEBM")
    graph["9"]["inputs"] |= {"codec": "vp99", "fps": 5000.0}
    answer = await run(comfyui_worker(), graph)

    assert (answer["status"], answer["code"]) == ("ERROR", "GRAPH_REFUSED")
    assert "node 9 (SaveWEBM), input 'codec': 'vp99' is none of 'vp9', 'av1'" in answer["error"]
    assert "node 9 (SaveWEBM), input 'fps': must be at most 1000.0; got 5000.0" in answer["error"]
    assert comfyui.seen["POST /prompt"] == 0


async def test_an_unknown_class_names_the_nearest(comfyui_worker):
    graph = saving("SaveVideo")
    graph["9"]["class_type"] = "SaveVidio"
    answer = await run(comfyui_worker(), graph)

    assert "no node class 'SaveVidio'" in answer["error"]
    assert "'SaveVideo'" in answer["error"]


async def test_a_default_that_was_left_out_is_filled_in_and_reported_once(comfyui_worker, comfyui):
    graph = saving("SaveVideo")
    del graph["9"]["inputs"]["codec"]
    answer = await run(comfyui_worker(), graph)

    filled = [line for line in answer["warnings"] if "codec was missing; set to 'auto'" in line]
    assert len(filled) == 1


async def test_validate_only_checks_with_the_server_and_queues_nothing(comfyui_worker, comfyui, settings):
    graph = saving("SaveVideo")
    del graph["9"]["inputs"]["codec"]
    worker = comfyui_worker()
    valid = await run(worker, graph, validate_only=True)
    graph["9"]["inputs"]["codec"] = "vp9"
    refused = await run(worker, graph, validate_only=True)

    assert valid["status"] == "valid"
    assert valid["workflow"]["9"]["inputs"]["codec"] == "auto"
    assert any("codec" in line for line in valid["warnings"])
    assert refused["code"] == "GRAPH_REFUSED"
    assert comfyui.seen["POST /prompt"] == 0
    assert not settings.out_dir.exists()


def test_a_file_that_comfyui_saved_is_taken_as_a_data_uri():
    data = base64.b64encode((DATA / "saved_by_0.33.0.mp4").read_bytes()).decode()

    document = WorkflowRequest(workflow=f"data:video/mp4;base64,{data}").document()

    assert "SaveVideo" == document["3"]["class_type"]


@pytest.mark.parametrize(
    "written",
    [
        "\ufeff{}", " \ufeff {}", "```json\n{}\n```", "```\n{}```\n", "\ufeff```json\r\n{}\r\n```", "``` {}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoded", [1, 2])
def test_json_text_is_taken_as_people_paste_it(written, encoded):
    graph = saving("SaveVideo")
    text = json.dumps(graph) if encoded == 1 else json.dumps(json.dumps(graph))
    request = WorkflowRequest(workflow=written.replace("{}", text))

    assert request.reference() is None
    assert graph == request.document()


@pytest.mark.parametrize("text", ["```json", "```", '"', '"{"', "\ufeff{", '"portrait"'])
def test_text_that_is_no_json_is_refused_as_such(text):
    with pytest.raises(InvalidRequest, match=r"^workflow is text, but cannot be read as JSON: "):
        WorkflowRequest(workflow=text).document()


def test_the_documented_defaults_are_ours():
    request = WorkflowRequest()

    assert (request.timeout, request.return_base64, request.images) == (600, False, ())


async def test_validate_only_ends_at_its_deadline(comfyui_worker, comfyui):
    comfyui.gates["/object_info/EmptyImage"] = asyncio.Event()
    answer = await run(comfyui_worker(), saving("SaveImage"), validate_only=True, timeout=1)
    comfyui.gates["/object_info/EmptyImage"].set()

    assert (answer["status"], answer["error"]) == ("timeout", "Execution did not complete within 1s")


async def test_a_workflow_may_come_as_json_text_and_without_an_action(comfyui_worker):
    text, _ = await ask(comfyui_worker(), {"input": {"workflow": json.dumps(saving("SaveVideo"))}})
    wrapped, _ = await ask(comfyui_worker(), {"input": {"workflow": {"prompt": saving("SaveImage")}}}, job_id="b")

    assert [answer["status"] for answer in (text, wrapped)] == ["completed", "completed"]


@pytest.mark.parametrize("as_text", [False, True])
async def test_a_workflow_saved_by_the_browser_is_converted_and_runs(comfyui_worker, comfyui, films, as_text):
    document = json.loads((DATA / "ui_i2v.json").read_text())
    names = {node["widgets_values"][0] for node in document["nodes"] if node["type"] == "LoadImage"}
    images = [sent(name, films[".png"]) for name in sorted(names)]
    answer = await run(comfyui_worker(), json.dumps(document) if as_text else document, images=images)

    assert answer["status"] == "completed"
    assert [output["type"] for output in answer["outputs"]] == ["video/mp4"]
    (graph,) = comfyui.graphs
    assert {"KSamplerAdvanced", "WanImageToVideo"} <= {node["class_type"] for node in graph.values()}


INPUTS = {
    "images": ("LoadImage", "image", "input.png", ".png"),
    "audio": ("LoadAudio", "audio", "voice.flac", ".flac"),
    "videos": ("LoadVideo", "file", "dance.mp4", ".mp4"),
}


def same_content(got, wanted):
    """A picture is written anew on its way; sounds and films arrive as they are."""
    if not wanted.startswith(b"\x89PNG"):
        return got == wanted
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in (got, wanted)]
    return pictures[0].tobytes() == pictures[1].tobytes()


@pytest.mark.parametrize("field", INPUTS)
async def test_a_file_that_is_sent_reaches_the_node_that_names_it(comfyui_worker, comfyui, films, field):
    class_type, name, value, suffix = INPUTS[field]
    inputs = {field: [sent(value, films[suffix])]}
    answer = await run(comfyui_worker(), reading(class_type, name, value), **inputs)

    (graph,) = comfyui.graphs
    uploaded = comfyui.folder / "input" / graph["4"]["inputs"][name]
    assert answer["status"] == "completed"
    assert same_content(uploaded.read_bytes(), films[suffix])
    assert uploaded.name.startswith("sync-1")


async def test_a_loader_that_lists_its_files_without_a_flag_takes_one_that_is_sent(comfyui_worker, comfyui, films):
    """VideoHelperSuite's loaders do: the server knows the file only once it is there."""
    videos = [sent("dance.mp4", films[".mp4"])]
    comfyui.grows_by_uploads("VHS_LoadVideo", "video")
    graph = reading("VHS_LoadVideo", "video", "dance.mp4")
    answer = await run(comfyui_worker(), graph, videos=videos)
    checked = await run(comfyui_worker(), graph, videos=videos, validate_only=True)
    missing = await run(comfyui_worker(), graph, job_id="sync-2")

    assert (answer["status"], checked["status"]) == ("completed", "valid")
    assert "'dance.mp4' is none of" in missing["error"]


async def test_a_file_that_no_node_reads_is_a_warning(comfyui_worker, films):
    answer = await run(comfyui_worker(), saving("SaveImage"), images=[sent("input.png", films[".png"])])

    assert "input.png was sent, but no node reads it." in answer["warnings"]


async def test_an_image_that_was_not_sent_is_named_by_the_servers_refusal(comfyui_worker):
    answer = await run(comfyui_worker(), reading("LoadImage", "image", "input.png"))

    assert answer["code"] == "GRAPH_REFUSED"
    assert "node 4 (LoadImage), input 'image'" in answer["error"]
    assert "input.png" in answer["error"]


@pytest.mark.parametrize(
    "name", ["../evil.png", "..", "a/../../evil.png", "/etc/evil.png", "a\\b.png", "..\\evil.png", "sub/a.png", " "]
)
async def test_a_name_that_leaves_the_input_folder_is_refused_and_nothing_is_written(
    comfyui_worker, comfyui, settings, films, tmp_path, name
):
    graph = reading("LoadImage", "image", name)
    answer = await run(comfyui_worker(), graph, images=[sent(name, films[".png"])])

    assert (answer["status"], answer["code"]) == ("ERROR", "INPUT_REFUSED")
    assert "images[].name" in answer["error"]
    assert comfyui.seen["POST /upload/image"] == 0
    assert not settings.out_dir.exists()
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


async def test_the_status_of_a_finished_workflow_lists_every_output(comfyui_worker, films):
    worker = comfyui_worker()
    await run(worker, several(), request_id="many")
    answer, _ = await ask(worker, {"input": {"action": "status", "request_id": "many"}})
    bare, _ = await ask(worker, {"input": {"action": "status", "request_id": "many", "return_video": False}})

    assert answer["status"]["status"] == "COMPLETED"
    assert [Path(path).suffix for path in answer["status"]["outputs"]] == [".png", ".mp4", ".flac", ".mp4"]
    prefix, _, data = answer["result"]["data"].partition(",")
    assert prefix.startswith("data:")
    assert base64.b64decode(data, validate=True) in films.values()
    assert "data" not in bare["result"]


async def test_progress_tells_the_stages_and_never_falls(comfyui_worker, comfyui):
    comfyui.nodes.pauses = {"EmptyImage": 100, "CreateVideo": 1200}
    answer, progress = await ask(comfyui_worker(), job(saving("SaveVideo")))

    shown = [each["progress"] for each in progress]
    assert answer["status"] == "completed"
    assert len(shown) > 1
    assert shown == sorted(shown)
    assert all(each["status"] == "RUNNING" for each in progress)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda graph: {"workflow": {"nodes": [], "links": []}, "output": graph},
        lambda graph: {"prompt": json.dumps(graph), "workflow": "{}"},
        lambda graph: json.dumps({"prompt": json.dumps(graph)}),
    ],
    ids=["console", "metadata", "text"],
)
async def test_a_workflow_inside_its_usual_wrappers_runs(comfyui_worker, wrap):
    answer = await run(comfyui_worker(), wrap(saving("SaveImage")))

    assert [output["type"] for output in answer["outputs"]] == ["image/png"]


@pytest.mark.parametrize(("value", "name"), [("my..photo.png", "my..photo.png"), ("in.png [input]", "in.png")])
async def test_a_node_reads_the_file_that_was_sent_under_its_name(comfyui_worker, comfyui, films, value, name):
    graph = reading("LoadImage", "image", value)
    answer = await run(comfyui_worker(), graph, images=[sent(name, films[".png"])])

    assert answer["status"] == "completed"
    assert not any("no node reads it" in line for line in answer["warnings"])
