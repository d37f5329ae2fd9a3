"""The cards that WAN_GPUS names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from wanworker.engines.cards.named import cards_named
from wanworker.models.machine.hardware import Gpu
from wanworker.settings import BadSettings, Card, child_environment, load_settings

TWO = (Gpu("NVIDIA H200", 143_771, "9.0", "580.95"),) * 2


@pytest.mark.parametrize(
    ("text", "visible", "expected"),
    [
        (None, None, [(0, None)]),
        ("0,1", None, [(0, "0"), (1, "1")]),
        ("1", None, [(1, "1")]),
        ("all", None, [(0, "0"), (1, "1")]),
        ("all", "5,3", [(0, "5"), (1, "3")]),
        ("1", "GPU-aa,GPU-bb", [(1, "GPU-bb")]),
        ("3", "5,3", [(3, "")]),
        ("cpu:2", None, [(0, ""), (1, "")]),
    ],
)
def test_the_cards_that_a_text_names(
    text: str | None, visible: str | None, expected: list[tuple[int, str | None]]
) -> None:
    cards = cards_named(text, visible=visible, seen=lambda: TWO)

    assert expected == [(card.number, card.visible) for card in cards]
    assert list(range(len(cards))) == [card.place for card in cards]


def test_without_a_gpu_all_is_the_one_place_of_every_worker() -> None:
    assert (Card(),) == cards_named("all", visible=None, seen=tuple)


def test_the_driver_is_asked_only_where_all_cards_are_wanted() -> None:
    def unasked() -> Sequence[Gpu]:
        raise AssertionError("nvidia-smi was asked")

    for text in (None, "0,1", "cpu:3"):
        assert cards_named(text, visible=None, seen=unasked)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("all", "all"), (" ALL ", "all"), ("0, 1", "0,1"), ("01", "1"), ("CPU:2", "cpu:2"), (" ", None), ("1,0,", "1,0")],
)
def test_the_setting_is_read(text: str, kept: str | None) -> None:
    assert kept == load_settings({"WAN_GPUS": text}).gpus


@pytest.mark.parametrize("text", ["cpu", "cpu:0", "cpu:65", "gpu0", "0,x", "-1", "0,0", "1,01", "64", "all,0"])
def test_any_other_text_stops_the_start_and_names_the_variable(text: str) -> None:
    with pytest.raises(BadSettings, match="WAN_GPUS"):
        load_settings({"WAN_GPUS": text})


def test_a_child_sees_its_own_card_only_and_by_the_number_of_the_driver() -> None:
    kept = {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST", "OMP_NUM_THREADS": "4"}
    on_card = child_environment(kept, card=Card(1, "1", place=1))
    on_cpu = child_environment({}, card=Card(1, "", is_cpu=True, place=1))
    anywhere = child_environment(kept)

    assert ("1", "PCI_BUS_ID", "4") == tuple(on_card[name] for name in kept)
    assert ("", "1") == (on_cpu["CUDA_VISIBLE_DEVICES"], on_cpu["OMP_NUM_THREADS"])
    assert kept.items() <= anywhere.items()


def test_each_card_has_a_port_of_its_own_for_comfyui() -> None:
    settings = load_settings({"COMFYUI_PORT": "8188"})
    high = load_settings({"COMFYUI_PORT": "65530"})

    ports = [settings.on_card(Card(number, str(number), place=number)).comfyui_port for number in range(3)]
    assert [8188, 8198, 8208] == ports
    assert 65_520 == high.on_card(Card(3, "3", place=1)).comfyui_port
    assert Card(2, "2", place=1) == settings.on_card(Card(2, "2", place=1)).card
