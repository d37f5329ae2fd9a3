"""What a denoiser makes of a clip: covered with noise, then walked back with its caption and perhaps its picture."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from train_mini import dit
from train_mini.vae import CHANNELS

_GUIDANCE = 4.0

#: A network's own mistakes are made in this many steps.
_STEPS = 3

#: From more noise than this another clip may come out: nothing would lead back to the drawn one.
_LARGEST_START = 0.9

#: Under less noise than the first a walk never ends; under less than the second what is asked, a clip's mistakes over
#: the noise that is left, would grow without end, so there mistakes count as they are seen.
_SMALLEST_END = 0.05
_EVEN_SIGMA = 0.3


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """Clips, and how far they are walked.

    latents and noise: (clips, channels, frames, height, width); start and end: (clips,), the noise levels; texts: what
    is asked and nothing, each (clips, tokens, width); begins: (clips,), whether the first frame is given; pictures:
    like latents, the condition of A14B's experts.
    """

    latents: Tensor
    noise: Tensor
    start: Tensor
    end: Tensor
    texts: tuple[Tensor, Tensor]
    begins: Tensor
    pictures: Tensor


@torch.no_grad()
def walked(model: WanTransformer3DModel, way: Way, steps: int) -> Tensor:
    """Return the clips of *way*, covered with noise up to its start, as *model* leaves them at its end, guided.

    A first frame is given to an expert beside the noise, to the one network of ti2v by leaving it without noise.
    """
    is_expert = model.config.in_channels > CHANNELS
    free = torch.ones_like(way.latents[:, :1, :, :1, :1])
    if not is_expert:
        free[way.begins, :, 0] = 0
    beside = dit.beside(way.pictures, way.begins) if is_expert else way.latents[:, :0]
    x = way.latents + way.start.view(-1, 1, 1, 1, 1) * free * (way.noise - way.latents)
    for passed, next_passed in itertools.pairwise(torch.linspace(0, 1, steps + 1).tolist()):
        now, then = (way.start + (way.end - way.start) * share for share in (passed, next_passed))
        times = now * dit.NUM_TIMESTEPS if is_expert else dit.token_times(now.view(-1, 1, 1, 1, 1) * free, x)
        seen = torch.cat([x, beside], 1).repeat(2, 1, 1, 1, 1)
        said = model(seen, torch.cat([times, times]), torch.cat(way.texts), return_dict=False)[0]
        guided, unguided = said.chunk(2)
        x = x + (then - now).view(-1, 1, 1, 1, 1) * free * (unguided + _GUIDANCE * (guided - unguided))
    return x


def strayed(model: WanTransformer3DModel, batch: dit.Batch, pictures: Tensor, nothing: Tensor) -> dit.Batch:
    """Return *batch* with its first clips where *model* leads them, covered by what is asked to go back to the clip.

    `batch.left` says of how many, and how much of its noise each keeps. nothing: the empty caption, (1, tokens, width).
    """
    count = len(batch.left)
    if not count:
        return batch
    start = batch.sigma[:count].clamp(max=_LARGEST_START)
    end = (start * batch.left).clamp(min=_SMALLEST_END)
    texts = batch.text[:count], nothing.expand(count, -1, -1)
    way = Way(batch.latents[:count], batch.noise[:count], start, end, texts, batch.begins[:count], pictures[:count])
    noise, sigma, weight = batch.noise.clone(), batch.sigma.clone(), batch.weight.clone()
    there = end.view(-1, 1, 1, 1, 1)
    noise[:count] = (walked(model, way, _STEPS) - (1 - there) * way.latents) / there
    sigma[:count] = end
    weight[:count] = (end / end.clamp(min=_EVEN_SIGMA)) ** 2
    astray = batch.astray if batch.astray is None else batch.astray.clone()
    if astray is not None:
        astray[:count] = 0
    return dataclasses.replace(batch, noise=noise, sigma=sigma, weight=weight, astray=astray)
