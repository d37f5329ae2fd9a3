"""The autoencoder: diffusers' own Wan 2.2 class, 16 pixels and 4 frames a latent, of mean 0 and spread 1.

z = (mean - running mean) / running spread + noise. The normalisation and the noise are folded into the encoder's last
convolution at the end, so that what is saved is a plain AutoencoderKLWan whose decoder forgives small errors.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

import numpy
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from torch import Tensor

from train_mini import checkpoint
from train_mini.optimizer import Average, Trainer
from train_mini.parallel import Ranks
from train_mini.renderer import SIDE, Pixels, Values, draw_clip
from train_mini.scene import draw_scene

log = logging.getLogger(__name__)

CHANNELS = 24
_PATCH = 4

#: Latents are decoded with noise of 0 to twice this spread, so that a denoiser's small errors stay small.
NOISE = 0.07

#: Until here batches normalise themselves; from here the running statistics do.
_SETTLED_STEP = 300

#: Most of a frame is background: until this share of the run it learns from windows around things, then from frames.
_WHOLE_SHARE = 0.8
_WINDOW = 64

_OBJECT_WEIGHT = 3.0
_STAGE = 2
_CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train."""

    steps: int = 9_250
    lr: float = 2e-3
    clips: int = 2
    seed: int = 0


def build() -> AutoencoderKLWan:
    """Return an untrained autoencoder of 1.3 million parameters."""
    return AutoencoderKLWan(
        base_dim=16, decoder_base_dim=24, z_dim=CHANNELS, dim_mult=[1, 2, 2], num_res_blocks=1,
        temperal_downsample=[True, True], is_residual=True, patch_size=_PATCH,
        in_channels=3 * _PATCH**2, out_channels=3 * _PATCH**2, scale_factor_spatial=16, scale_factor_temporal=4,
        latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS,
    )  # fmt: skip


def train(folder: Path, plan: Plan, ranks: Ranks, device: torch.device = _CPU) -> None:
    """Train until *plan* is done, resuming what *folder* holds; leave the folded autoencoder in `folder/vae`."""
    torch.manual_seed(plan.seed)
    run = _Run(plan, device)
    state = checkpoint.load(folder / "vae.pt")
    start = run.restore(state) if state else 0
    for step in range(start, plan.steps):
        loss = run.step(step, ranks)
        is_last = step + 1 == plan.steps
        if ranks.is_first and (step % 100 == 0 or is_last):
            log.info("vae step %d of %d: loss %.5f", step, plan.steps, loss)
        if ranks.is_first and ((step + 1) % checkpoint.EVERY_STEPS == 0 or is_last):
            checkpoint.save(folder / "vae.pt", run.state(step + 1))
        if ranks.is_first and ((step + 1) % 1000 == 0 or is_last):
            run.folded().save_pretrained(folder / "vae")


class _Run:
    def __init__(self, plan: Plan, device: torch.device = _CPU) -> None:
        self.plan, self.device = plan, device
        self.vae = build().to(device).train()
        self.average = Average(self.vae, copy.deepcopy(self.vae), 0.998)
        self.trainer = Trainer(self.vae, is_kernel, lr=plan.lr)
        self.mean, self.variance = torch.zeros(CHANNELS, device=device), torch.ones(CHANNELS, device=device)

    def step(self, step: int, ranks: Ranks) -> float:
        rng = numpy.random.default_rng([self.plan.seed, _STAGE, step, ranks.rank])
        share = step / self.plan.steps
        is_whole = share >= _WHOLE_SHARE
        clips, mask = _batch(rng, max(1, self.plan.clips // 2) if is_whole else self.plan.clips, is_whole=is_whole)
        clips, mask = clips.to(self.device), mask.to(self.device)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        mean = self.vae.encode(clips).latent_dist.mean
        latents = self._normalised(mean, step, ranks)
        spread = 2 * NOISE * torch.rand(len(latents), 1, 1, 1, 1, generator=generator)
        noise = spread * torch.randn(latents.shape, generator=generator)
        decoded = decode_freely(self.vae, latents + noise.to(self.device))
        loss = distance(decoded, clips, mask) + 1e-2 * _strayed(latents)
        loss.backward()
        ranks.average(each.grad for each in self.trainer.parameters if each.grad is not None)
        self.trainer.step(share, step)
        self.average.follow(step)
        return loss.item()

    def _normalised(self, mean: Tensor, step: int, ranks: Ranks) -> Tensor:
        axes = (0, 2, 3, 4)
        now = [mean.mean(axes), mean.var(axes)]
        kept = [each.detach().clone() for each in now]
        ranks.average(kept)
        weight = max(0.01, 1 / (step + 1))
        self.mean.lerp_(kept[0], weight)
        self.variance.lerp_(kept[1], weight)
        centre, variance = now if step < _SETTLED_STEP else (self.mean, self.variance)
        return (mean - _channels(centre)) / _channels((variance + 1e-5).sqrt())

    def state(self, step: int) -> dict[str, object]:
        return {
            "step": step, "vae": self.vae.state_dict(), "average": self.average.model.state_dict(),
            "trainer": self.trainer.state(), "mean": self.mean, "variance": self.variance,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> int:
        self.vae.load_state_dict(state["vae"])
        self.average.model.load_state_dict(state["average"])
        self.trainer.restore(state["trainer"])
        self.mean, self.variance = state["mean"].to(self.device), state["variance"].to(self.device)
        return int(state["step"])

    @torch.no_grad()
    def folded(self) -> AutoencoderKLWan:
        whole = copy.deepcopy(self.average.model)
        last = whole.quant_conv
        spread = (self.variance + 1e-5).sqrt()
        last.weight[:CHANNELS] /= spread.view(-1, 1, 1, 1, 1)
        last.bias[:CHANNELS] = (last.bias[:CHANNELS] - self.mean) / spread
        last.weight[CHANNELS:] = 0
        last.bias[CHANNELS:] = 2 * math.log(NOISE)
        return whole.eval()


def is_kernel(_name: str, parameter: Tensor) -> bool:
    """Say whether Muon moves this parameter: the convolutions' own kernels, but for the smallest."""
    return parameter.ndim >= 4 and parameter.numel() > 300


def decode_freely(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Decode as diffusers does, frame after frame with its cache, without its clamp: that would hide gradients."""
    vae.clear_cache()
    hidden = vae.post_quant_conv(latents)
    parts = []
    for index in range(latents.shape[2]):
        vae._conv_idx = [0]
        part = hidden[:, :, index : index + 1]
        parts.append(vae.decoder(part, feat_cache=vae._feat_map, feat_idx=vae._conv_idx, first_chunk=index == 0))
    vae.clear_cache()
    decoded: Tensor = unpatchify(torch.cat(parts, 2), _PATCH)
    return decoded


def as_input(pixels: Pixels) -> Tensor:
    """Return clips (..., frames, height, width, 3) of bytes as (..., 3, frames, height, width), -1 to 1."""
    return torch.from_numpy(pixels).movedim(-1, -4).float() / 127.5 - 1


def _batch(rng: numpy.random.Generator, clips: int, *, is_whole: bool) -> tuple[Tensor, Tensor]:
    drawn = [draw_clip(draw_scene(rng), rng) for _ in range(clips)]
    windows = [(slice(0, SIDE), slice(0, SIDE)) if is_whole else window(each.mask, rng) for each in drawn]
    pairs = list(zip(drawn, windows, strict=True))
    pixels = numpy.stack([each.pixels[:, rows, columns] for each, (rows, columns) in pairs])
    mask = numpy.stack([each.mask[:, rows, columns] for each, (rows, columns) in pairs])
    return as_input(pixels), torch.from_numpy(mask)[:, None]


def window(mask: Values, rng: numpy.random.Generator, *, grid: int = 1) -> tuple[slice, slice]:
    """Return rows and columns of a window around some place where a thing is in some frame, on multiples of *grid*."""
    places = numpy.argwhere(mask[int(rng.integers(len(mask)))] > 0)
    centre = places[int(rng.integers(len(places)))] + rng.integers(-_WINDOW // 4, _WINDOW // 4 + 1, 2)
    top, left = (int(numpy.clip(at - _WINDOW // 2, 0, SIDE - _WINDOW)) // grid * grid for at in centre)
    return slice(top, top + _WINDOW), slice(left, left + _WINDOW)


def cut(values: Tensor, windows: list[tuple[slice, slice]], pixels: int = 1) -> Tensor:
    """Return each clip's window of *values* (clips, ..., height, width), a value being *pixels* wide."""
    return torch.stack([
        each[..., rows.start // pixels : rows.stop // pixels, columns.start // pixels : columns.stop // pixels]
        for each, (rows, columns) in zip(values, windows, strict=True)
    ])  # fmt: skip


def distance(decoded: Tensor, clips: Tensor, mask: Tensor) -> Tensor:
    """Return squares, absolutes and edges, the things weighing more than the background."""
    weight = 1 + _OBJECT_WEIGHT * mask
    error = decoded - clips
    rows = (error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]
    columns = (error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]
    edges = rows.mean() + columns.mean()
    return (weight * error.pow(2)).mean() + 0.5 * (weight * error.abs()).mean() + 0.3 * edges


def _strayed(latents: Tensor) -> Tensor:
    axes = (0, 2, 3, 4)
    return (latents.pow(2).mean(axes) - 1).pow(2).mean() + latents.mean(axes).pow(2).mean()


def _channels(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)
