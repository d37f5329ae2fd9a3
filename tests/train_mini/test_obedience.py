"""What a wrong word costs a network that reads, one that does not, and how words are replaced."""

from __future__ import annotations

import dataclasses
import re

import numpy
import pytest
import torch
from torch import Tensor, nn

from train_mini.captions import plain_caption
from train_mini.obedience import _REPLACEMENTS, ignored_words
from train_mini.scene import Scene, draw_scene

CLIPS = 12
KINDS = ("color", "shape", "pair-shape", "motion", "background", "relation", "order")


class Held:
    """Clips at random; a caption's embedding is the number of its clip, and -1 where it is another's caption."""

    def __init__(self) -> None:
        rng = numpy.random.default_rng(0)
        self.scenes = [draw_scene(rng, things=1 + index % 2) for index in range(CLIPS)]
        self.latents = torch.randn(CLIPS, 24, 2, 2, 2, generator=torch.Generator().manual_seed(0))

    def words(self, captions: list[str], tokens: int) -> Tensor:
        right = [plain_caption(each) for each in self.scenes]
        numbers = [index if said == right[index] else -1 for index, said in enumerate(captions)]
        return torch.tensor(numbers).view(-1, 1, 1).expand(-1, tokens, 64)

    def validation(self) -> tuple[Tensor, list[Scene]]:
        return self.latents, self.scenes


class Reader(nn.Module):
    """Know each clip by its caption, and say which way is its noise; nothing after another caption."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self.held, self.unused = held, nn.Parameter(torch.zeros(1))

    def forward(self, noisy: Tensor, time: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        is_right = (text[:, 0, 0] >= 0).float().view(-1, 1, 1, 1, 1)
        return (is_right * (noisy - self.held.latents) / (time[:, 0] / 1000).view(-1, 1, 1, 1, 1),)


class Deaf(Reader):
    def forward(self, noisy: Tensor, time: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        return (torch.zeros_like(noisy),)


def told(model: nn.Module, held: Held) -> tuple[list[float], dict[str, float]]:
    """Return what the line says: the losses by noise level, and the costs by kind of word."""
    levels, costs = ignored_words(model, held).split(" | wrong ")
    return [float(each.split(":")[1]) for each in levels.split()], {
        name: float(cost) for name, cost in re.findall(r"(\S+) (\S+)", costs)
    }


def test_a_wrong_word_costs_a_reader_the_whole_clip() -> None:
    losses, costs = told(Reader(Held()), Held())

    assert [0] * 5 == losses
    assert KINDS == tuple(costs)
    # Noise less latent, both of spread 1.
    assert all(2 == pytest.approx(cost, abs=0.3) for cost in costs.values())


def test_a_wrong_word_costs_nothing_where_words_are_ignored() -> None:
    losses, costs = told(Deaf(Held()), Held())

    assert all(2 == pytest.approx(each, abs=0.3) for each in losses)
    assert dict.fromkeys(KINDS, 0.0) == costs


def test_the_line_is_the_same_each_time() -> None:
    assert ignored_words(Reader(Held()), Held()) == ignored_words(Reader(Held()), Held())


@pytest.mark.parametrize("kind", ["color", "shape", "motion", "background"])
def test_one_attribute_is_replaced_by_another_value_of_its_own(kind: str) -> None:
    rng = numpy.random.default_rng(1)
    for _ in range(100):
        scene = draw_scene(rng)
        wrong = _REPLACEMENTS[kind](scene, rng)
        if kind in {"color", "shape"}:
            back = dataclasses.replace(wrong.things[0], **{kind: getattr(scene.things[0], kind)})
            mended = dataclasses.replace(wrong, things=(back, *wrong.things[1:]))
        else:
            mended = dataclasses.replace(wrong, **{kind: getattr(scene, kind)})

        assert wrong != scene == mended
        assert len({thing.color for thing in wrong.things}) == len(wrong.things)


def test_relation_order_and_shape_of_a_pair_are_replaced_in_pairs_only() -> None:
    rng = numpy.random.default_rng(2)
    single, pair = (draw_scene(rng, things=things) for things in (1, 2))
    replaced = {kind: _REPLACEMENTS[kind](pair, rng) for kind in ("relation", "order", "pair-shape")}

    assert [single] * 3 == [_REPLACEMENTS[kind](single, rng) for kind in replaced]
    assert pair.things[::-1] == replaced["order"].things
    assert {"above", "left"} == {pair.relation, replaced["relation"].relation}
    assert pair.things[0].shape != replaced["pair-shape"].things[0].shape
