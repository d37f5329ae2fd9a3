"""Where weights go, by their size and the card's."""

from __future__ import annotations

import pytest

from wanworker.engines.resident.placement import lacking_for, placement_for
from wanworker.models.machine.hardware import Gpu

GIB = 2**30
# wan.md 5: an A14B expert in bfloat16, the text encoder, and the 5B model.
A14B = {"transformer": 27 * GIB, "transformer_2": 27 * GIB, "text_encoder": 11 * GIB, "vae": GIB // 2}
TI2V_5B = {"transformer": 10 * GIB, "text_encoder": 11 * GIB, "vae": 3 * GIB}


def card(gib: int) -> tuple[Gpu, ...]:
    return (Gpu("a card", gib * 1024, "9.0", "580"),)


@pytest.mark.parametrize(
    ("sizes", "gib", "expected"),
    [(A14B, 141, "resident"), (A14B, 80, "offload"), (TI2V_5B, 48, "resident"), (TI2V_5B, 32, "offload")],
)
def test_weights_stay_on_the_card_while_they_and_the_activations_fit(
    sizes: dict[str, int], gib: int, expected: str
) -> None:
    assert expected == placement_for(sizes, card(gib))


def test_the_caller_decides_about_offloading() -> None:
    assert "offload" == placement_for(TI2V_5B, card(141), offload_model=True)
    assert "resident" == placement_for(A14B, card(24), offload_model=False)


def test_without_a_card_everything_is_on_the_cpu() -> None:
    assert "cpu" == placement_for(A14B, (), offload_model=False)
    assert ("no NVIDIA GPU",) == lacking_for(A14B, (), 500_000)


def test_a_card_too_small_for_the_largest_part_is_lacking() -> None:
    (line,) = lacking_for(A14B, card(32), 500_000)

    assert "a card has 32 GiB; about 35 GiB are needed" == line
    assert () == lacking_for(TI2V_5B, card(24), 500_000)


def test_offloading_needs_memory_for_all_weights() -> None:
    (line,) = lacking_for(A14B, card(48), 30 * 1024)

    assert "30 GiB of memory are free; the offloaded weights take 65 GiB" == line
    assert () == lacking_for(A14B, card(48), None)
