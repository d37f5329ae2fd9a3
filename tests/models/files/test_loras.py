"""LoRA files by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from wanworker.errors import ModelNotFound
from wanworker.models.files.loras import half_of, lora_files, loras_for, other_half, resolve, sibling_of
from wanworker.recipes.table import STEP_LORAS
from wanworker.spec import Lora, RenderSpec, Size

T2V_HIGH = "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors"
T2V_LOW = "wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors"
KNOWN = [T2V_HIGH, T2V_LOW, "Arcane-HIGH.safetensors", "Arcane-LOW.safetensors", "slow_motion.safetensors"]


def spec(**fields: Any) -> RenderSpec:
    common = {"prompt": "x", "size": Size(64, 64), "size_given": True, "fps": 16, "fps_given": False, "seed": 1}
    return RenderSpec(**{"task": "t2v-A14B", **common, **fields})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (T2V_LOW, T2V_LOW),
        (T2V_LOW.removesuffix(".safetensors"), T2V_LOW),
        ("arcane-high", "Arcane-HIGH.safetensors"),
        ("slow", "slow_motion.safetensors"),
        ("arcane", "Arcane-HIGH.safetensors"),
        ("lightx2v_4steps_lora_v1.1_high", T2V_HIGH),
    ],
)
def test_a_name_without_extension_or_a_part_that_leads_to_one_file_or_pair_resolves(name: str, expected: str) -> None:
    assert expected == resolve(name, KNOWN)


def test_halves_the_wrong_way_round_are_used_as_asked_and_told() -> None:
    swapped = Lora(T2V_LOW, T2V_HIGH)

    chosen, warnings = loras_for(spec(loras=(swapped, Lora(None, T2V_HIGH, is_exact=True))), KNOWN, experts=2)

    assert [(T2V_LOW, "high"), (T2V_HIGH, "low"), (T2V_HIGH, "low")] == [found[:2] for found in chosen]
    assert [
        f"LoRA {T2V_LOW} was used for the high-noise expert, as asked; its name says low noise.",
        *[f"LoRA {T2V_HIGH} was used for the low-noise expert, as asked; its name says high noise."] * 2,
    ] == warnings
    assert [] == loras_for(spec(loras=(Lora(T2V_HIGH, T2V_LOW),)), KNOWN, experts=2)[1]


@pytest.mark.parametrize("file", ["KneeHigh_v1.safetensors", "FlyHigh.safetensors", "ComeHigh/knees.safetensors"])
def test_a_word_inside_a_name_is_no_half_where_there_is_no_other_half(file: str) -> None:
    chosen, warnings = loras_for(spec(loras=(Lora(file, None),)), [*KNOWN, file], experts=2)

    assert [(file, "high", 1.0), (file, "low", 1.0)] == chosen
    assert warnings[0].endswith("so it is used for both experts.")


def test_a_part_of_several_files_names_them() -> None:
    with pytest.raises(ModelNotFound, match=r"'high' could be any of: Arcane-HIGH\.safetensors, wan2\.2_t2v"):
        resolve("high", KNOWN)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", " ", "nothing like it"])
def test_a_name_that_is_not_there_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound, match="was not found"):
        resolve(name, KNOWN)


def test_a_misspelt_name_is_told_the_nearest() -> None:
    with pytest.raises(ModelNotFound, match=r"Nearest: slow_motion\.safetensors"):
        resolve("slo_motoin.safetensors", KNOWN)


@pytest.mark.parametrize(
    ("name", "half", "sibling"),
    [
        (T2V_HIGH, "high", T2V_LOW),
        ("Arcane-LOW.safetensors", "low", "Arcane-HIGH.safetensors"),
        ("styleHighNoise.safetensors", "high", "styleLowNoise.safetensors"),
        ("smoothMix_i2vHigh.safetensors", "high", "smoothMix_i2vLow.safetensors"),
        ("style_lowV8.safetensors", "low", "style_highV8.safetensors"),
        ("SLOW.safetensors", None, "SLOW.safetensors"),
        ("styleHighQuality.safetensors", None, "styleHighQuality.safetensors"),
        ("styleslow_v2.safetensors", None, "styleslow_v2.safetensors"),
        ("style_HighNoise.safetensors", "high", "style_LowNoise.safetensors"),
        ("slow_motion.safetensors", None, "slow_motion.safetensors"),
        ("highlight_low.safetensors", "low", "highlight_high.safetensors"),
    ],
)
def test_the_half_and_its_sibling_are_told_from_the_name(name: str, half: str | None, sibling: str) -> None:
    assert half == half_of(name)
    assert sibling == sibling_of(name)


@pytest.mark.parametrize("lora", [Lora("arcane-high", None, 0.5, 0.7), Lora(None, "Arcane-LOW", 0.5, 0.7)])
def test_one_half_brings_the_other_and_says_so(lora: Lora) -> None:
    chosen, warnings = loras_for(spec(loras=(lora,)), KNOWN, experts=2)

    assert [("Arcane-HIGH.safetensors", "high", 0.5), ("Arcane-LOW.safetensors", "low", 0.7)] == chosen
    assert 1 == len(warnings)
    assert "was added: it is the other half of" in warnings[0]


@pytest.mark.parametrize("lora", [Lora(None, T2V_HIGH), Lora(T2V_LOW, None), Lora(T2V_LOW, T2V_LOW)])
def test_a_half_under_the_wrong_name_goes_to_its_own_expert(lora: Lora) -> None:
    chosen, _ = loras_for(spec(loras=(lora,)), KNOWN, experts=2)

    assert [(T2V_HIGH, "high", 1.0), (T2V_LOW, "low", 1.0)] == chosen


def test_a_lora_that_is_neither_goes_to_both_experts() -> None:
    chosen, warnings = loras_for(spec(loras=(Lora("slow_motion", None),)), KNOWN, experts=2)

    assert [("slow_motion.safetensors", "high", 1.0), ("slow_motion.safetensors", "low", 1.0)] == chosen
    assert [
        "LoRA slow_motion.safetensors has neither high nor low as a word in its name, so it is used for both experts."
    ] == (warnings)


def test_half_a_pair_alone_is_refused() -> None:
    with pytest.raises(ModelNotFound, match=r"the other half, Arcane-LOW\.safetensors, was not found"):
        loras_for(spec(loras=(Lora("Arcane-HIGH", None),)), ["Arcane-HIGH.safetensors"], experts=2)


def test_two_names_are_taken_as_they_are() -> None:
    chosen, warnings = loras_for(spec(loras=(Lora(T2V_HIGH, "slow_motion"),)), KNOWN, experts=2)

    assert [(T2V_HIGH, "high", 1.0), ("slow_motion.safetensors", "low", 1.0)] == chosen
    assert [] == warnings


def test_one_expert_takes_one_file() -> None:
    pair = Lora("Arcane-HIGH", "Arcane-LOW", 0.5, 0.7)

    assert ([("slow_motion.safetensors", "high", 1.0)], []) == (
        loras_for(spec(loras=(Lora("slow_motion", None),)), KNOWN, experts=1)
    )
    assert [("slow_motion.safetensors", "high", 0.7)] == (
        loras_for(spec(loras=(Lora(None, "slow_motion", 0.5, 0.7),)), KNOWN, experts=1)[0]
    )
    chosen, warnings = loras_for(spec(loras=(pair,)), KNOWN, experts=1)
    assert [("Arcane-HIGH.safetensors", "high", 0.5)] == chosen
    assert ["LoRA Arcane-LOW was ignored: this model has one expert, and Arcane-HIGH is used."] == warnings


def test_use_lora_without_a_name_is_the_tasks_own_few_step_lora() -> None:
    chosen, warnings = loras_for(spec(use_lora=True), KNOWN, experts=2)

    assert [(T2V_HIGH, "high", 1.0), (T2V_LOW, "low", 1.0)] == chosen
    assert [] == warnings


@pytest.mark.parametrize(("task", "experts"), [("i2v-A14B", 2), ("ti2v-5B", 1)])
def test_use_lora_without_a_pair_for_the_task_is_not_found(task: str, experts: int) -> None:
    with pytest.raises(ModelNotFound, match=re.escape(STEP_LORAS[task].high)):
        loras_for(spec(task=task, use_lora=True), KNOWN, experts=experts)


def test_files_are_looked_for_below_loras_and_beside_it_and_the_first_place_wins(tmp_path: Path) -> None:
    places = (tmp_path / "a", tmp_path / "b", tmp_path / "absent")
    names = ("a/loras/one.safetensors", "a/loras/x/y/two.safetensors", "a/three.safetensors", "b/loras/one.safetensors")
    for name in (*names, "a/loras/notes.txt", "a/transformer/no.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    found = lora_files(places)

    assert {"one.safetensors", "x/y/two.safetensors", "three.safetensors"} == set(found)
    assert tmp_path / "a/loras/one.safetensors" == found["one.safetensors"]


TWICE = ["a/same.safetensors", "b/same.safetensors", "b/x_high.safetensors", "b/x_low.safetensors"]


def test_a_bare_name_in_two_folders_is_refused_with_both() -> None:
    with pytest.raises(ModelNotFound, match=r"'same' could be any of: a/same\.safetensors, b/same\.safetensors"):
        resolve("same", TWICE)


@pytest.mark.parametrize("name", ["b/same", "B\\same.safetensors", "/models/loras/b/same.safetensors"])
def test_a_folder_in_a_name_tells_which_one(name: str) -> None:
    assert resolve(name, TWICE) == "b/same.safetensors"


def test_a_name_in_another_folder_is_not_there() -> None:
    with pytest.raises(ModelNotFound, match="was not found"):
        resolve("c/same", TWICE)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("b/x_high.safetensors", "b/x_low.safetensors"),
        ("high/x.safetensors", "low/x.safetensors"),
        ("high_noise/x_high.safetensors", "low_noise/x_low.safetensors"),
        ("high_quality/x_low_noise.safetensors", "high_quality/x_high_noise.safetensors"),
        ("one/x_high.safetensors", "two/x_low.safetensors"),
        ("b\\x_high.safetensors", "b\\x_low.safetensors"),
    ],
)
def test_the_other_half_is_beside_or_in_the_sibling_of_the_folder_or_the_only_one(name: str, other: str) -> None:
    assert other_half(name, [name, other, "y_low.safetensors"]) == other
    assert half_of(name) != half_of(other)


def test_files_are_told_by_their_folders(tmp_path: Path) -> None:
    for name in TWICE[:2]:
        path = tmp_path / "loras" / name
        path.parent.mkdir(parents=True)
        path.touch()

    assert list(lora_files([tmp_path])) == TWICE[:2]


@pytest.mark.parametrize(
    ("lora", "expected"),
    [
        (Lora("slow_motion", None, 0.5, is_exact=True), ("slow_motion.safetensors", "high", 0.5)),
        (Lora(None, "slow_motion", low_strength=0.5, is_exact=True), ("slow_motion.safetensors", "low", 0.5)),
        (Lora("arcane", None, is_exact=True), ("Arcane-HIGH.safetensors", "high", 1.0)),
        (Lora(None, "arcane", is_exact=True), ("Arcane-LOW.safetensors", "low", 1.0)),
    ],
)
def test_a_lora_of_one_expert_leaves_the_other_alone(lora: Lora, expected: tuple[str, str, float]) -> None:
    assert ([expected], []) == loras_for(spec(loras=(lora,)), KNOWN, experts=2)


def test_a_model_with_one_expert_takes_the_high_ones_and_says_what_it_leaves_out() -> None:
    loras = (Lora("slow_motion", None, is_exact=True), Lora(None, "slow_motion", is_exact=True))
    chosen, warnings = loras_for(spec(loras=loras), KNOWN, experts=1)

    assert [("slow_motion.safetensors", "high", 1.0)] == chosen
    assert ["LoRA slow_motion was ignored: this model has no low-noise expert."] == warnings


def test_a_file_that_has_its_own_other_half_is_not_taken_from_it() -> None:
    files = ["t2v/x_high.safetensors", "i2v/x_high.safetensors", "i2v/x_low.safetensors"]

    assert other_half(files[0], files) is None
    assert other_half(files[0], [files[0], files[2]]) == files[2]
    with pytest.raises(ModelNotFound, match=r"the other half, t2v/x_low\.safetensors, was not found"):
        loras_for(spec(loras=(Lora("t2v/x_high", None),)), files, experts=2)


def test_a_file_in_another_folder_is_told_as_the_nearest() -> None:
    with pytest.raises(ModelNotFound, match=r"LoRA 'c/x\.safetensors' was not found\. Nearest: b/x\.safetensors\."):
        resolve("c/x.safetensors", ["b/x.safetensors"])
