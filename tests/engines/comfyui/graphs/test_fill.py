from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from wanworker.comfyui.graph.api_format import Graph, titled
from wanworker.engines.comfyui.graphs import Filled, ModelChoice, Uploads, graph_for, read_workflows
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.spec import TASKS, Lora, RenderSpec

GRAPHS = read_workflows()
I2V_HIGH, I2V_LOW = (f"wan2.2_i2v_{half}_noise_14B_fp8_scaled.safetensors" for half in ("high", "low"))
FILES = {
    "diffusion_models": [
        *(f"wan2.2_t2v_{half}_noise_14B_fp8_scaled.safetensors" for half in ("high", "low")),
        I2V_HIGH,
        I2V_LOW,
        "wan2.2_ti2v_5B_fp16.safetensors",
        "FastWan2.2-TI2V-5B-FullAttn_bf16.safetensors",
        "wan2.2_s2v_14B_fp8_scaled.safetensors",
        "Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors",
        *(f"wan2.2_fun_vace_{half}_noise_14B_bf16.safetensors" for half in ("high", "low")),
        "Wan2.2-Animate-2-14B_bf16.safetensors",
    ],
    "text_encoders": ["umt5_xxl_fp8_e4m3fn_scaled.safetensors"],
    "vae": ["wan_2.1_vae.safetensors", "wan2.2_vae.safetensors"],
    "audio_encoders": ["wav2vec2_large_english_fp16.safetensors"],
    "clip_vision": ["clip_vision_h.safetensors"],
    "loras": [
        *(f"wan2.2_i2v_lightx2v_4steps_lora_v1_{half}_noise.safetensors" for half in ("high", "low")),
        "Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors",
        "style.safetensors",
    ],
}  # fmt: skip
UPLOADS: dict[str, Uploads] = {
    "t2v-A14B": Uploads(),
    "i2v-A14B": Uploads(image="in.png"),
    "ti2v-5B": Uploads(),
    "s2v-14B": Uploads(image="in.png", audio="talk.wav", audio_s=4.0),
    "animate-14B": Uploads(image="ref.png", pose_video="pose.mp4", face_video="face.mp4", driving_frames=60),
    "vace-A14B": Uploads(driving_video="edges.mp4", driving_frames=81),
    "v2v-A14B": Uploads(driving_video="rough.mp4", driving_frames=81),
    "animate2-14B": Uploads(image="ref.png", driving_video="dance.mp4", driving_frames=162),
}


def spec_of(task: str, **changes: Any) -> RenderSpec:
    row = TASKS[task]
    plain = RenderSpec(task, "a cat", row.size, False, row.fps, False, seed=7, frames=row.frames)
    return dataclasses.replace(plain, **changes)


def fill(
    task: str,
    *,
    uploads: Uploads | None = None,
    models: ModelChoice | None = None,
    have: dict[str, list[str]] | None = None,
    **changes: Any,
) -> Filled:
    return graph_for(
        spec_of(task, **changes), models or ModelChoice(), uploads or UPLOADS[task], "job-1",
        graphs=GRAPHS, available=FILES | (have or {}), models_dir="/workspace/models",
    )  # fmt: skip


def inputs(graph: Graph, title: str) -> dict[str, Any]:
    (node,) = titled(graph, title)
    return dict(graph[node]["inputs"])


def test_the_two_experts_share_the_steps_of_one_run() -> None:
    graph = fill("t2v-A14B", steps=20).graph
    high, low = inputs(graph, "High-noise sampler"), inputs(graph, "Low-noise sampler")

    keys = ("steps", "start_at_step", "end_at_step", "add_noise", "return_with_leftover_noise")
    assert (20, 0, 13, "enable", "enable") == tuple(high[key] for key in keys)
    assert (20, 13, 10000, "disable", "disable") == tuple(low[key] for key in keys)
    assert [*titled(graph, "High-noise sampler"), 0] == low["latent_image"]


def test_the_steps_are_told_by_sampler() -> None:
    filled = fill("i2v-A14B", steps=20)

    assert [8, 12] == list(filled.steps.values())
    assert ["KSamplerAdvanced"] * 2 == [filled.graph[node]["class_type"] for node in filled.steps]
    assert "SaveVideo" == filled.graph[filled.saver]["class_type"]
    assert f"{I2V_HIGH} + {I2V_LOW}" == filled.model


def test_each_expert_has_its_own_guidance() -> None:
    def cfg(**changes: Any) -> tuple[float, float]:
        graph = fill("t2v-A14B", **changes).graph
        return inputs(graph, "High-noise sampler")["cfg"], inputs(graph, "Low-noise sampler")["cfg"]

    assert (4.0, 3.0) == cfg()
    assert (2.0, 2.0) == cfg(guidance=2.0)
    assert (2.0, 1.5) == cfg(guidance=2.0, guidance_low=1.5)
    assert (4.0, 0.0) == cfg(guidance_low=0.0)


def test_the_negative_prompt_is_the_graphs_own_until_one_is_sent() -> None:
    own = inputs(GRAPHS["t2v-A14B"], "Negative prompt")["text"]

    assert own == inputs(fill("t2v-A14B").graph, "Negative prompt")["text"]
    assert "" == inputs(fill("t2v-A14B", negative_prompt="").graph, "Negative prompt")["text"]


def test_the_request_id_is_in_the_files_name() -> None:
    assert "wanworker/job-1" == inputs(fill("t2v-A14B").graph, "Save the video")["filename_prefix"]


def test_a_last_image_takes_the_graph_for_it() -> None:
    filled = fill("i2v-A14B", last_image=Path("end.png"), uploads=Uploads(image="in.png", last_image="end.png"))

    assert "i2v-A14B-first-last" == filled.workflow
    assert ["in.png", "end.png"] == [inputs(filled.graph, title)["image"] for title in ("First frame", "Last frame")]


def test_five_billion_renders_from_text_or_from_a_picture() -> None:
    text, picture = fill("ti2v-5B"), fill("ti2v-5B", uploads=Uploads(image="in.png"))

    assert "start_image" not in inputs(text.graph, "Size and length")
    assert () == titled(text.graph, "First frame")
    assert "in.png" == inputs(picture.graph, "First frame")["image"]


def test_fastwan_has_the_services_settings() -> None:
    filled = fill("ti2v-5B", use_lora=True)
    sampler, size = inputs(filled.graph, "Sampler"), inputs(filled.graph, "Size and length")

    assert (8, 1.0, "uni_pc", "simple") == tuple(sampler[key] for key in ("steps", "cfg", "sampler_name", "scheduler"))
    assert (1280, 704, 121) == (size["width"], size["height"], size["length"])
    assert 1.1 == inputs(filled.graph, "FastWAN LoRA")["strength_model"]
    assert 8.0 == inputs(filled.graph, "Shift")["shift"]
    assert 24.0 == inputs(filled.graph, "Make the video")["fps"]


def test_fastwan_without_its_lora_is_the_documented_sentence() -> None:
    name = "Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors"

    with pytest.raises(ModelNotFound, match=f"^Model '{name}' not found in /workspace/models/$"):
        fill("ti2v-5B", use_lora=True, have={"loras": ["style.safetensors"]})


def test_a_named_fastwan_model_or_lora_brings_its_settings() -> None:
    by_lora = fill("ti2v-5B", loras=(Lora("FastWanFullAttn", None, 0.9, 0.9),))
    by_model = fill("ti2v-5B", models=ModelChoice(("FastWan2.2-TI2V-5B-FullAttn_bf16",)))

    assert 0.9 == inputs(by_lora.graph, "LoRA 1 of Model")["strength_model"]
    assert (8, 1.0) == tuple(inputs(by_lora.graph, "Sampler")[name] for name in ("steps", "cfg"))
    assert "1, 0.757, 0.522, 0" == inputs(by_model.graph, "Schedule of Sampler")["sigmas"]
    assert "lcm" == inputs(by_model.graph, "Solver of Sampler")["sampler_name"]
    assert 1.0 == inputs(by_model.graph, "Sampler")["cfg"]
    assert [3] == list(by_model.steps.values())


def test_the_four_step_pair_is_put_behind_both_models() -> None:
    filled = fill("i2v-A14B", use_lora=True)
    loras = [inputs(filled.graph, f"LoRA {number} of {half}-noise model") for number, half in ((1, "High"), (2, "Low"))]

    assert [4, 2, 2] == [inputs(filled.graph, "High-noise sampler")["steps"], *filled.steps.values()]
    assert FILES["loras"][:2] == [lora["lora_name"] for lora in loras]
    assert [5.0, 5.0] == [inputs(filled.graph, f"{half}-noise shift")["shift"] for half in ("High", "Low")]
    assert ["set for the distilled model or LoRA: sample_steps to 4, sample_guide_scale to 1, sample_shift to 5."] == [
        *filled.warnings
    ]


@pytest.mark.parametrize(("half", "gone"), [("high", "Low"), ("low", "High")])
def test_one_expert_alone_goes_from_noise_to_picture(half: str, gone: str) -> None:
    filled = fill("i2v-A14B", steps=10, models=ModelChoice((f"wan2.2_i2v_{half}_noise",), single_expert=True))
    sampler = inputs(filled.graph, f"{half.capitalize()}-noise sampler")

    assert [10] == list(filled.steps.values())
    assert ("enable", 0, 10000, "disable") == tuple(
        sampler[key] for key in ("add_noise", "start_at_step", "end_at_step", "return_with_leftover_noise")
    )
    assert [*titled(filled.graph, "Size and length"), 2] == sampler["latent_image"]
    assert [*titled(filled.graph, f"{half.capitalize()}-noise sampler"), 0] == inputs(
        filled.graph, "Decode the frames"
    )["samples"]
    assert [] == [body for body in filled.graph.values() if body["_meta"]["title"].startswith(gone)]


def test_one_step_becomes_two_for_two_experts() -> None:
    filled = fill("i2v-A14B", steps=1)

    assert [1, 1] == list(filled.steps.values())
    assert "sample_steps set to 2" in filled.warnings[0]
    assert "euler" == inputs(filled.graph, "Low-noise sampler")["sampler_name"]


def test_a_long_sound_is_rendered_in_clips() -> None:
    filled = fill("s2v-14B", uploads=Uploads(image="in.png", audio="talk.wav", audio_s=12.0))

    assert 192 == filled.frames
    assert [40, 40, 40] == list(filled.steps.values())
    assert [7, 8, 9] == [filled.graph[node]["inputs"]["seed"] for node in filled.steps]
    assert 189 == inputs(filled.graph, "Frames after the run-up")["length"]
    assert [*titled(filled.graph, "Sound"), 0] == inputs(filled.graph, "Make the video")["audio"]


def test_animate_has_the_sound_that_is_sent_with_it_and_else_none() -> None:
    uploads = dataclasses.replace(UPLOADS["animate-14B"], audio="song.flac", audio_s=2.0)
    sounding, silent = fill("animate-14B", uploads=uploads), fill("animate-14B")

    assert [*titled(sounding.graph, "Sound"), 0] == inputs(sounding.graph, "Make the video")["audio"]
    assert "song.flac" == inputs(sounding.graph, "Sound")["audio"]
    assert () == titled(silent.graph, "Sound")
    assert "audio" not in inputs(silent.graph, "Make the video")


def test_a_short_sound_is_one_clip() -> None:
    filled = fill("s2v-14B")

    assert 64 == filled.frames
    assert () == titled(filled.graph, "Next clip")
    assert [*titled(filled.graph, "First clip's sampler"), 0] == inputs(filled.graph, "First latent")["samples"]


def test_a_driving_video_is_rendered_in_clips() -> None:
    uploads = dataclasses.replace(UPLOADS["animate-14B"], driving_frames=150)
    filled = fill("animate-14B", uploads=uploads)

    assert 150 == filled.frames
    assert 150 == inputs(filled.graph, "All frames")["length"]
    assert [*titled(filled.graph, "Next clip"), 5] == inputs(filled.graph, "Next clip (3)")["video_frame_offset"]
    assert [*titled(filled.graph, "Clips so far"), 0] == inputs(filled.graph, "Next clip (3)")["continue_motion"]
    assert [*titled(filled.graph, "Pose frames"), 2] == inputs(filled.graph, "Make the video")["fps"]


def test_animate_replaces_a_person_where_the_folder_has_a_mask() -> None:
    animated = fill("animate-14B")
    replaced = fill(
        "animate-14B",
        uploads=dataclasses.replace(UPLOADS["animate-14B"], background_video="bg.mp4", mask_video="m.mp4"),
    )

    assert {"background_video", "character_mask"} == set(inputs(replaced.graph, "First clip")) - set(
        inputs(animated.graph, "First clip")
    )
    assert "m.mp4" == inputs(replaced.graph, "Mask video")["file"]


def test_animate_without_a_prepared_folder_says_what_to_send() -> None:
    with pytest.raises(InvalidRequest, match="animate-14B needs pose video on ComfyUI") as caught:
        fill("animate-14B", uploads=Uploads(image="in.png"))

    assert "prepared_path" in caught.value.hint
    assert "preprocess_data.py" in caught.value.hint


@pytest.mark.parametrize(
    ("task", "uploads", "words"),
    [
        ("i2v-A14B", Uploads(), "needs image"),
        ("s2v-14B", Uploads(image="in.png"), "needs audio"),
        ("s2v-14B", Uploads(image="in.png", audio="talk.wav"), "length of the sound"),
        ("animate-14B", dataclasses.replace(UPLOADS["animate-14B"], driving_frames=None), "number of frames"),
        ("animate-14B", dataclasses.replace(UPLOADS["animate-14B"], face_video=None), "needs face video"),
    ],
)
def test_what_is_not_there_is_an_error(task: str, uploads: Uploads, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        fill(task, uploads=uploads)


@pytest.mark.parametrize(
    ("task", "changes", "words"),
    [
        ("s2v-14B", {"fps": 24.0, "fps_given": True}, "fps 24 was ignored for s2v-14B: the lips move at 16"),
        ("animate-14B", {"fps": 24.0, "fps_given": True}, "fps 24 was ignored for animate-14B: the driving video"),
        ("ti2v-5B", {"guidance_low": 2.0}, "guidance_scale_2 was ignored"),
        ("animate-14B", {"frames": 81}, "frame_num 81 was changed to 60"),
    ],
)
def test_what_cannot_be_done_is_said(task: str, changes: dict[str, Any], words: str) -> None:
    assert words in fill(task, **changes).warnings[0]


def test_the_low_noise_guidance_of_an_expert_that_is_not_there_is_said() -> None:
    alone = ModelChoice(("wan2.2_i2v_high_noise",), single_expert=True)

    line = "guidance_scale_2 was ignored: the high-noise expert renders alone."
    assert line in fill("i2v-A14B", guidance_low=3.0, models=alone).warnings


_IN_VAIN = "negative_prompt has no effect: it needs a guidance scale above 1."


@pytest.mark.parametrize(
    ("task", "changes", "is_said"),
    [
        ("i2v-A14B", {"use_lora": True}, True),
        ("i2v-A14B", {"use_lora": True, "guidance_low": 3.0}, False),
        ("i2v-A14B", {"guidance": 1.0}, True),
        ("i2v-A14B", {}, False),
        ("ti2v-5B", {"guidance": 1.0, "guidance_low": 3.0}, True),
        ("i2v-A14B", {"use_lora": True, "negative_prompt": ""}, False),
    ],
)
def test_a_negative_prompt_that_no_expert_uses_is_said(task: str, changes: dict[str, Any], is_said: bool) -> None:
    lines = fill(task, **{"negative_prompt": "rain", **changes}).warnings

    assert lines.count(_IN_VAIN) == is_said


def test_a_file_that_the_task_does_not_take_is_said() -> None:
    assert ("image was ignored: t2v-A14B does not take one.",) == fill(
        "t2v-A14B", uploads=Uploads(image="in.png")
    ).warnings


def test_seeds_up_to_the_largest_are_kept() -> None:
    assert 2**64 - 1 == inputs(fill("t2v-A14B", seed=2**64 - 1).graph, "High-noise sampler")["noise_seed"]


@pytest.mark.parametrize("task", UPLOADS)
def test_the_graphs_on_disk_stay_as_they_are(task: str) -> None:
    before = read_workflows()
    fill(task, use_lora=task == "i2v-A14B")

    assert before == GRAPHS


@pytest.mark.parametrize(
    ("denoise", "steps", "high", "low"),
    [
        (None, 40, (12, 17, "enable"), (17, "disable")),
        (1.0, 40, (0, 17, "enable"), (17, "disable")),
        (0.9, 40, (4, 17, "enable"), (17, "disable")),
        (0.5, 40, None, (20, "enable")),
        (0.01, 40, None, (39, "enable")),
    ],
)
def test_a_video_at_the_start_leaves_out_the_first_steps(
    denoise: float | None, steps: int, high: tuple[int, int, str] | None, low: tuple[int, str]
) -> None:
    made = fill("v2v-A14B", steps=steps, denoise=denoise)
    second = inputs(made.graph, "Low-noise sampler")

    assert low == (second["start_at_step"], second["add_noise"])
    if high is None:
        assert () == tuple(titled(made.graph, "High-noise sampler"))
        assert {steps - low[0]} == set(made.steps.values())
    else:
        first = inputs(made.graph, "High-noise sampler")
        assert high == (first["start_at_step"], first["end_at_step"], first["add_noise"])
        assert [high[1] - high[0], steps - high[1]] == list(made.steps.values())


def test_a_control_video_needs_no_picture() -> None:
    without = fill("vace-A14B").graph
    both = fill("vace-A14B", uploads=dataclasses.replace(UPLOADS["vace-A14B"], image="in.png")).graph

    assert "reference_image" not in inputs(without, "Size and length")
    assert "in.png" == inputs(both, "Reference picture")["image"]
    assert "edges.mp4" == inputs(both, "Control video")["file"]


def test_animate_2_follows_all_of_the_driving_video_in_clips() -> None:
    made = fill("animate2-14B")
    lengths = [inputs(made.graph, title)["length"] for title in ("First clip", "Next clip", "Next clip (3)")]

    assert ([81, 81, 17], 162) == (lengths, made.frames)
    assert "Wan2.2-Animate-2-14B_bf16.safetensors" == made.model
    assert (24.0, 162) == (inputs(made.graph, "Make the video")["fps"], inputs(made.graph, "All frames")["length"])


@pytest.mark.parametrize("task", ["vace-A14B", "v2v-A14B", "animate2-14B"])
def test_a_task_that_follows_a_video_needs_one(task: str) -> None:
    bare = dataclasses.replace(UPLOADS[task], driving_video=None)

    with pytest.raises(InvalidRequest, match=f"^{task} needs driving video on ComfyUI"):
        fill(task, uploads=bare)


def test_the_two_kinds_of_animate_do_not_take_each_others_weights() -> None:
    assert "Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors" == fill("animate-14B").model
    only = {"diffusion_models": ["Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors"]}

    with pytest.raises(ModelNotFound, match="wan_animate_2_int8_convrot"):
        fill("animate2-14B", have=only)
