from __future__ import annotations

import re

import pytest

from wanworker.engines.comfyui.graphs import WORKFLOWS, ModelChoice, missing_for
from wanworker.engines.comfyui.graphs.choice.models import Weights, choose
from wanworker.errors import InvalidRequest, ModelNotFound

HIGH, LOW = (f"wan2.2_i2v_{half}_noise_14B_fp8_scaled.safetensors" for half in ("high", "low"))
HIGH_16, LOW_16 = HIGH.replace("fp8_scaled", "fp16"), LOW.replace("fp8_scaled", "fp16")
OTHERS = {"text_encoders": ["umt5_xxl_fp16.safetensors"], "vae": ["wan_2.1_vae.safetensors", "pixel_space"]}


def chosen(
    *names: str, have: list[str], task: str = "i2v-A14B", single_expert: bool = False, vae: str | None = None
) -> tuple[dict[str, str], list[str]]:
    warnings: list[str] = []
    choice = ModelChoice(names, vae, single_expert=single_expert)
    files = choose(
        WORKFLOWS[task].weights, choice, {"diffusion_models": have, **OTHERS}, "/workspace/models/", warnings
    )
    return files, warnings


def pair(*names: str, have: list[str], single_expert: bool = False) -> tuple[str | None, str | None]:
    files, _ = chosen(*names, have=have, single_expert=single_expert)
    return files.get("high_noise_model"), files.get("low_noise_model")


def test_a_model_in_another_folder_is_not_there_and_the_one_elsewhere_is_named() -> None:
    with pytest.raises(ModelNotFound, match=f"'other/{HIGH}' not found") as caught:
        chosen(f"other/{HIGH}", have=[HIGH, LOW])

    assert f"Nearest in diffusion_models: {HIGH}" in (caught.value.hint or "")


def test_the_documents_files_are_taken_first() -> None:
    assert (HIGH, LOW) == pair(have=[HIGH_16, LOW_16, HIGH, LOW])


@pytest.mark.parametrize(
    ("high", "low"),
    [
        (HIGH_16, LOW_16),
        (f"wan/{HIGH}", f"wan/{LOW}"),
        (
            "Wan2_2-I2V-A14B-HIGH_fp8_e4m3fn_scaled_KJ.safetensors",
            "Wan2_2-I2V-A14B-LOW_fp8_e4m3fn_scaled_KJ.safetensors",
        ),
    ],
)
def test_other_files_of_the_family_stand_in(high: str, low: str) -> None:
    assert (high, low) == pair(have=[low, high])


def test_a_whole_pair_is_better_than_two_halves_of_different_make() -> None:
    assert (HIGH_16, LOW_16) == pair(have=[HIGH, HIGH_16, LOW_16])


def test_halves_of_different_make_are_better_than_nothing() -> None:
    assert (HIGH, LOW_16) == pair(have=[HIGH, LOW_16])


@pytest.mark.parametrize(
    "special",
    [
        HIGH.replace(".safetensors", ".gguf"),
        "wan2.2_i2v_A14b_high_noise_lightx2v_4step.safetensors",
        "wan2.2_fun_control_i2v_high_noise_14B_fp8_scaled.safetensors",
        "wan2.2_ti2v_5B_high_fp16.safetensors",
        "wan2.1_i2v_high_noise_14B_fp8_scaled.safetensors",
    ],
)
def test_files_made_for_something_else_are_not_chosen_unnamed(special: str) -> None:
    with pytest.raises(ModelNotFound):
        chosen(have=[special, special.replace("high", "low")])


def test_a_missing_model_is_the_documented_sentence() -> None:
    with pytest.raises(ModelNotFound) as caught:
        chosen("xyz.safetensors", have=[HIGH, LOW])

    assert "Model 'xyz.safetensors' not found in /workspace/models/" == str(caught.value)
    assert HIGH in caught.value.hint


def test_a_missing_model_hints_at_the_nearest() -> None:
    with pytest.raises(ModelNotFound) as caught:
        chosen("wan2.2_i2v_hihg_noise_14B_fp8_scaled.safetensors", have=[HIGH, LOW])

    assert f"Nearest in diffusion_models: {HIGH}" in caught.value.hint


def test_nothing_at_all_is_said_too() -> None:
    with pytest.raises(ModelNotFound) as caught:
        chosen(have=[])

    assert f"Model '{HIGH}' not found in /workspace/models/" == str(caught.value)
    assert "no model file" in caught.value.hint


@pytest.mark.parametrize(
    "name", [HIGH, HIGH.removesuffix(".safetensors"), "i2v_high", f"diffusion_models/{HIGH}", LOW, "i2v"]
)
def test_a_name_in_part_and_a_half_lead_to_the_pair(name: str) -> None:
    files, warnings = chosen(name, have=[HIGH, LOW, "wan2.2_t2v_high_noise_14B_fp16.safetensors"])

    assert (HIGH, LOW) == (files["high_noise_model"], files["low_noise_model"])
    assert 1 == len(warnings)
    assert "was added: it is the" in warnings[0]


def test_a_name_that_could_be_several_lists_them() -> None:
    with pytest.raises(ModelNotFound) as caught:
        chosen("high_noise", have=[HIGH, HIGH_16])

    searched = "Searched: diffusion_models, as the ComfyUI server lists it."
    assert f"It could be any of: {HIGH_16}, {HIGH}. {searched}" == caught.value.hint


def test_a_half_whose_sibling_is_missing_names_the_sibling() -> None:
    with pytest.raises(ModelNotFound, match=re.escape(f"Model '{LOW}' not found")):
        chosen(HIGH, have=[HIGH, LOW_16])


@pytest.mark.parametrize("names", [(HIGH_16, LOW), (LOW, HIGH_16)])
def test_both_experts_may_be_named_in_any_order(names: tuple[str, str]) -> None:
    files, warnings = chosen(*names, have=[HIGH, LOW, HIGH_16])

    assert (HIGH_16, LOW) == (files["high_noise_model"], files["low_noise_model"])
    assert [] == warnings


def test_two_high_noise_models_are_no_pair() -> None:
    with pytest.raises(InvalidRequest, match="one high-noise and one low-noise"):
        chosen(HIGH, HIGH_16, have=[HIGH, HIGH_16])


@pytest.mark.parametrize(("name", "expected"), [(HIGH, (HIGH, None)), (LOW, (None, LOW))])
def test_one_expert_alone_needs_no_sibling(name: str, expected: tuple[str | None, str | None]) -> None:
    files, warnings = chosen(name, have=[name], single_expert=True)

    assert expected == (files.get("high_noise_model"), files.get("low_noise_model"))
    assert "renders all steps alone" in warnings[0]


def test_a_model_that_is_no_half_renders_alone() -> None:
    files, warnings = chosen("merged", have=["merged.safetensors", HIGH, LOW])

    assert "merged.safetensors" == files["high_noise_model"]
    assert "low_noise_model" not in files
    assert "neither high nor low" in warnings[0]


def test_a_model_of_another_task_is_said() -> None:
    other = "wan2.2_t2v_high_noise_14B_fp16.safetensors"
    _, warnings = chosen(other, have=[other, other.replace("high", "low")])

    assert f"{other} looks like a model for t2v, not for i2v." == warnings[0]


def test_the_vae_may_be_named() -> None:
    files, _ = chosen(have=[HIGH, LOW], vae="wan_2.1_vae")

    assert "wan_2.1_vae.safetensors" == files["vae"]


def test_a_missing_vae_is_the_documented_sentence() -> None:
    with pytest.raises(ModelNotFound, match=r"^Model 'other_vae' not found in /workspace/models/$"):
        chosen(have=[HIGH, LOW], vae="other_vae")


def test_a_task_with_one_model_takes_one() -> None:
    files, warnings = chosen(
        "first", "second", have=["first.safetensors", "second.safetensors"], task="ti2v-5B", vae="wan_2.1_vae"
    )

    assert "first.safetensors" == files["model"]
    assert "second.safetensors was ignored" in warnings[0]


def test_what_is_missing_is_named_with_its_folder() -> None:
    available = {"diffusion_models": [HIGH_16], **OTHERS}

    assert (f"diffusion_models/{LOW}",) == missing_for("i2v-A14B", available)
    assert () == missing_for("i2v-A14B", {**available, "diffusion_models": [HIGH_16, LOW]})
    assert 4 == len(missing_for("t2v-A14B", {}))
    assert "audio_encoders/wav2vec2_large_english_fp16.safetensors" in missing_for("s2v-14B", {})


def test_the_first_precision_of_a_family_is_the_one_that_fits_a_small_card() -> None:
    weights = {"model": Weights("diffusion_models", "none.safetensors", ("wan2.2", "s2v"))}
    made = [f"wan2.2_s2v_14B_{precision}.safetensors" for precision in ("bf16", "fp16", "fp8_e4m3fn", "fp8_scaled")]
    files = choose(weights, ModelChoice(), {"diffusion_models": made}, "/m", [])

    assert {"model": made[3]} == files
