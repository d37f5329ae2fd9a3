"""What the text encoder is asked while it learns: linear probes that every output token must satisfy.

Telling whose colour is whose is learned late or never from the outputs alone: the order in a caption says nothing
without its words ("a ball below a star"). So the words themselves are asked, a layer earlier, which thing they mean.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from train_mini import words
from train_mini.scene import BACKGROUNDS, COLORS, MOTIONS, RELATIONS, SHAPES, SIZES, Scene

#: What the probes read, and its values. None is open; an unsaid size is a medium one.
_THING = {"color": tuple(COLORS), "shape": SHAPES, "size": SIZES}
ATTRIBUTES: dict[str, tuple[object, ...]] = {
    "number": (1, 2),
    **{f"{name} {place}": (None, *values) for place in (1, 2) for name, values in _THING.items()},
    "relation": (None, *RELATIONS),
    "motion": (None, *MOTIONS),
    "background": (None, *BACKGROUNDS),
}

#: The layer whose output tells which thing a word means: all but the last have read the neighbours by then.
_ROLE_LAYER = -2
_ROLE_WEIGHT = 3.0
_IGNORED = -100

#: What colour or shape a word means.
_MEANINGS = {word: ("color", color) for color, said in words.COLOR_WORDS.items() for word in said}
_MEANINGS |= {word: ("shape", shape) for shape, said in words.SHAPE_WORDS.items() for pair in said for word in pair}


class Reader(nn.Module):
    """An encoder with its probes."""

    def __init__(self, encoder: Any, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.probes = nn.Linear(width, sum(map(len, ATTRIBUTES.values())))
        self.roles = nn.Linear(width, 2)

    def loss(self, ids: Tensor, mask: Tensor, values: Tensor, roles: Tensor) -> Tensor:
        """Return how far outputs are from telling *values*, (captions, attributes), and words from their *roles*."""
        read = self.encoder(ids, mask, output_hidden_states=True)
        targets = values.repeat_interleave(mask.sum(1), 0).T
        scores = self._scores(read.last_hidden_state[mask.bool()])
        told = sum(nn.functional.cross_entropy(*each) for each in zip(scores, targets, strict=True))
        early = self.roles(nn.functional.rms_norm(read.hidden_states[_ROLE_LAYER], self.probes.weight.shape[1:]))
        meant = nn.functional.cross_entropy(
            early.flatten(0, 1), roles.flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        return told + _ROLE_WEIGHT * meant / (roles != _IGNORED).sum().clamp_min(1)

    @torch.no_grad()
    def right(self, ids: Tensor, mask: Tensor, values: Tensor) -> Tensor:
        """Return for each token that is no padding whether it tells each attribute, (tokens, attributes)."""
        scores = self._scores(self.encoder(ids, mask).last_hidden_state[mask.bool()])
        return torch.stack([each.argmax(-1) for each in scores], 1) == values.repeat_interleave(mask.sum(1), 0)

    def _scores(self, states: Tensor) -> list[Tensor]:
        scores: Tensor = self.probes(states)
        return list(scores.split([len(values) for values in ATTRIBUTES.values()], -1))


def values_of(scene: Scene) -> list[int]:
    """Return the index of each attribute's value among ATTRIBUTES, in their order."""
    said: dict[str, object] = {"number": len(scene.things), "relation": scene.relation}
    said |= {"motion": scene.motion, "background": scene.background}
    for place, thing in enumerate(scene.things, 1):
        said |= {f"color {place}": thing.color, f"shape {place}": thing.shape, f"size {place}": thing.size or "medium"}
    return [values.index(said.get(name)) for name, values in ATTRIBUTES.items()]


def roles_of(scene: Scene, tokens: list[str]) -> list[int]:
    """Return which of two things each token means: 0 or 1, or -100 where it means neither or that is not certain."""
    meanings = [_MEANINGS.get(token) for token in tokens]
    return [_role(scene, each) if each and meanings.count(each) == 1 else _IGNORED for each in meanings]


def _role(scene: Scene, meaning: tuple[str, str]) -> int:
    name, value = meaning
    meant = [place for place, thing in enumerate(scene.things) if getattr(thing, name) == value]
    return meant[0] if len(meant) == 1 and len(scene.things) > 1 else _IGNORED
