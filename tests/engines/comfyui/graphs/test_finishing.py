"""What is added to a graph for a larger clip and for more frames."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from wanworker.comfyui.graph.api_format import Graph, titled
from wanworker.engines.comfyui.graphs import ModelChoice, Uploads, graph_for, read_workflows
from wanworker.engines.comfyui.graphs._finishing import times_for
from wanworker.errors import ModelNotFound
from wanworker.spec import TASKS, RenderSpec

GRAPHS = read_workflows()
FILES = {
    "diffusion_models": [f"wan2.2_t2v_{half}_noise_14B_fp8_scaled.safetensors" for half in ("high", "low")],
    "text_encoders": ["umt5_xxl_fp8_e4m3fn_scaled.safetensors"],
    "vae": ["wan_2.1_vae.safetensors"],
    "upscale_models": ["4x-UltraSharp.pth", "RealESRGAN_x2plus.pth"],
    "frame_interpolation": ["rife49.safetensors", "film_net_fp16.safetensors"],
}
TASK = TASKS["t2v-A14B"]
SPEC = RenderSpec(TASK.name, "a cat", TASK.size, False, TASK.fps, False, seed=7, frames=TASK.frames)


def filled(available: Any = FILES, **fields: Any) -> tuple[Graph, tuple[str, ...]]:
    spec = dataclasses.replace(SPEC, **fields)
    made = graph_for(spec, ModelChoice(), Uploads(), "job-1", graphs=GRAPHS, available=available, models_dir="/models")
    return made.graph, made.warnings


def node(graph: Graph, title: str) -> Any:
    (found,) = titled(graph, title)
    return graph[found]["inputs"]


def source(graph: Graph, title: str, name: str) -> str:
    return str(graph[node(graph, title)[name][0]]["_meta"]["title"])


@pytest.mark.parametrize(("factor", "model"), [(2, "RealESRGAN_x2plus.pth"), (4, "4x-UltraSharp.pth")])
def test_a_factor_takes_a_model_of_it_and_ends_at_the_exact_size(factor: int, model: str) -> None:
    graph, warnings = filled(upscale_factor=factor)

    assert model == node(graph, "Upscale model")["model_name"]
    assert (1280 * factor, 720 * factor) == (node(graph, "Exact size")["width"], node(graph, "Exact size")["height"])
    assert "Decode the frames" == source(graph, "Enlarge the frames", "image")
    assert "Exact size" == source(graph, "Make the video", "images")
    assert (f"upscale: the frames were enlarged by {model}.",) == warnings


def test_a_named_model_keeps_its_own_factor() -> None:
    graph, _ = filled(upscale_model="UltraSharp")

    assert "4x-UltraSharp.pth" == node(graph, "Upscale model")["model_name"]
    assert "Enlarge the frames" == source(graph, "Make the video", "images")


def test_a_model_that_is_not_there_is_refused_and_those_that_are_there_are_named() -> None:
    with pytest.raises(ModelNotFound, match="Model 'swinir' not found in /models/") as caught:
        filled(upscale_model="swinir")

    assert "4x-UltraSharp.pth" in caught.value.hint


SEEDVR2 = {
    **FILES,
    "diffusion_models": [*FILES["diffusion_models"], "up/seedvr2_3b_int8_convrot.safetensors"],
    "vae": [*FILES["vae"], "seedvr2_ema_vae_fp16.safetensors"],
}
NO_UPSCALERS = {**SEEDVR2, "upscale_models": []}


@pytest.mark.parametrize(
    ("available", "fields", "factor"),
    [
        (SEEDVR2, {"upscale_model": "seedvr2"}, 2),
        (SEEDVR2, {"upscale_model": "SeedVR2_3b_int8_convrot.safetensors"}, 2),
        (NO_UPSCALERS, {"upscale_factor": 4}, 4),
    ],
)
def test_seedvr2_renders_the_frames_at_their_new_size(available: Any, fields: Any, factor: int) -> None:
    graph, warnings = filled(available, **fields)

    assert (1280 * factor, 720 * factor) == (node(graph, "Exact size")["width"], node(graph, "Exact size")["height"])
    assert "Decode the frames" == source(graph, "Exact size", "image")
    assert "Exact size" == source(graph, "Padded frames", "resized_images")
    assert "Exact size" == source(graph, "Finished frames", "original_resized_images")
    assert "SeedVR2 frames" == source(graph, "Finished frames", "images")
    assert "Finished frames" == source(graph, "Make the video", "images")
    assert ("up/seedvr2_3b_int8_convrot.safetensors", "seedvr2_ema_vae_fp16.safetensors", 7) == (
        node(graph, "SeedVR2 model")["unet_name"], node(graph, "SeedVR2 VAE")["vae_name"],
        node(graph, "SeedVR2 sampler")["seed"],
    )  # fmt: skip
    told = f"rendered {factor} times as wide and high by up/seedvr2_3b_int8_convrot.safetensors."
    assert (f"upscale: the frames were {told}",) == warnings
    assert len({body["_meta"]["title"] for body in graph.values()}) == len(graph)


def test_an_upscale_model_is_taken_before_seedvr2() -> None:
    assert "RealESRGAN_x2plus.pth" == node(filled(SEEDVR2, upscale_factor=2)[0], "Upscale model")["model_name"]


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("diffusion_models", "Model 'seedvr2_3b_int8_convrot.safetensors' not found"),
        ("vae", "Model 'seedvr2_ema_vae_fp16.safetensors' not found"),
    ],
)
def test_seedvr2_without_one_of_its_files_is_refused(gone: str, said: str) -> None:
    with pytest.raises(ModelNotFound, match=said):
        filled({**SEEDVR2, gone: FILES[gone]}, upscale_model="seedvr2")


@pytest.mark.parametrize("vae", [FILES["vae"], [*FILES["vae"], "ema_vae_fp16.safetensors"]])
def test_a_factor_is_left_to_ffmpeg_where_seedvr2_lacks_a_file(vae: list[str]) -> None:
    graph, warnings = filled({**NO_UPSCALERS, "vae": vae}, upscale_factor=2)

    assert graph == filled(NO_UPSCALERS)[0]
    assert () == warnings


def test_the_word_alone_means_the_best_of_several_models() -> None:
    both = [*FILES["diffusion_models"], "seedvr2_7b_fp16.safetensors", "seedvr2_3b_int8_convrot.safetensors"]
    graph, _ = filled({**SEEDVR2, "diffusion_models": both}, upscale_model="SeedVR2")

    assert "seedvr2_3b_int8_convrot.safetensors" == node(graph, "SeedVR2 model")["unet_name"]


def test_frames_are_added_after_the_frames_are_larger_and_the_last_is_held() -> None:
    graph, warnings = filled(upscale_factor=2, target_fps=32.0)

    assert ("film_net_fp16.safetensors", 2) == (
        node(graph, "Interpolation model")["model_name"], node(graph, "Frames between")["multiplier"],
    )  # fmt: skip
    assert "Exact size" == source(graph, "Frames between", "images")
    assert (160, 1) == (node(graph, "Last frame of the clip")["batch_index"], node(graph, "Last frame held")["amount"])
    assert ("Whole clip", 32.0) == (source(graph, "Make the video", "images"), node(graph, "Make the video")["fps"])
    assert "target_fps: 2 frames were made of each one by film_net_fp16.safetensors." == warnings[-1]


@pytest.mark.parametrize("fields", [{"upscale_factor": 2}, {"target_fps": 60.0}])
def test_without_a_model_the_graph_stays_as_it_is(fields: Any) -> None:
    bare = {folder: names for folder, names in FILES.items() if folder not in {"upscale_models", "frame_interpolation"}}

    assert filled() == filled(bare, **fields)


def test_fewer_frames_need_no_model() -> None:
    assert filled() == filled(target_fps=8.0)


@pytest.mark.parametrize(
    ("fps", "target", "times"),
    [(16, 32, 2), (16, 24, 3), (24, 60, 5), (16, 48, 3), (16, 60, 7), (30, 60, 2), (16, 120, 7), (60, 120, 2)],
)
def test_the_frames_wanted_are_among_those_made_if_that_is_not_too_many(fps: float, target: float, times: int) -> None:
    assert times == times_for(fps, target)
    assert fps * times <= 120
