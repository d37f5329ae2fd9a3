"""How alike two clips' outlines are, wherever exactly they run: what tells a sharp corner a pixel off from a blunt one.

Pixel by pixel a corner that may be here or there is best drawn round, which is wrong wherever it is. What is compared
here is how much of an edge faces each way within a few pixels (histograms of oriented gradients: Dalal and Triggs,
2005): a square's corner has two ways, a ball's rim has all between.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: The ways that an edge may face, and how narrowly each is meant.
_WAYS = 8
_NARROWNESS = 4

#: Edges are counted together within this many pixels, and again each half of it.
_CELL = 12

#: Less of an edge than this is none: it keeps gradients finite where a clip is even. A white thing's edge has about 1.
_NO_EDGE = 0.02


def distance(decoded: Tensor, clips: Tensor, mask: Tensor) -> Tensor:
    """Return how far the outlines of things in *decoded* are from those in *clips*, 0 for the same, 1 for none.

    Both are (clips, 3, frames, height, width), -1 to 1; mask: (clips, 1, frames, height, width), 1 where things are.
    Each clip's outlines count alike, those of a dim thing at night too.
    """
    asked, seen = _facing(clips), _facing(decoded)
    near = functional.max_pool2d(_frames(mask)[..., 1:-1, 1:-1], _CELL, _CELL // 2)[:, :, None]
    edges = (near * asked).unflatten(0, (len(clips), -1)).sum((1, 2, 3, 4, 5))
    apart = (near * (seen - asked).abs()).unflatten(0, (len(clips), -1)).sum((1, 2, 3, 4, 5))
    return (apart / (edges + _NO_EDGE)).mean()


def _facing(clips: Tensor) -> Tensor:
    """Return how much of an edge faces each way about each place: (clips x frames, ways, colours, rows, columns)."""
    frames = functional.avg_pool2d(_frames(clips), 2, 1)
    down, across = frames[..., 1:, :-1] - frames[..., :-1, :-1], frames[..., :-1, 1:] - frames[..., :-1, :-1]
    angles = [2 * math.pi * way / _WAYS for way in range(_WAYS)]
    facing = [(math.sin(angle) * down + math.cos(angle) * across).relu() for angle in angles]
    steepness = (down.square() + across.square() + _NO_EDGE**2).sqrt()
    narrow = torch.stack([each**_NARROWNESS / steepness ** (_NARROWNESS - 1) for each in facing], 1)
    return functional.avg_pool2d(narrow.flatten(1, 2), _CELL, _CELL // 2).unflatten(1, (_WAYS, -1))


def _frames(clips: Tensor) -> Tensor:
    return clips.movedim(2, 1).flatten(0, 1)
