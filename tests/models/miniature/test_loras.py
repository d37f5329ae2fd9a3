"""Which LoRAs the miniature puts in, and what it says of those that it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wanworker.models.files.loras import LoraFile, sibling_of
from wanworker.models.miniature.loras import own_loras
from wanworker.models.miniature.weights import Miniature, Pair
from wanworker.recipes.table import STEP_LORAS
from wanworker.spec import Lora, RenderSpec, Size

HIGH, LOW = (
    Path("/mini/loras/mini_4steps_high_noise.safetensors"),
    Path("/mini/loras/mini_4steps_low_noise.safetensors"),
)
OWN = Miniature(
    "m", (Size(128, 128),), frames=17, steps=20, guidance=4, shift=3, max_text_tokens=64, folders={},
    pair=Pair(HIGH, LOW, ("t2v-A14B", "i2v-A14B"), steps=4, guidance=1, shift=5),
)  # fmt: skip
SPEC = RenderSpec(
    task="t2v-A14B", prompt="a red star", size=Size(64, 64), size_given=True, fps=16, fps_given=False, seed=1
)
BOTH = (LoraFile(HIGH, "high", 1.0), LoraFile(LOW, "low", 1.0))


def asked(*loras: Lora, **changes: object) -> RenderSpec:
    return dataclasses.replace(SPEC, use_lora=True, loras=loras, **changes)


def test_nothing_asked_is_nothing_put_in() -> None:
    assert ((), ()) == own_loras(SPEC, OWN)


def test_use_lora_alone_is_the_own_pair() -> None:
    assert (BOTH, ()) == own_loras(asked(), OWN)


@pytest.mark.parametrize("name", [STEP_LORAS["i2v-A14B"].high, "Wan2.2-Lightning_T2V", "wan2.2_t2v_4steps_high_noise"])
def test_the_own_pair_stands_in_for_wans_few_step_pairs(name: str) -> None:
    files, warnings = own_loras(asked(Lora(high=name, low=sibling_of(name), low_strength=0.5)), OWN)

    assert (BOTH[0], dataclasses.replace(BOTH[1], strength=0.5)) == files
    assert [True] == ["own 4-step pair is used instead" in line for line in warnings]
    assert warnings[0].count(name) == 1


@pytest.mark.parametrize("name", [HIGH.name, LOW.name, "mini_4steps_low_noise", "mini_4steps"])
def test_one_half_by_its_own_name_brings_the_other(name: str) -> None:
    files, warnings = own_loras(asked(Lora(high=name, low=None)), OWN)

    assert BOTH == files
    assert not any("is used instead" in line for line in warnings)


def test_other_loras_are_ignored_and_named() -> None:
    files, warnings = own_loras(asked(Lora(high="film_grain.safetensors", low=None)), OWN)

    assert () == files
    assert ("LoRA film_grain.safetensors was ignored: it is made for Wan, not for the miniature.",) == warnings


@pytest.mark.parametrize(
    ("own", "words"), [(OWN, "t2v-A14B, i2v-A14B"), (dataclasses.replace(OWN, pair=None), "no task")]
)
def test_a_task_without_experts_has_no_pair(own: Miniature, words: str) -> None:
    assert ((), (f"use_lora was ignored: the miniature has LoRAs for {words}.",)) == own_loras(
        asked(task="ti2v-5B"), own
    )
