"""The measure that tells early whether words are heeded: what a wrong word costs.

The loss at high noise with one attribute of the caption replaced, less the loss with the right caption: 0 while the
word is ignored, and well above 0.1 by the time that samples show it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from train_mini import dit
from train_mini.captions import plain_caption
from train_mini.scene import BACKGROUNDS, COLORS, MOTIONS, PAIR_MOTIONS, RELATIONS, SHAPES, Scene

_SIGMA = 0.97
_LEVELS = (0.3, 0.6, 0.8, 0.9, 0.97)
_TOKENS = 64


class Held(Protocol):
    """Clips that no batch holds, and the way from captions to embeddings."""

    words: Callable[[list[str], int], Tensor]

    def validation(self) -> tuple[Tensor, list[Scene]]:
        """Return latents and their scenes."""


@torch.no_grad()
def ignored_words(model: WanTransformer3DModel, source: Held) -> str:
    """Return one line: the loss at some noise levels, and the cost of a wrong word of each kind."""
    latents, scenes = source.validation()
    device = next(model.parameters()).device
    latents = latents.to(device)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1)).to(device)
    nothing = torch.zeros(len(latents), dtype=torch.bool, device=device)

    def loss(shown: list[Scene], sigma: float) -> Tensor:
        text = source.words([plain_caption(each) for each in shown], _TOKENS)
        level = torch.full((len(latents),), sigma, device=device)
        return dit.guess_of(model, dit.Batch(latents, noise, text, level, nothing)).loss

    levels = {sigma: loss(scenes, sigma) for sigma in _LEVELS}
    rng = numpy.random.default_rng(3)
    costs = {}
    for name, replace in _REPLACEMENTS.items():
        wrong = [replace(each, rng) for each in scenes]
        changed = torch.tensor([a != b for a, b in zip(wrong, scenes, strict=True)])
        costs[name] = (loss(wrong, _SIGMA) - levels[_SIGMA])[changed].mean().item()
    said = " ".join(f"{sigma}:{value.mean().item():.3f}" for sigma, value in levels.items())
    return f"{said} | wrong " + " ".join(f"{name} {value:.3f}" for name, value in costs.items())


def _color(scene: Scene, rng: numpy.random.Generator) -> Scene:
    taken = {thing.color for thing in scene.things}
    other = str(rng.choice([each for each in COLORS if each not in taken]))
    return dataclasses.replace(scene, things=(dataclasses.replace(scene.things[0], color=other), *scene.things[1:]))


def _shape(scene: Scene, rng: numpy.random.Generator) -> Scene:
    other = str(rng.choice([each for each in SHAPES if each != scene.things[0].shape]))
    return dataclasses.replace(scene, things=(dataclasses.replace(scene.things[0], shape=other), *scene.things[1:]))


def _pair_shape(scene: Scene, rng: numpy.random.Generator) -> Scene:
    return _shape(scene, rng) if len(scene.things) > 1 else scene


def _motion(scene: Scene, rng: numpy.random.Generator) -> Scene:
    known = PAIR_MOTIONS if len(scene.things) > 1 else MOTIONS
    return dataclasses.replace(scene, motion=str(rng.choice([each for each in known if each != scene.motion])))


def _background(scene: Scene, rng: numpy.random.Generator) -> Scene:
    return dataclasses.replace(
        scene, background=str(rng.choice([each for each in BACKGROUNDS if each != scene.background]))
    )


def _relation(scene: Scene, _rng: numpy.random.Generator) -> Scene:
    other = {RELATIONS[0]: RELATIONS[1], RELATIONS[1]: RELATIONS[0]}
    return dataclasses.replace(scene, relation=other[scene.relation]) if scene.relation else scene


def _order(scene: Scene, _rng: numpy.random.Generator) -> Scene:
    return dataclasses.replace(scene, things=scene.things[::-1])


_REPLACEMENTS: dict[str, Callable[[Scene, numpy.random.Generator], Scene]] = {
    "color": _color,
    "shape": _shape,
    "pair-shape": _pair_shape,
    "motion": _motion,
    "background": _background,
    "relation": _relation,
    "order": _order,
}
