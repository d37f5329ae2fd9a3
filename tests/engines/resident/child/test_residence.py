"""Parts that come and go by their placement, on a card that is a part of main memory."""

from __future__ import annotations

import pytest
import torch

from wanworker.engines.resident.child._residence import Copier, Residence, to_host
from wanworker.engines.resident.protocol import Placement

NAMES = ("text_encoder", "transformer", "transformer_2", "vae")
CUDA = torch.device("cuda")

Parts = dict[str, torch.nn.Module]


class FakeCard(Copier):
    """Copies that were made to the card, by where they are."""

    def __init__(self) -> None:
        self.there: list[torch.Tensor] = []

    def is_on(self, tensor: torch.Tensor, device: torch.device) -> bool:
        """Say whether it was copied there."""
        is_there = any(tensor.data_ptr() == other.data_ptr() for other in self.there)
        return is_there is (device.type == "cuda")

    def copied(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Copy, and note where."""
        made = tensor.clone()
        self.there += [made] if device.type == "cuda" else []
        return made


@pytest.fixture
def parts() -> Parts:
    made: Parts = {name: torch.nn.Linear(2, 2) for name in NAMES}
    for part in made.values():
        part.register_buffer("table", torch.ones(3))
    return made


@pytest.fixture
def card() -> FakeCard:
    return FakeCard()


def on_card(parts: Parts, card: FakeCard) -> set[str]:
    """The parts that are there as a whole; none may be there by half."""
    there = {
        name: {card.is_on(tensor, CUDA) for tensor in (*part.parameters(), *part.buffers())}
        for name, part in parts.items()
    }
    assert all(len(places) == 1 for places in there.values())
    return {name for name, places in there.items() if places == {True}}


def needed_in_turn(parts: Parts, card: FakeCard, placement: Placement) -> list[set[str]]:
    """What is on the card after each need of a job with two experts."""
    residence = Residence(parts, CUDA, card)
    residence.follow(placement)
    seen = []
    for name in NAMES:
        residence.need(name)
        seen.append(on_card(parts, card))
    return seen


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement("cuda"), [set(NAMES)] * 4),
        (
            Placement("cuda", experts="evicted", text_encoder="evicted", vae="evicted"),
            [{"text_encoder"}, {"transformer"}, {"transformer_2"}, {"vae"}],
        ),
        (
            Placement("cuda", experts="slot", text_encoder="evicted"),
            [{"text_encoder", "vae"}, {"transformer", "vae"}, {"transformer_2", "vae"}, {"transformer_2", "vae"}],
        ),
        (
            Placement("cuda", experts="evicted", text_encoder="cpu", vae="evicted"),
            [set(), {"transformer"}, {"transformer_2"}, {"vae"}],
        ),
    ],
)
def test_what_is_on_the_card_follows_the_placement(
    parts: Parts, card: FakeCard, placement: Placement, expected: list[set[str]]
) -> None:
    assert expected == needed_in_turn(parts, card, placement)


def test_a_part_comes_back_from_its_copy_bit_for_bit_with_what_was_added(parts: Parts, card: FakeCard) -> None:
    vae = parts["vae"]
    before = [tensor.clone() for tensor in vae.parameters()]
    residence = Residence(parts, CUDA, card)
    residence.follow(Placement("cuda", experts="evicted", text_encoder="evicted", vae="evicted"))
    residence.need("vae")
    was_away = on_card(parts, card)
    vae.register_parameter("late", torch.nn.Parameter(torch.full((2,), 7.0)))
    residence.withdraw()

    assert {"vae"} == was_away
    assert set() == on_card(parts, card)
    assert all(torch.equal(a, b) for a, b in zip(before, list(vae.parameters())[:2], strict=True))
    assert [7.0, 7.0] == list(vae.late)


def test_an_expert_comes_when_it_is_called(parts: Parts, card: FakeCard) -> None:
    residence = Residence(parts, CUDA, card)
    residence.follow(Placement("cuda", experts="slot", text_encoder="evicted"))
    parts["transformer"](torch.ones(1, 2))
    first = on_card(parts, card)
    parts["transformer_2"](torch.ones(1, 2))

    assert {"transformer", "vae"} == first
    assert {"transformer_2", "vae"} == on_card(parts, card)


def test_another_placement_moves_only_what_it_must(parts: Parts, card: FakeCard) -> None:
    residence = Residence(parts, CUDA, card)
    residence.follow(Placement("cuda", experts="evicted", text_encoder="evicted"))
    residence.need("transformer")
    residence.follow(Placement("cuda", experts="evicted", text_encoder="resident", vae="evicted"))

    assert {"text_encoder"} == on_card(parts, card)


def test_on_the_cpu_nothing_moves_whatever_the_placement(parts: Parts) -> None:
    places = [tensor.data_ptr() for part in parts.values() for tensor in part.parameters()]
    residence = Residence(parts, torch.device("cpu"))
    residence.follow(Placement("cuda", experts="slot", text_encoder="evicted", vae="evicted"))
    for name in NAMES:
        assert torch.device("cpu") == residence.need(name)

    assert places == [tensor.data_ptr() for part in parts.values() for tensor in part.parameters()]


def test_a_lora_that_came_with_a_job_is_the_parts_own_memory_and_nothing_that_is_left(
    parts: Parts, card: FakeCard
) -> None:
    residence = Residence(parts, CUDA, card)
    residence.follow(Placement("cuda", text_encoder="evicted", vae="evicted"))
    before = residence.device_bytes()

    parts["transformer"].add_module("lora_a", torch.nn.Linear(100, 100, bias=False))
    residence.need("transformer")

    assert before + 100 * 100 * 4 == residence.device_bytes()
    assert 2 * (2 * 2 + 2 + 3) * 4 == before
    assert 0 == Residence(parts, torch.device("cpu")).device_bytes()


def test_what_the_next_model_shares_is_brought_back_unchanged_and_comes_again(parts: Parts, card: FakeCard) -> None:
    before = parts["text_encoder"].weight.clone()
    Residence(parts, CUDA, card).follow(Placement("cuda"))
    assert "text_encoder" in on_card(parts, card)

    to_host(parts["text_encoder"], card)
    to_host("a tokenizer", card)

    assert "text_encoder" not in on_card(parts, card)
    assert torch.equal(before, parts["text_encoder"].weight)
    following = Residence({"text_encoder": parts["text_encoder"]}, CUDA, card)
    following.follow(Placement("cuda", text_encoder="evicted"))
    following.need("text_encoder")
    assert "text_encoder" in on_card(parts, card)
