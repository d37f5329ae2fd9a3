"""Requests that people and programs really send: nothing is dropped in silence, and each refusal is plain."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from door import ask
from fakes.engine import ScriptedEngine, write_clip
from fakes.graphs import reading, saving
from wanworker.app import Worker


def picture(width: int = 64, height: int = 48) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 20)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PNG = picture()
URL = "https://example.com/a.png"
VIDEO = {"task": "t2v-A14B", "prompt": "a cat", "size": "64*64", "frame_num": 5}
SQUARE = {"size": "64*64", "reference_image_base64": picture(64, 64)}
STILL = {"task": "i2v-A14B", "prompt": "a cat", "frame_num": 5, "reference_image_base64": PNG}


@pytest.fixture
async def worker(make_settings: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    """Return a worker whose engine hands over a clip and ignores nothing."""
    engine = ScriptedEngine(write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4"))
    made = Worker(make_settings(), engines=(engine.row("diffusers"),))
    yield made
    await made.close()


OVERRULED = {
    "the same size": ({**VIDEO, "width": 64, "height": 64}, []),
    "two pictures": (
        {**STILL, **SQUARE, "reference_image_path": "a.png"},
        ["reference_image_path was ignored: reference_image_base64 was also given."],
    ),
    "a blank URL": ({**STILL, **SQUARE, "reference_image_url": " "}, []),
    "a prepared folder": ({**VIDEO, "prepared_path": "x"},
                          ["prepared_path was ignored: t2v-A14B does not use it here."]),
    "a sound": ({**VIDEO, "audio_base64": PNG}, ["audio was ignored: t2v-A14B does not use it here."]),
    "two pictures by their short names": (
        {**STILL, **SQUARE, "reference_image_base64": None, "image": SQUARE["reference_image_base64"],
         "image_path": "a.png"},
        ["image_path was ignored: image was also given."],
    ),
    "a video by its short name": ({**VIDEO, "video_url": URL}, ["video was ignored: t2v-A14B does not use it here."]),
    "a strength of a video": ({**VIDEO, "strength": 0.5},
                              ["strength was ignored: t2v-A14B starts from noise, not from a video."]),
    "a panorama at a resolution": (
        {**STILL, "reference_image_base64": picture(300, 50), "resolution": "1080p"},
        ["size 2016*336 was chosen for the picture of 300 x 50: its shape at 1080p would be 3540*590, and a side has "
         "64 to 2048 pixels."],
    ),
    "a loud weight": (
        {**VIDEO, "loras": [{"high": "a", "WEIGHT": 0}]},
        ["unknown field 'loras[0].WEIGHT' was ignored; did you mean 'weight'?"],
    ),
    "no place for the video": ({**VIDEO, "output_upload_urls": " "}, []),
    "an empty list of places as text": ({**VIDEO, "output_upload_urls": "[]"}, []),
    "a misspelled weight": (
        {**VIDEO, "loras": [{"high": "a", "wieght": 0}]},
        ["unknown field 'loras[0].wieght' was ignored; did you mean 'weight'?"],
    ),
    "a strength of nothing": (
        {**VIDEO, "lora_scale": 0.5},
        ["lora_scale was ignored: it is the strength of lora_name, which is missing."],
    ),
    "the strength that clients always send": ({**VIDEO, "lora_strength": 1.0}, []),
    "null inside": ({**VIDEO, "loras": [{"high": "a", "low": None, "strength": None, "bogus": None}]}, []),
    "deep unknown keys": ({**VIDEO, "loras": [{"high": "a", "x": {"y": {"z": None}}}]},
                          ["unknown field 'loras[0].x' was ignored."]),
}  # fmt: skip


@pytest.mark.parametrize("name", OVERRULED)
async def test_every_field_that_does_nothing_is_named(worker: Worker, name: str) -> None:
    fields, lines = OVERRULED[name]
    answer, _ = await ask(worker, {"input": fields})
    assert [*lines, "a word from the engine"] == answer["warnings"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another size": ({**VIDEO, "width": 128, "height": 64}, "size and width disagree: 64*64 is not 128 pixels."),
    "a height alone": ({**VIDEO, "height": 96}, "size and height disagree: 64*64 is not 96 pixels."),
    "two strengths": (
        {**VIDEO, "loras": [{"high": "a", "weight": 0, "strength": 1}]},
        "loras[0].strength and loras[0].weight mean the same, but their values differ.",
    ),
    "loras[0] is null": ({**VIDEO, "loras": [None]}, "loras[0] must be an object with named fields; got null."),
    "a LoRA without a file": ({**VIDEO, "loras": [{}]}, "loras: each entry needs a file name in high, low or both."),
    "a list as a name": ({**VIDEO, "loras": [{"high": ["a"]}]}, "loras[0].high must be text; got a list."),
    "true as a strength": ({**VIDEO, "loras": [{"high": "a", "strength": True}]},
                           "loras[0].strength must be a number; got true."),
    "NUL in a name": ({**VIDEO, "loras": [{"high": "a\0"}]},
                      "loras[0].high has a NUL character (U+0000) at position 2, which no engine can read."),
    "NUL in a key": ({**VIDEO, "loras": [{"a\0": 1}]},
                     "A key in loras[0] has a NUL character (U+0000) at position 2, which no engine can read."),
    "half a character": ({**VIDEO, "prompt": "a\ud800"},
                         "prompt has half a character (the lone surrogate U+D800) at position 2."),
    "a factor by its longer name": ({**VIDEO, "upscale_factor": 3},
                                    "upscale_factor must be 2, 4 or the name of an upscale model; got '3'."),
    "a URL for a folder": (
        {"task": "animate-14B", "prompt": "x", "prepared_path": URL},
        "prepared folder: a URL was given where a path is expected.",
    ),
    "a small picture for a URL": (
        {**STILL, "reference_image_base64": None, "image_url": picture(1, 1)},
        "reference image: base64 text was given where a URL is expected.",
    ),
    "a URL for a picture": ({**STILL, "reference_image_base64": None, "image": URL},
                            "reference image: a URL was given where base64 text is expected."),
    "a URL for a LoRA": ({**VIDEO, "lora": "https://host/a?token=x"},
                         "lora: a LoRA is named by its file in the models folder, not by a URL; got 'https://host/a'."),
    "other digits": ({**VIDEO, "seed": "\u0663"}, "seed must be a whole number; got '\u0663'."),
    "other digits in a size": ({**VIDEO, "size": "\uff16\uff14*64"},
                               "size must look like '1280*720'; got '\uff16\uff14*64'."),
    "other digits in a shape": (
        {**VIDEO, "aspect_ratio": "\u0661:\u0661"},
        "aspect_ratio must look like '16:9', or be 'auto', and be at most 32:1; got '\u0661:\u0661'.",
    ),
    "a number as Python writes it": ({**VIDEO, "steps": "1_0"}, "steps must be a number; got '1_0'."),
    "a fraction as Python writes it": ({**VIDEO, "loras": [{"high": "a", "scale": "0_1"}]},
                                       "loras[0].scale must be a number; got '0_1'."),
    "a number of many digits": ({**VIDEO, "seed": 10**400},
                                "seed must be between -1 and 2^64-1; got a number of 401 digits."),
    "true as a factor": ({**VIDEO, "upscale": True}, "upscale must be 2, 4 or the name of an upscale model; got true."),
    "a list as a factor": ({**VIDEO, "upscale": [2]},
                           "upscale must be 2, 4 or the name of an upscale model; got a list."),
    "a host of too many letters": ({**VIDEO, "output_upload_urls": [f"https://{'a' * 64}.com/x?sig=S"]},
                                   "output_upload_urls[0] is not an http(s) URL that can be used."),
    "a list of places as text": ({**VIDEO, "output_upload_urls": '["https://host/a", "https://host/b"]'},
                                 "output_upload_urls needs one URL for each output: 1 expected, 2 given."),
    "a host with a hole": ({**STILL, "reference_image_base64": None, "image_url": "https://a..b/x"},
                           "reference image: the URL names no valid host."),
    "three sides": ({**VIDEO, "size": "64*64*3"}, "size must look like '1280*720'; got '64*64*3'."),
    "not a number": ({**VIDEO, "fps": "nan"}, "fps must be a finite number; got 'nan'."),
    "a line break in an id": ({**VIDEO, "request_id": "a\nb"},
                              "request_id must be 1 to 64 of A-Z a-z 0-9 _ and -; got 'a\\nb'."),
    "a number as an id": ({"action": "status", "request_id": 5}, "request_id must be text; got 5."),
    "a sliver": ({**STILL, "reference_image_base64": picture(1, 64)},
                 "reference image: the picture is 1 x 64, 1:64; the limit is 32:1."),
    "a panorama": ({**STILL, "reference_image_base64": picture(3201, 100)},
                   "reference image: the picture is 3201 x 100, 32.01:1; the limit is 32:1."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_a_wrong_value_is_refused_with_its_place(worker: Worker, name: str) -> None:
    fields, text = REFUSED[name]
    answer, _ = await ask(worker, {"input": fields})
    assert text == answer["error"]


MISPLACED: dict[str, tuple[dict[str, Any], str]] = {
    "input in input": (
        {"input": VIDEO}, "`input` has another `input` in it; send the fields directly in the outer one.",
    ),
    "params in inputs": (
        {"inputs": {"params": VIDEO}},
        "`params` lies in another wrapper; send the fields directly in `input`, or in one wrapper.",
    ),
    "params as a list": ({"params": [VIDEO]}, "params must be an object with the job's fields; got a list."),
    "inputs as text": ({"inputs": "{}"}, "inputs must be an object with the job's fields; got a string."),
    "nothing": ({"bogus": 1}, "Set `action` to one of the names in the message."),
}  # fmt: skip


@pytest.mark.parametrize("name", MISPLACED)
async def test_fields_in_a_wrong_place_are_found_by_the_hint(worker: Worker, name: str) -> None:
    fields, hint = MISPLACED[name]
    answer, _ = await ask(worker, {"input": fields})
    assert (answer["code"], answer["hint"]) == ("UNKNOWN_ACTION", hint)


def changed(node: str, **inputs: Any) -> dict[str, Any]:
    graph = saving("SaveImage")
    graph[node]["inputs"].update(inputs)
    return graph


def of_class(name: Any) -> dict[str, Any]:
    graph = saving("SaveImage")
    graph["9"]["class_type"] = name
    return graph


def sending(graph: dict[str, Any], *files: dict[str, Any]) -> dict[str, Any]:
    return {"workflow": graph, "images": list(files)}


GRAPHS: dict[str, tuple[dict[str, Any], str]] = {
    "no class": ({"workflow": of_class("")}, "Node '9' of the workflow has no class_type; "),
    "a blank class": ({"workflow": of_class(" ")}, "Node '9' of the workflow has no class_type; "),
    "null for a number": ({"workflow": changed("1", width=None)}, "input 'width': takes a whole number; got null."),
    "an object for a number": ({"workflow": changed("1", width={})}, "input 'width': takes a whole number; got {}."),
    "no link": ({"workflow": changed("9", images=["1"])}, "input 'images': [\"1\"] is not a link; "),
    "out of the folder": ({"workflow": changed("9", filename_prefix="../../x")},
                          "Node '9': filename_prefix '../../x' leads out of the output folder."),
    "too long a name": ({"workflow": changed("9", filename_prefix="a/" + "\u00e9" * 86)},
                        " is too long: a name has at most 170 bytes."),
    "out by backslashes": ({"workflow": changed("9", filename_prefix="a\\..\\..\\x")},
                           " leads out of the output folder."),
    "out by a slot": ({"workflow": saving("SaveImage"), "slots": {"9.filename_prefix": "../../x"}},
                      "Node '9': filename_prefix '../../x' leads out of the output folder."),
    "a line break in a file's name": ({"workflow": changed("9", filename_prefix="a\nb")},
                                      "filename_prefix 'a\\nb' has a line break or another control character."),
    "null for a node of the page": ({"workflow": {"nodes": [None], "links": []}}, "lacks 'id' or 'type': null."),
    "NaN": ({"workflow": changed("1", width=math.nan)},
            "The workflow's 1.inputs.width is NaN or infinite; it must be a finite number."),
    "infinity deep inside, as text": (
        {"workflow": json.dumps(changed("1", color={"__value__": [1, -math.inf]}))},
        "The workflow's 1.inputs.color.__value__[1] is NaN or infinite; it must be a finite number.",
    ),
    "nodes that are all muted": ({"workflow": {"nodes": [{"id": 1, "type": "SaveImage", "mode": 2}], "links": []}},
                                 "Nothing of the workflow would run: all of its nodes are muted, notes or unknown"),
    "no nodes": ({"workflow": {"nodes": [], "links": []}}, "Nothing of the workflow would run: it has no nodes."),
    "NaN in the page's format": (
        {"workflow": {"nodes": [{"id": 1, "type": "SaveImage", "widgets_values": [math.nan]}], "links": []}},
        "The workflow's nodes[0].widgets_values[0] is NaN or infinite; it must be a finite number.",
    ),
    "a file under another name": (sending(reading("LoadImage", "image", "a.png"), {"name": "b.png", "data": PNG}),
                                  "b.png was sent, but no node reads it."),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
async def test_a_graph_that_cannot_run_is_refused_before_it_runs(
    comfyui_worker: Callable[..., Worker], name: str
) -> None:
    fields, text = GRAPHS[name]
    answer, _ = await ask(comfyui_worker(), {"input": {"action": "comfyui_workflow", **fields}})
    assert answer["code"] == "GRAPH_REFUSED", answer
    assert text in answer["error"]


async def test_what_comfyui_notes_in_its_pictures_for_itself_is_left_out(
    comfyui_worker: Callable[..., Worker],
) -> None:
    graph = saving("SaveImage")
    graph["1"]["is_changed"] = [math.nan]  # as the server saves it for a node that is always run again
    worker = comfyui_worker()
    for number, workflow in enumerate((graph, json.dumps(graph))):
        job = {"action": "comfyui_workflow", "workflow": workflow}
        answer, _ = await ask(worker, {"input": job}, job_id=f"sync-{number}")
        assert answer.get("status") == "completed", answer


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"slots": {f"slot{number}": 1 for number in range(3000)}},
            "The workflow's slots cannot be set: "
            + "; ".join(f"slot 'slot{number}' has no dot: write TITLE.INPUT or ID.INPUT" for number in range(5))
            + "; 2,995 more.",
        ),
        ({"slots": {"1.width": math.nan}}, "slots.1.width is NaN or infinite; it must be a finite number."),
        (
            {"slots": {"1.width": {"a": [math.inf]}}},
            "slots.1.width.a[0] is NaN or infinite; it must be a finite number.",
        ),
        (
            {"workflow": '{"1": ' + "9" * 5000 + "}"},
            "workflow is text, but cannot be read as JSON: a number has more than 4,300 digits.",
        ),
        ({"workflow": " [1]"}, "workflow must be an object: a graph in API or browser format; got a list."),
        (
            {"workflow": {"workflow": {"prompt": '{"1":' + "[" * 900 + "]" * 900 + "}"}}},
            "workflow is nested too deeply: lists and objects may lie at most 100 levels deep.",
        ),
    ],
)
async def test_a_workflow_is_refused_with_the_place_of_what_is_wrong(
    comfyui_worker: Callable[..., Worker], fields: dict[str, Any], text: str
) -> None:
    job = {"action": "comfyui_workflow", "workflow": saving("SaveImage"), **fields}
    answer, _ = await ask(comfyui_worker(), {"input": job})
    assert (answer["code"], answer["error"]) == ("INVALID_REQUEST", text)


NAMES = [
    "my..photo.png", "...", "a.png [input]", "[a].png", "a[1].png", "\u65e5\u672c.png", "a\nb.png", " a.png", "a",
    "e\u0301.png", "\U0001f642.png", ".hidden.png", "a.tar.gz", 'a"b.png', "a?.png", "x" * 300 + ".png",
]  # fmt: skip


async def test_every_plain_name_of_a_file_is_taken(comfyui_worker: Callable[..., Worker]) -> None:
    worker = comfyui_worker()
    for number, name in enumerate(NAMES):
        job = {
            "action": "comfyui_workflow",
            **sending(reading("LoadImage", "image", name), {"name": name, "data": PNG}),
        }
        answer, _ = await ask(worker, {"input": job}, job_id=f"sync-{number}")
        assert answer.get("status") == "completed", (name, answer)


async def test_a_second_source_of_a_file_is_named(comfyui_worker: Callable[..., Worker]) -> None:
    job = sending(reading("LoadImage", "image", "a.png"), {"name": "a.png", "data": PNG, "url": URL, "bogus": 1})
    answer, _ = await ask(comfyui_worker(), {"input": {"action": "comfyui_workflow", **job}})
    assert answer["warnings"] == [
        "unknown field 'images[0].bogus' was ignored.",
        "images[0].url was ignored: images[0].data was also given.",
    ]


async def test_a_missing_model_does_not_hide_a_file_that_no_node_reads(comfyui_worker: Callable[..., Worker]) -> None:
    graph = saving("SaveImage") | {"2": {"class_type": "UNETLoader", "inputs": {"unet_name": "nope.safetensors"}},
                                   "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}}}  # fmt: skip
    del graph["9"], graph["1"]
    job = {"action": "comfyui_workflow", **sending(graph, {"name": "in.png", "data": PNG})}
    answer, _ = await ask(comfyui_worker(), {"input": job})
    assert answer["code"] == "MODEL_NOT_FOUND"
    assert answer["hint"].endswith(" in.png was sent, but no node reads it.")


async def test_a_name_is_the_same_composed_and_decomposed(comfyui_worker: Callable[..., Worker]) -> None:
    worker = comfyui_worker()
    for number, (read, sent) in enumerate((("\u00e9.png", "e\u0301.png"), ("e\u0301.png [input]", "\u00e9.png"))):
        job = sending(reading("LoadImage", "image", read), {"name": sent, "data": " ", "url": f"data:;base64,{PNG}"})
        answer, _ = await ask(worker, {"input": {"action": "comfyui_workflow", **job}}, job_id=f"sync-{number}")
        assert (answer.get("status"), answer["warnings"]) == ("completed", []), answer


async def test_a_graph_takes_the_engine_that_runs_it_and_slots_as_a_form_has_them(
    comfyui_worker: Callable[..., Worker],
) -> None:
    job = {"action": "comfyui_workflow", "workflow": saving("SaveImage"), "slots": '{"1.width": 128}'}
    for number, (engine, lines) in enumerate(
        (("comfyui", []), (" auto ", []), ("mini", ["engine 'mini' was ignored: graphs always run on ComfyUI."]))
    ):
        asked = {**job, "engine": engine, "validate_only": True}
        answer, _ = await ask(comfyui_worker(), {"input": asked}, job_id=f"sync-{number}")
        assert (answer["workflow"]["1"]["inputs"]["width"], answer["warnings"]) == (128, lines)


async def test_a_workflow_is_read_out_of_a_picture_that_is_plain_base64(comfyui_worker: Callable[..., Worker]) -> None:
    buffer, texts = io.BytesIO(), PngInfo()
    texts.add_text("prompt", json.dumps(saving("SaveImage")))
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=texts)
    job = {"action": "comfyui_workflow", "workflow": base64.b64encode(buffer.getvalue()).decode()}
    answer, _ = await ask(comfyui_worker(), {"input": job})
    assert answer.get("status") == "completed", answer


MISSPELT: dict[str, tuple[dict[str, Any], str]] = {
    "generate": (
        {"action": "generate", "prompt": "x", "reference_image_ulr": URL},
        'Send reference_image_url, reference_image_base64 or reference_image_path, or "task": "t2v-A14B" for a video '
        "from text alone. Unknown field 'reference_image_ulr' was ignored; did you mean 'reference_image_url'?",
    ),
    "comfyui_i2v": (
        {"action": "comfyui_i2v", "prompt": "x", "reference_image_ulr": URL},
        "Send reference_image_url, reference_image_base64 or reference_image_path. "
        "Unknown field 'reference_image_ulr' was ignored; did you mean 'reference_image_url'?",
    ),
}


@pytest.mark.parametrize("name", MISSPELT)
async def test_a_refusal_names_the_fields_that_are_unknown(worker: Worker, name: str) -> None:
    fields, hint = MISSPELT[name]
    answer, _ = await ask(worker, {"input": fields})
    assert answer["error"] == "Missing reference image (url/base64/path) for i2v task."
    assert answer["hint"] == hint


async def test_a_wrong_value_and_an_unknown_field_are_told_together(worker: Worker) -> None:
    answer, _ = await ask(worker, {"input": {**VIDEO, "frame_num": "many", "sede": 3}})
    assert answer["error"] == "frame_num must be a whole number; got 'many'."
    assert answer["hint"].endswith(" Unknown field 'sede' was ignored; did you mean 'seed'?")


async def test_a_job_that_is_not_found_names_the_fields_that_are_unknown(worker: Worker) -> None:
    answer, _ = await ask(worker, {"input": {"action": "status", "request_id": "x", "return_vidoe": False}})
    assert answer["code"] == "UNKNOWN_JOB"
    assert answer["hint"].endswith(" Unknown field 'return_vidoe' was ignored; did you mean 'return_video'?")
