"""The denoiser: diffusers' own Wan 2.2 transformer, small, what it makes of a batch, and how wrong that is.

Flow matching as Wan does it: x = (1 - sigma) z + sigma noise, and the network says noise - z.
"""

from __future__ import annotations

import dataclasses

import numpy
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from train_mini.vae import CHANNELS

PATCH = (1, 2, 2)

#: The mask and the picture that Wan 2.2 A14B's image-to-video experts get beside the noise: 4 channels, and one latent.
PICTURE_CHANNELS = 4 + CHANNELS

TEXT_WIDTH = 64

#: Prompts are padded with zeros that take part in the attention, so the length must vary for it not to matter.
_PAD_TOKENS = (48, 64, 96, 512)
_PAD_CHANCES = (0.45, 0.45, 0.095, 0.005)

#: Only at high noise does the prompt decide: an even draw is shifted towards it, as Wan's own sampler does.
_SHIFT = 4.0
NUM_TIMESTEPS = 1000

#: How much more a given first frame weighs than a later one: the experts draw it anew, and it must be the same.
_GIVEN_WEIGHT = 4.0

#: Under so little noise an error would be most of what is seen.
_SMALLEST_SIGMA = 0.1


def build(in_channels: int = CHANNELS) -> WanTransformer3DModel:
    """Return an untrained denoiser of 1.7 million parameters; it says 0 everywhere at first."""
    model = WanTransformer3DModel(
        patch_size=PATCH, num_attention_heads=5, attention_head_dim=32, in_channels=in_channels, out_channels=CHANNELS,
        text_dim=TEXT_WIDTH, freq_dim=128, ffn_dim=480, num_layers=4, rope_max_seq_len=64, cross_attn_norm=True,
    )  # fmt: skip
    with torch.no_grad():
        model.proj_out.weight.zero_()
        model.proj_out.bias.zero_()
        for block in model.blocks:  # gates that are a little open: the first steps reach every layer
            block.scale_shift_table[:, 2] += 0.3
            block.scale_shift_table[:, 5] += 0.3
    return model


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Say whether Muon moves this parameter: the blocks' own matrices."""
    return name.startswith("blocks.") and parameter.ndim == 2


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Clips to learn from.

    latents and noise: (clips, channels, frames, height, width); text: (clips, tokens, width); sigma: (clips,), 0 to 1;
    begins: (clips,), whether the clip's first frame is given; astray: (clips,), how much of another clip's first frame
    has got into a given one on the way, None for nothing; left: (walked clips,), the share of its noise that each of
    the first clips keeps, for the network leads them itself (`walking.strayed`); weight: how much each clip counts.
    """

    latents: Tensor
    noise: Tensor
    text: Tensor
    sigma: Tensor
    begins: Tensor
    astray: Tensor | None = None
    left: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0))
    weight: Tensor = dataclasses.field(default_factory=lambda: torch.ones(1))


@dataclasses.dataclass(frozen=True, slots=True)
class Guess:
    """What a network makes of a batch.

    loss: (clips,), how wrong it is; clean: (clips, channels, frames, height, width), the latents that it believes to be
    under the noise.
    """

    loss: Tensor
    clean: Tensor


def guess_of(model: WanTransformer3DModel, batch: Batch) -> Guess:
    """Return what *model* makes of *batch*, as ti2v-5B: a given first frame stays clean, its tokens at time 0."""
    clips, _, frames, _, _ = batch.latents.shape
    free = torch.ones(clips, 1, frames, 1, 1, device=batch.latents.device)
    free[batch.begins, :, 0] = 0
    sigma = batch.sigma.view(-1, 1, 1, 1, 1) * free
    noisy = (1 - sigma) * batch.latents + sigma * batch.noise
    said = model(noisy, token_times(sigma, batch.latents), batch.text, return_dict=False)[0]
    return Guess(_per_clip((said - (batch.noise - batch.latents)).pow(2), free), noisy - sigma * said)


def token_times(sigma: Tensor, latents: Tensor) -> Tensor:
    """Return the time of each token, (clips, tokens), where *sigma* is (clips, 1, frames, 1, 1)."""
    height, width = latents.shape[-2:]
    tokens = (height // PATCH[1]) * (width // PATCH[2])
    return (sigma.flatten(1) * NUM_TIMESTEPS).repeat_interleave(tokens, 1)


def expert_guess_of(model: WanTransformer3DModel, batch: Batch, pictures: Tensor) -> Guess:
    """Return what *model* makes of *batch*, as A14B: one time a clip; mask and picture beside the noise.

    pictures: like latents, the encoded condition; taken where `batch.begins`, zeros elsewhere. A given first frame that
    went astray is asked to come back: what it should be is known.
    """
    sigma = batch.sigma.view(-1, 1, 1, 1, 1)
    noise = batch.noise if batch.astray is None else _with_errors(batch, batch.astray)
    noisy = (1 - sigma) * batch.latents + sigma * noise
    whole = torch.cat([noisy, beside(pictures, batch.begins)], 1)
    said = model(whole, batch.sigma * NUM_TIMESTEPS, batch.text, return_dict=False)[0]
    weight = torch.ones_like(noisy[:, :1, :, :1, :1])
    weight[batch.begins, :, 0] = _GIVEN_WEIGHT
    return Guess(_per_clip((said - (noise - batch.latents)).pow(2), weight), noisy - sigma * said)


def _with_errors(batch: Batch, astray: Tensor) -> Tensor:
    """Return the noise that covers given first frames so that they are *astray* of another clip's."""
    share = astray / batch.sigma.clamp(min=_SMALLEST_SIGMA) * batch.begins
    other = batch.latents.roll(1, 0)[:, :, 0] - batch.latents[:, :, 0]
    noise = batch.noise.clone()
    noise[:, :, 0] += share.view(-1, 1, 1, 1) * other
    return noise


def beside(pictures: Tensor, begins: Tensor) -> Tensor:
    """Return mask and picture, (clips, 4 + channels, frames, height, width), all zeros where nothing is given."""
    clips, _, frames, height, width = pictures.shape
    mask = torch.zeros(clips, 4, frames, height, width, device=pictures.device)
    mask[:, :, 0] = 1
    return torch.cat([mask, pictures], 1) * begins.view(-1, 1, 1, 1, 1)


def spread_sigmas(rng: numpy.random.Generator, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return *count* noise levels from *low* to *high*, one from each of as many equal parts, in random order."""
    # The inverse of the shift gives the even draws that end up between the two bounds.
    first, last = (edge / (_SHIFT - (_SHIFT - 1) * edge) for edge in (low, high))
    even = first + (last - first) * (rng.permutation(count) + rng.random(count)) / count
    return torch.from_numpy(_SHIFT * even / (1 + (_SHIFT - 1) * even)).float()


def pad_tokens(rng: numpy.random.Generator) -> int:
    """Return how long this batch's prompts are padded."""
    return int(rng.choice(_PAD_TOKENS, p=_PAD_CHANCES))


def _per_clip(error: Tensor, weight: Tensor) -> Tensor:
    """Return each clip's mean of *error*, its frames counting by *weight*, (clips, 1, frames, 1, 1)."""
    frames = error.shape[2]
    return (error * weight).mean((1, 2, 3, 4)) * frames / weight.flatten(1).sum(1)
