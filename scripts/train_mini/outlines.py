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

from train_mini import vae

#: The ways that an edge may face, and the power of the cosine by which it counts for each: with these two every edge
#: counts 1.5 times its steepness in all, whichever way it faces.
_WAYS = 8
_POWER = 4

#: Edges are counted together within this many pixels, and again each half of it.
_CELL = 12

#: Less steep than this, in a range of 2, is no edge: it keeps gradients finite where a clip is even.
_NO_EDGE = 0.02

#: A clip with less of an edge than this has no outlines to be compared. A whole frame of an empty night has an eighth
#: of it, one with a small thing fifty times as much.
_FEWEST = 0.0005

#: How much outlines weigh beside pixels: of the decoder's parameters their gradient is then 0.5 to 0.7 times as large.
_BESIDE_PIXELS = 0.3


def looks_apart(decoded: Tensor, clips: Tensor, mask: Tensor | None, first: int = 0) -> Tensor:
    """Return how far *decoded* looks from *clips*, pixels and outlines together, a mean over the clips; 0 is the same.

    As in `distance`; mask: how much of a thing there is, None where that is not known: then all of a clip counts alike.
    Of outlines every second frame is looked at, from frame *first* on: it takes half the time.
    """
    things = torch.zeros_like(clips[:, :1]) if mask is None else mask
    outlined = torch.ones_like(clips[:, :1]) if mask is None else mask
    half = slice(first, None, 2)
    outlines = distance(decoded[:, :, half], clips[:, :, half], outlined[:, :, half])
    return vae.distance(decoded, clips, things) + _BESIDE_PIXELS * outlines


def distance(decoded: Tensor, clips: Tensor, weight: Tensor) -> Tensor:
    """Return how far the outlines in *decoded* are from those in *clips*: 0 for the same, 1 for none, at most 2.

    Both are (clips, 3, frames, height, width), about -1 to 1, of 14 pixels each way or more. weight: (clips, 1, frames,
    height, width), 0 where outlines do not count. Each clip counts alike, that of a dim thing at night too. The
    gradient reaches *decoded*.
    """
    asked, seen = _facing(clips), _facing(decoded)
    near = functional.max_pool2d(_frames(weight)[..., 1:-1, 1:-1], _CELL, _CELL // 2)[:, :, None]
    apart, *edges = (
        (near * each).unflatten(0, (len(clips), -1)).mean((1, 4, 5)).sum((1, 2))
        for each in ((seen - asked).abs(), asked, seen.detach())
    )
    return (apart / torch.maximum(*edges).clamp(min=_FEWEST)).mean()


def _facing(clips: Tensor) -> Tensor:
    """Return how much of an edge faces each way about each place: (clips x frames, ways, colours, rows, columns)."""
    frames = _frames(clips)
    # Each over two pixels of the other direction: both are then the steepness between the same four pixels.
    down = functional.avg_pool2d(frames[..., 1:, :] - frames[..., :-1, :], (1, 2), 1)
    across = functional.avg_pool2d(frames[..., 1:] - frames[..., :-1], (2, 1), 1)
    down, across = (functional.avg_pool2d(each, 2, 1) for each in (down, across))
    angles = [2 * math.pi * way / _WAYS for way in range(_WAYS)]
    facing = torch.stack([(math.sin(angle) * down + math.cos(angle) * across).relu() for angle in angles], 1)
    steepness = (down.square() + across.square() + _NO_EDGE**2).sqrt()[:, None]
    counted = facing**_POWER / steepness ** (_POWER - 1)
    return functional.avg_pool2d(counted.flatten(1, 2), _CELL, _CELL // 2).unflatten(1, (_WAYS, -1))


def _frames(clips: Tensor) -> Tensor:
    return clips.movedim(2, 1).flatten(0, 1)
