"""The table of few-step recipes: its schedules are upstream's own, and every engine reads the same numbers from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wanworker.engines.comfyui.graphs.choice.sampling import plan_for
from wanworker.engines.diffusers import request_for
from wanworker.recipes.sampling import sampling_for
from wanworker.recipes.table import (
    FASTWAN,
    FASTWAN_LORA,
    LIGHTX2V_PAIR,
    LIGHTX2V_SINGLE,
    ROWS,
    STEP_LORAS,
    Recipe,
    Row,
    recipe_for,
)
from wanworker.spec import TASKS, RenderSpec, Size

#: Names as they are published, in the folders of their repositories (lightx2v, Comfy-Org, Kijai, FastVideo).
LORAS = {
    "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors": LIGHTX2V_PAIR,
    "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors": LIGHTX2V_PAIR,
    "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1/high_noise_model.safetensors": LIGHTX2V_PAIR,
    "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1.1/low_noise_model.safetensors": LIGHTX2V_PAIR,
    "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V2.0\\high_noise_model.safetensors": LIGHTX2V_PAIR,
    "Wan22_I2V_A14B_4steps_lora_rank64_Seko_v1_high_noise_model.safetensors": LIGHTX2V_PAIR,
    "Wan2.2-Lightning_I2V-A14B-4steps-lora_HIGH_fp16.safetensors": LIGHTX2V_PAIR,
    "wan2.2_i2v_A14b_high_noise_lora_rank64_lightx2v_4step_1022.safetensors": LIGHTX2V_PAIR,
    "wan2.2_t2v_A14b_low_noise_lora_rank64_lightx2v_4step_1217.safetensors": LIGHTX2V_PAIR,
    "Wan_2_2_I2V_A14B_HIGH_lightx2v_4step_lora_260412_rank_64_fp16.safetensors": LIGHTX2V_PAIR,
    "Wan_2_2_I2V_A14B_HIGH_lightx2v_MoE_distill_lora_rank_64_bf16.safetensors": LIGHTX2V_PAIR,
    "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors": LIGHTX2V_SINGLE,
    "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank128_bf16.safetensors": LIGHTX2V_SINGLE,
    "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors": LIGHTX2V_SINGLE,
    "Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors": FASTWAN_LORA,
}
MODELS = {
    "wan2.2_i2v_A14b_high_noise_lightx2v_4step_720p_260412.safetensors": LIGHTX2V_PAIR,
    "wan2.2_i2v_A14b_low_noise_scaled_fp8_e4m3_lightx2v_4step_comfyui.safetensors": LIGHTX2V_PAIR,
    "FastWan2.2-TI2V-5B-FullAttn-Diffusers": FASTWAN,
    "models--FastVideo--FastWan2.2-TI2V-5B-FullAttn-Diffusers": FASTWAN,
}
UNKNOWN = (
    "style.safetensors",
    "lightning_storm_high_noise.safetensors",
    "fast_motion_14steps.safetensors",
    "Wan2.2-Fun-A14B-InP-8steps.safetensors",
    "lightx2v_8step_high_noise.safetensors",
    "footsteps_24.safetensors",
    "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors",
    "Wan2.2-T2V-A14B-Diffusers",
)


def spec_of(task: str = "t2v-A14B", **changes: object) -> RenderSpec:
    row = TASKS[task]
    plain = RenderSpec(task, "a cat", row.size, False, row.fps, False, seed=7, frames=5)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LORAS)
def test_a_lora_is_known_by_its_name_and_folder(name: str) -> None:
    assert LORAS[name] is recipe_for(loras=["style.safetensors", name])


@pytest.mark.parametrize("name", MODELS)
def test_a_distilled_model_is_known_by_its_name(name: str) -> None:
    assert MODELS[name] is recipe_for(models=[name], loras=["style.safetensors"])


@pytest.mark.parametrize("row", ROWS)
def test_a_rows_examples_are_known_by_the_row(row: Row) -> None:
    found = [recipe_for(**{f"{kind}s": [name]}) for name in row.examples for kind in row.kinds]

    assert {row.recipe} == set(found)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_no_row_knows_has_no_recipe(name: str) -> None:
    assert recipe_for(models=[name], loras=[name]) is None


@pytest.mark.parametrize("task", STEP_LORAS)
def test_what_use_lora_means_has_a_recipe(task: str) -> None:
    lora = STEP_LORAS[task]

    assert recipe_for(loras=[lora.high or ""])
    assert (lora.low is not None) == (TASKS[task].boundary is not None)


@pytest.mark.parametrize("recipe", [LIGHTX2V_PAIR, LIGHTX2V_SINGLE])
def test_the_four_steps_are_lightx2vs(recipe: Recipe) -> None:
    sampling = sampling_for(spec_of(), recipe, [])

    # LightX2V's WanStepDistillScheduler: the shifted table of 1000 noise levels at 1000, 750, 500 and 250.
    table = [5 * (1 - step / 1000) / (1 + 4 * (1 - step / 1000)) for step in range(1000)]
    assert [table[1000 - step] for step in (1000, 750, 500, 250)] == pytest.approx(sampling.noise)
    assert [1000, 937.5, 833.3, 625] == [round(1000 * share, 1) for share in sampling.noise]
    assert (4, (1.0, 1.0), "euler") == (sampling.steps, sampling.guidance, sampling.solver)


@pytest.mark.parametrize("shift", [None, 12.0, 1.0])
def test_each_expert_takes_two_of_the_four_steps_at_any_shift(shift: float | None) -> None:
    sampling = sampling_for(spec_of(shift=shift), LIGHTX2V_PAIR, [])

    assert sampling.boundary is not None
    assert [True, True, False, False] == [share >= sampling.boundary for share in sampling.noise]


def test_fastwans_steps_are_fastvideos() -> None:
    sampling = sampling_for(spec_of("ti2v-5B"), FASTWAN, [])

    assert (1.0, 0.757, 0.522) == sampling.noise
    assert (3, (1.0, 1.0), "dmd", None) == (sampling.steps, sampling.guidance, sampling.solver, sampling.boundary)


def test_other_numbers_of_steps_lie_on_fastwans_own_curve() -> None:
    sampling = sampling_for(spec_of("ti2v-5B", steps=6), FASTWAN, [])

    assert (1.0, 0.757, 0.522) == sampling.noise[::2]
    assert [*sampling.noise] == sorted(sampling.noise, reverse=True)


@pytest.mark.parametrize("task", TASKS)
def test_a_plain_model_has_upstreams_numbers_and_no_warning(task: str) -> None:
    warnings: list[str] = []
    sampling = sampling_for(spec_of(task), None, warnings)
    row = TASKS[task]

    assert (row.steps, row.guidance, row.shift) == (sampling.steps, sampling.guidance, sampling.shift)
    assert ("unipc", (), None, []) == (sampling.solver, sampling.noise, sampling.boundary, warnings)


@pytest.mark.parametrize(
    ("size", "shift"), [(Size(832, 480), 3.0), (Size(480, 832), 3.0), (Size(640, 640), 3.0), (Size(1280, 720), 5.0)]
)
def test_pictures_at_480p_take_the_shift_of_upstreams_readme(size: Size, shift: float) -> None:
    assert shift == sampling_for(spec_of("i2v-A14B", size=size), None, []).shift
    assert 12.0 == sampling_for(spec_of(size=size), None, []).shift
    assert 5.0 == sampling_for(spec_of("i2v-A14B", size=size), LIGHTX2V_PAIR, []).shift


def test_what_the_recipe_sets_is_said() -> None:
    warnings: list[str] = []
    sampling_for(spec_of(guidance=1.0), LIGHTX2V_PAIR, warnings)

    assert ["set for the distilled model or LoRA: sample_steps to 4, sample_shift to 5."] == warnings


def test_numbers_of_the_request_win_with_a_warning() -> None:
    warnings: list[str] = []
    sampling = sampling_for(
        spec_of(steps=20, guidance=3.5, guidance_low=3.0, shift=12.0, solver="unipc"), LIGHTX2V_PAIR, warnings
    )

    assert (20, (3.0, 3.5), 12.0, "unipc", (), None) == (
        sampling.steps, sampling.guidance, sampling.shift, sampling.solver, sampling.noise, sampling.boundary,
    )  # fmt: skip
    assert [
        "lightx2v's 4-step pair was made for sample_steps 4 (not 20), sample_guide_scale 1 (not 3.5), sample_shift 5 "
        "(not 12), the solver euler (not unipc); the request's numbers were used."
    ] == warnings


def test_a_schedule_of_its_own_takes_no_shift() -> None:
    warnings: list[str] = []

    sampling = sampling_for(spec_of("ti2v-5B", shift=5.0, steps=3, guidance=1.0), FASTWAN, warnings)

    assert FASTWAN.noise == sampling.noise
    assert ["sample_shift was ignored: FastWAN has a schedule of its own."] == warnings


REQUESTS = [
    ("t2v-A14B", {}), ("i2v-A14B", {"size": Size(832, 480)}), ("i2v-A14B", {"steps": 8}), ("t2v-A14B", {"shift": 12.0}),
    ("t2v-A14B", {"solver": "unipc", "guidance": 3.0}), ("t2v-A14B", {"guidance_low": 2.0}), ("ti2v-5B", {}),
]  # fmt: skip


@pytest.mark.parametrize("name", [None, *LORAS, *MODELS])
@pytest.mark.parametrize(("task", "changes"), REQUESTS)
def test_the_same_request_is_sampled_alike_by_both_engines(
    task: str, changes: dict[str, object], name: str | None
) -> None:
    if name is not None and "FastWan" in name:  # which is a 5B model
        task = "ti2v-5B"
    spec = spec_of(task, **changes)
    files = {"models": [name] if name in MODELS else [], "loras": [name] if name in LORAS else []}
    said: tuple[list[str], list[str]] = ([], [])
    request = request_for(spec, sampling_for(spec, recipe_for(**files), said[0]), Path("a.mp4"), (), [])
    plan = plan_for(spec, ("high", "low") if TASKS[task].boundary else ("high",), said[1], **files)

    assert (request.steps, request.guidance, request.guidance_low, request.shift) == (
        plan.steps, plan.guidance[1], plan.guidance[0], plan.shift,
    )  # fmt: skip
    assert {"unipc": "uni_pc", "euler": "euler", "dmd": "lcm"}[request.solver or ""] == plan.sampler
    assert said[0] == said[1]
    if request.noise and TASKS[task].boundary:
        boundary = TASKS[task].boundary if request.boundary is None else request.boundary
        assert plan.runs[0] == sum(share >= boundary for share in request.noise)
