from __future__ import annotations

import pytest
import torch

from train_mini.probes import ATTRIBUTES, Reader, roles_of, values_of
from train_mini.scene import Scene, Thing
from train_mini.text_encoder import WIDTH, build_encoder

UNDER = Scene((Thing("red", "ball"), Thing("green", "star")), None, "field", "above")


def test_values_name_the_upper_thing_first_and_what_is_open() -> None:
    scene = Scene((Thing("red", None), Thing("blue", "star", None)), "up", None, "above")
    said = {name: ATTRIBUTES[name][index] for name, index in zip(ATTRIBUTES, values_of(scene), strict=True)}

    assert {
        "number": 2, "color 1": "red", "shape 1": None, "size 1": "medium", "color 2": "blue", "shape 2": "star",
        "size 2": "medium", "relation": "above", "motion": "up", "background": None,
    } == said  # fmt: skip


def test_a_single_thing_has_no_second() -> None:
    values = values_of(Scene((Thing("red", "ball"),), "up", "sea"))
    open_ones = [name for name, index in zip(ATTRIBUTES, values, strict=True) if ATTRIBUTES[name][index] is None]

    assert ["color 2", "shape 2", "size 2", "relation"] == open_ones


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("an emerald star below a crimson ball </s>", [None, 1, 1, None, None, 0, 0, None]),
        ("a green star below a red ball on green grass", [None, None, 1, None, None, 0, 0, None, None, None]),
        ("a blue ball", [None, None, 0]),
    ],
)
def test_words_know_their_thing_unless_they_may_mean_something_else(text: str, roles: list[int | None]) -> None:
    assert [-100 if role is None else role for role in roles] == roles_of(UNDER, text.split())


def test_a_word_of_two_things_or_of_the_only_one_has_no_role() -> None:
    balls = Scene((Thing("red", "ball"), Thing("blue", "ball")), None, None)
    single = Scene((Thing("red", "ball"),), None, None)

    assert [-100, 0, -100, -100, 1, -100] == roles_of(balls, ["a", "red", "ball", "a", "blue", "one"])
    assert [-100, -100, -100] == roles_of(single, ["a", "red", "ball"])


def test_captions_without_roles_have_a_loss_and_padding_has_no_say() -> None:
    torch.manual_seed(0)
    reader = Reader(build_encoder(), WIDTH)
    ids, mask = torch.tensor([[5, 6, 1, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]])
    values = torch.tensor([values_of(UNDER)])
    none = torch.full((1, 5), -100)
    padded = reader.loss(ids, mask, values, none)
    short = reader.loss(ids[:, :3], mask[:, :3], values, none[:, :3])

    assert short.item() == pytest.approx(padded.item(), rel=1e-5)
    assert reader.loss(ids[:, :3], mask[:, :3], values, torch.tensor([[0, 1, -100]])) > short
    assert (3, len(ATTRIBUTES)) == reader.right(ids, mask, values).shape
