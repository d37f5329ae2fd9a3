from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from wanworker.engines.comfyui.graphs.choice.loras import Chosen, choose, with_loras
from wanworker.errors import ModelNotFound
from wanworker.models.files.loras import Expert
from wanworker.spec import TASKS, Lora, RenderSpec

HIGH, LOW = (f"wan2.2_i2v_lightx2v_4steps_lora_v1_{half}_noise.safetensors" for half in ("high", "low"))
STYLE = "style.safetensors"
T2V_HIGH = "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors"
I2V_DISTILL = "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors"
BOTH: tuple[Expert, Expert] = ("high", "low")


def chosen(
    *loras: Lora,
    have: Sequence[str] = (HIGH, LOW, STYLE),
    task: str = "i2v-A14B",
    experts: Sequence[Expert] = BOTH,
    use_lora: bool = False,
) -> tuple[tuple[Chosen, ...], list[str]]:
    row = TASKS[task]
    spec = RenderSpec(task, "", row.size, False, row.fps, False, 1, use_lora=use_lora, loras=loras)
    warnings: list[str] = []
    return choose(spec, experts, {"loras": have}, "/workspace/models", warnings), warnings


def test_use_lora_alone_is_the_tasks_own_pair() -> None:
    assert (Chosen(HIGH, "high", 1.0), Chosen(LOW, "low", 1.0)) == chosen(use_lora=True)[0]


@pytest.mark.parametrize(("task", "name"), [("s2v-14B", T2V_HIGH), ("animate-14B", I2V_DISTILL)])
def test_tasks_without_a_pair_of_their_own_take_a_relatives(task: str, name: str) -> None:
    found, warnings = chosen(have=[name], task=task, experts=("high",), use_lora=True)

    assert (Chosen(name, "high", 1.0),) == found
    assert [] == warnings


@pytest.mark.parametrize("name", [HIGH, LOW, HIGH.removesuffix(".safetensors"), "i2v_lightx2v_4steps"])
def test_one_half_brings_its_sibling(name: str) -> None:
    found, warnings = chosen(Lora(name, None, 0.7, 0.7))

    assert (Chosen(HIGH, "high", 0.7), Chosen(LOW, "low", 0.7)) == found
    assert "was added: it is the other half" in warnings[0]


def test_a_lora_that_names_no_half_goes_to_both() -> None:
    found, warnings = chosen(Lora("style", None, 0.7, 0.5))

    assert (Chosen(STYLE, "high", 0.7), Chosen(STYLE, "low", 0.5)) == found
    assert "it is used for both experts" in warnings[0]


def test_several_loras_keep_their_order() -> None:
    found, _ = chosen(Lora(HIGH, LOW), Lora(STYLE, STYLE, 0.5, 0.5))

    assert [HIGH, LOW, STYLE, STYLE] == [lora.file for lora in found]


@pytest.mark.parametrize(
    ("lora", "named"), [(Lora("xyz", None), "xyz"), (Lora(HIGH, None), LOW), (Lora(HIGH, LOW), LOW)]
)
def test_a_missing_lora_is_the_documented_sentence(lora: Lora, named: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        chosen(lora, have=[HIGH])

    assert f"Model '{named}' not found in /workspace/models/" == str(caught.value)


@pytest.mark.parametrize(("expert", "name"), [("high", HIGH), ("low", LOW)])
def test_an_expert_alone_takes_its_own_half(expert: Expert, name: str) -> None:
    found, warnings = chosen(Lora(HIGH, None, 0.7, 0.7), experts=(expert,))

    assert [name] == [lora.file for lora in found]
    assert ([] if expert == "high" else [True]) == ["renders alone" in line for line in warnings]


def test_an_expert_alone_needs_no_other_half() -> None:
    assert (Chosen(HIGH, "high", 0.7),) == chosen(Lora(HIGH, None, 0.7, 0.7), have=[HIGH], experts=("high",))[0]


def test_loaders_are_chained_after_their_model() -> None:
    graph = {
        "7": {"class_type": "UNETLoader", "inputs": {"unet_name": "m"}, "_meta": {"title": "Model"}},
        "8": {"class_type": "ModelSamplingSD3", "inputs": {"model": ["7", 0]}, "_meta": {"title": "Shift"}},
    }
    changed = with_loras(graph, [Chosen("a", "high", 0.5), Chosen("b", "high", 1.0)], {"high": "Model"})

    assert {"model": ["7", 0], "lora_name": "a", "strength_model": 0.5} == changed["9"]["inputs"]
    assert {"model": ["9", 0], "lora_name": "b", "strength_model": 1.0} == changed["10"]["inputs"]
    assert ["10", 0] == changed["8"]["inputs"]["model"]
    assert ["7", 0] == graph["8"]["inputs"]["model"]


def test_the_spec_stays_as_it_was() -> None:
    row = TASKS["i2v-A14B"]
    spec = RenderSpec(row.name, "", row.size, False, row.fps, False, 1, loras=(Lora("style", None),))
    before = dataclasses.replace(spec)
    choose(spec, BOTH, {"loras": [STYLE]}, "/m", [])

    assert before == spec


@pytest.mark.parametrize("experts", [BOTH, ("high",)])
def test_a_bare_name_in_two_folders_is_refused_and_a_folder_tells_which(experts: Sequence[Expert]) -> None:
    have = [f"a/{STYLE}", f"b/{STYLE}"]

    assert {f"b/{STYLE}"} == {each.file for each in chosen(Lora("B\\style", None), have=have, experts=experts)[0]}
    with pytest.raises(ModelNotFound, match=f"any of a/{STYLE}, b/{STYLE}"):
        chosen(Lora(STYLE, None), have=have, experts=experts)
    with pytest.raises(ModelNotFound, match="not found"):
        chosen(Lora("c/style", None), have=have, experts=experts)
