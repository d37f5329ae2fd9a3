"""Every graph of workflows/: its links, its slots, and that each parameter of a request reaches it."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pages import ROOT, blocks
from wanworker.comfyui.graph.api_format import Graph, orphans, titled
from wanworker.comfyui.graph.preflight import check
from wanworker.engines.comfyui.graphs import (
    WORKFLOWS,
    Filled,
    ModelChoice,
    Uploads,
    Workflow,
    graph_for,
    read_workflows,
    table,
    workflow_for,
)
from wanworker.engines.comfyui.graphs._seedvr2 import SEEDVR2
from wanworker.engines.diffusers import DEFAULT_NEGATIVE_PROMPT
from wanworker.spec import TASKS, Lora, RenderSpec, Size

DATA = Path(__file__).parent / "data" / "comfyui"
VERSIONS = ("0.3.64", "0.10.0", "0.33.0")
#: The first recorded server that has the nodes of a graph, where it is not the first of all.
SINCE = {"animate2-14B": "0.33.0", SEEDVR2.name: "0.33.0"}
GRAPHS = read_workflows()
ROWS = tuple(WORKFLOWS.values())
STYLE = "style.safetensors"

#: Everything that a graph of ours may load, in two precisions each: the first is the documents' file.
FILES: Mapping[str, tuple[str, ...]] = {
    "diffusion_models": (
        *(f"wan2.2_{kind}_{half}_noise_14B_{made}.safetensors"
          for kind in ("t2v", "i2v") for half in ("high", "low") for made in ("fp8_scaled", "fp16")),
        "wan2.2_ti2v_5B_fp16.safetensors", "wan2.2_ti2v_5B_bf16.safetensors",
        "wan2.2_s2v_14B_fp8_scaled.safetensors", "wan2.2_s2v_14B_bf16.safetensors",
        *(f"wan2.2_fun_vace_{half}_noise_14B_{made}.safetensors"
          for half in ("high", "low") for made in ("fp8_scaled", "bf16")),
        "wan_animate_2_int8_convrot.safetensors", "Wan2.2-Animate-2-14B_bf16.safetensors",
        "Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors", "wan2.2_animate_14B_bf16.safetensors",
        "FastWan2.2-TI2V-5B-FullAttn_bf16.safetensors",
        "seedvr2_3b_int8_convrot.safetensors",
    ),
    "text_encoders": ("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "umt5_xxl_fp16.safetensors"),
    "vae": ("wan_2.1_vae.safetensors", "Wan2_1_VAE_bf16.safetensors", "wan2.2_vae.safetensors",
            "Wan2_2_VAE_bf16.safetensors", "seedvr2_ema_vae_fp16.safetensors"),
    "loras": (
        "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
        "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors",
        "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
        "wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors",
        "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
        "Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors",
        STYLE,
    ),
    "audio_encoders": ("wav2vec2_large_english_fp16.safetensors", "wav2vec2_large_other.safetensors"),
    "clip_vision": ("clip_vision_h.safetensors", "clip-vision-h_fp16.safetensors"),
    "upscale_models": ("4x-UltraSharp.pth", "RealESRGAN_x2plus.pth"),
    "frame_interpolation": ("rife49.safetensors", "film_net_fp16.safetensors"),
}  # fmt: skip
ALL_UPLOADS = Uploads(
    image="a/in.png", last_image="a/end.png", audio="a/talk.wav", audio_s=12.3, pose_video="a/pose.mp4",
    face_video="a/face.mp4", driving_video="a/dance.mp4", background_video="a/bg.mp4", mask_video="a/mask.mp4",
    driving_frames=200,
)  # fmt: skip


def object_info(version: str) -> dict[str, Any]:
    """Return what a real server of *version* said, with our model files: the recording one had few."""
    info: dict[str, Any] = json.loads((DATA / f"object_info-{version}.json").read_text())
    lists = {
        "UNETLoader": ("unet_name", "diffusion_models"), "CLIPLoader": ("clip_name", "text_encoders"),
        "VAELoader": ("vae_name", "vae"), "LoraLoaderModelOnly": ("lora_name", "loras"),
        "AudioEncoderLoader": ("audio_encoder_name", "audio_encoders"),
        "CLIPVisionLoader": ("clip_name", "clip_vision"),
        "UpscaleModelLoader": ("model_name", "upscale_models"),
        "FrameInterpolationModelLoader": ("model_name", "frame_interpolation"),
    }  # fmt: skip
    for name, (field, folder) in lists.items():
        if name in info:
            info[name]["input"]["required"][field] = [list(FILES.get(folder, ()))]
    return info


def servers() -> list[Any]:
    """Return (graph, version) for every recorded server that can run the graph."""
    first = {name: VERSIONS.index(SINCE.get(name, VERSIONS[0])) for name in GRAPHS}
    return [(name, version) for name in GRAPHS for version in VERSIONS[first[name] :]]


INFOS = {version: object_info(version) for version in VERSIONS}


def minimal(row: Workflow) -> RenderSpec:
    """Return the least that a request must say to be rendered by *row*."""
    task = TASKS[row.task]
    spec = RenderSpec(task.name, "a cat", task.size, False, task.fps, False, seed=7, frames=task.frames)
    if "last_image" in row.made_for:
        spec = dataclasses.replace(spec, last_image=Path("end.png"))
    return dataclasses.replace(spec, use_lora="step_lora" in row.made_for)


def maximal(row: Workflow) -> RenderSpec:
    """Return a request for *row* that says everything, and nothing as the graph has it."""
    loras = () if "step_lora" in row.made_for else (Lora(STYLE, STYLE, 0.5, 0.25),)
    return dataclasses.replace(
        minimal(row), negative_prompt="blur", size=Size(608, 352), size_given=True, fps=12.5, fps_given=True,
        seed=2**64 - 1, frames=33 if TASKS[row.task].frames else 157, steps=12, guidance=2.5, guidance_low=1.5,
        shift=6.5, solver="dpm++", loras=loras, denoise=0.8,
    )  # fmt: skip


def fill(spec: RenderSpec, uploads: Uploads | None = None, **options: Any) -> Filled:
    needed = uploads or uploads_for(workflow_for(spec, options.get("rows", ROWS)))
    models = options.pop("models", ModelChoice())
    settings = {"graphs": GRAPHS, "available": FILES, "models_dir": "/workspace/models/", **options}
    return graph_for(spec, models, needed, "job-1", **settings)


def uploads_for(row: Workflow, *, optional: bool = False) -> Uploads:
    """Return the files that *row* must have, or with *optional* all that it takes."""
    given = ALL_UPLOADS.given()
    names = {slot: given[slot] for slot in given if slot in row.slots and (optional or slot not in row.parts)}
    return Uploads(**names, audio_s=ALL_UPLOADS.audio_s, driving_frames=ALL_UPLOADS.driving_frames)


def value(graph: Graph, title: str, name: str) -> Any:
    (node,) = titled(graph, title)
    return graph[node]["inputs"][name]


def requests(row: Workflow) -> Iterator[Filled]:
    """Yield the graphs of requests that take every turn of the filling."""
    every = uploads_for(row, optional=True)
    yield fill(minimal(row))
    yield fill(minimal(row), every)
    yield fill(maximal(row), every)
    yield fill(dataclasses.replace(minimal(row), use_lora=True))
    if row.is_pair:
        for half in ("high", "low"):
            name = row.weights[f"{half}_noise_model"].default
            yield fill(maximal(row), every, models=ModelChoice((name,), single_expert=True))


def upscalings() -> Iterator[Filled]:
    """Yield the graphs of every task that SeedVR2 finishes, and one that is interpolated too."""
    for row in ROWS:
        yield fill(dataclasses.replace(minimal(row), upscale_model="seedvr2"))
    yield fill(dataclasses.replace(minimal(ROWS[0]), upscale_model="seedvr2", target_fps=32.0))


def test_the_table_and_the_folder_agree() -> None:
    assert {*WORKFLOWS, SEEDVR2.name} == set(GRAPHS)
    assert set(TASKS) == {row.task for row in ROWS}
    assert set(TASKS) <= set(WORKFLOWS)


@pytest.mark.parametrize(("name", "version"), servers())
def test_a_graph_as_it_lies_there_is_accepted(name: str, version: str) -> None:
    found = check(GRAPHS[name], INFOS[version])

    assert () == found.problems
    assert () == found.remarks


@pytest.mark.parametrize("name", SINCE)
def test_an_older_server_says_which_nodes_a_graph_lacks(name: str) -> None:
    older = VERSIONS[VERSIONS.index(SINCE[name]) - 1]
    texts = [problem.text for problem in check(GRAPHS[name], INFOS[older]).problems]

    assert texts
    assert all("the server has no node class" in text for text in texts)


@pytest.mark.parametrize(("name", "version"), servers())
def test_a_filled_graph_is_accepted_and_has_no_orphans(name: str, version: str) -> None:
    for filled in requests(WORKFLOWS[name]) if name in WORKFLOWS else upscalings():
        found = check(filled.graph, INFOS[version])

        assert () == found.problems
        assert () == found.remarks
        assert () == orphans(filled.graph, INFOS[version])


@pytest.mark.parametrize("name", [*WORKFLOWS, SEEDVR2.name])
def test_every_slot_names_one_node_and_an_input_that_is_no_link(name: str) -> None:
    row, graph = WORKFLOWS.get(name, SEEDVR2), GRAPHS[name]
    wrong = [
        (slot, title)
        for slot, place in row.slots.items()
        for title in place.titles
        if len(titled(graph, title)) != 1 or isinstance(value(graph, title, place.input), list)
    ]

    assert [] == wrong
    assert set(row.weights) <= set(row.slots)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_title_is_given_once(name: str) -> None:
    titles = [node["_meta"]["title"] for node in GRAPHS[name].values()]

    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_request_that_says_everything_reaches_every_slot(name: str) -> None:
    row = WORKFLOWS[name]

    assert [] == slots_left(row, GRAPHS[name], rows=(row,))


#: Inputs that no request sets, by name; and those that one node keeps although others of the same name are slots.
CONSTANT = {
    "type", "device", "weight_dtype", "batch_size", "add_noise", "return_with_leftover_noise", "scheduler", "denoise",
    "format", "codec", "dim", "index", "amount", "batch_index", "crop", "channel", "continue_motion_max_frames",
    "video_frame_offset", "strength_model", "strength", "upscale_method", "dtype", "pose_strength",
    "pose_start_percent", "pose_end_percent", "reference_image_strength",
}  # fmt: skip
CONSTANT_AT = {
    ("High-noise sampler", "start_at_step"), ("Low-noise sampler", "end_at_step"), ("First good frame", "length"),
    ("Next clip's new frames", "length"), ("First driving frame", "length"), ("What the driving video is", "text"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_value_of_a_graph_is_a_slot_or_meant_to_stay(name: str) -> None:
    row, graph = WORKFLOWS[name], GRAPHS[name]
    slots = {(title, slot.input) for slot in row.slots.values() for title in slot.titles}
    if row.segment:
        slots |= {(row.segment.length, "length"), (row.segment.first_length, "length")}
    values = {
        (node["_meta"]["title"], field)
        for node in graph.values()
        for field, value in node["inputs"].items()
        if not isinstance(value, list) and field not in CONSTANT
    }

    kept = CONSTANT_AT - slots | ({("Make the video", "fps")} if row.decides_fps else set())

    assert slots | (kept & values) == values


def slots_left(row: Workflow, graph: Graph, **options: Any) -> list[tuple[str, str]]:
    """Return (slot, title) of what still has the file's own value after a request that says something else."""
    others = {folder: tuple(name for name in names if not is_default(name)) for folder, names in FILES.items()}
    others["loras"] = FILES["loras"]
    for weights in row.weights.values():
        kept = (name for name in others.get(weights.folder, ()) if name != weights.default or weights.folder == "loras")
        others[weights.folder] = (*kept, f"other/{weights.default}")
    filled = fill(maximal(row), uploads_for(row, optional=True), available=others, **options)
    assert row.name == filled.workflow
    return [
        (slot, title)
        for slot, place in row.slots.items()
        for title in place.titles
        if slot != "lora" and value(graph, title, place.input) == value(filled.graph, title, place.input)
    ]


def is_default(name: str) -> bool:
    return any(name == weights.default for row in ROWS for weights in row.weights.values())


#: Fields of RenderSpec that say what another means, that arrive as uploads or ModelChoice, or that ComfyUI decides.
NOT_IN_GRAPHS = {
    "task", "size_given", "fps_given", "image", "last_image", "audio", "driving_video", "prepared_dir",
    "diffusion_models", "vae_model", "single_expert", "offload_model",
    "profile", "loop", "target_fps", "soundtrack", "crf",
}  # fmt: skip
CHANGES: Mapping[str, Any] = {
    "prompt": "a dog", "size": Size(640, 384), "fps": 12.0, "seed": 8, "frames": 17, "negative_prompt": "blur",
    "steps": 11, "guidance": 2.0, "guidance_low": 1.5, "shift": 4.0, "solver": "euler", "use_lora": True,
    "loras": (Lora(STYLE, STYLE),), "denoise": 0.4, "upscale_factor": 2, "upscale_model": "4x-UltraSharp",
}  # fmt: skip


def test_the_changes_are_all_fields_of_a_spec() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(RenderSpec)} - NOT_IN_GRAPHS


@pytest.mark.parametrize("field", CHANGES)
@pytest.mark.parametrize("task", TASKS)
def test_no_parameter_does_nothing_in_silence(task: str, field: str) -> None:
    row = WORKFLOWS[task]
    before = fill(minimal(row))
    after = fill(dataclasses.replace(minimal(row), fps_given=field == "fps", **{field: CHANGES[field]}))

    assert before.graph != after.graph or before.warnings != after.warnings


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_graph_has_the_values_that_a_request_without_wishes_renders_with(name: str) -> None:
    row, graph = WORKFLOWS[name], GRAPHS[name]
    filled = fill(minimal(row), rows=(row,)).graph
    clip_lengths = {"frames", "frames_after_hold"} if row.segment else set()
    of_the_request = {"prompt", "seed", "filename_prefix", *ALL_UPLOADS.given(), *clip_lengths}
    values = {
        (slot, title): (value(graph, title, place.input), value(filled, title, place.input))
        for slot, place in row.slots.items()
        for title in place.titles
        if slot not in of_the_request
    }

    assert {} == {place: pair for place, pair in values.items() if pair[0] != pair[1]}


def test_all_graphs_and_the_resident_engine_avoid_the_same() -> None:
    assert {DEFAULT_NEGATIVE_PROMPT} == {value(GRAPHS[name], "Negative prompt", "text") for name in WORKFLOWS}


def walk_through() -> tuple[Workflow, Graph]:
    """Do what docs/adding-a-workflow.md says: save its JSON, add its row to the table."""
    page = (ROOT / "docs" / "adding-a-workflow.md").read_text()
    (file,), (code,) = blocks(page, "json"), blocks(page, "python")
    return eval(code, dict(vars(table))), json.loads(file)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_workflow_of_the_walk_through_is_accepted(version: str) -> None:
    row, graph = walk_through()
    options = {"rows": (*ROWS, row), "graphs": GRAPHS | {row.name: graph}}

    filled = fill(minimal(row), **options)

    assert row.name == filled.workflow
    assert () == check(graph, INFOS[version]).problems
    # The schedule of a distilled model needs a node that the older server does not have, and says so.
    lacking = [] if "ManualSigmas" in INFOS[version] else ["the server has no node class 'ManualSigmas'"]
    assert lacking == [problem.text.partition(";")[0] for problem in check(filled.graph, INFOS[version]).problems]
    assert () == orphans(filled.graph, INFOS[version])
    assert (4,) == tuple(fill(dataclasses.replace(minimal(row), steps=4), **options).steps.values())


def test_every_slot_of_the_walk_through_is_reached() -> None:
    row, graph = walk_through()
    options = {"rows": (*ROWS, row), "graphs": GRAPHS | {row.name: graph}}

    assert [] == slots_left(row, graph, **options)


def test_a_graph_with_a_wrong_link_is_found() -> None:
    graph = copy.deepcopy(GRAPHS["t2v-A14B"])
    (saver,) = titled(graph, "Save the video")
    (latent,) = titled(graph, "Size and length")
    graph[saver]["inputs"]["video"] = [latent, 0]

    assert check(graph, INFOS["0.10.0"]).problems
    assert orphans(graph, INFOS["0.10.0"])
