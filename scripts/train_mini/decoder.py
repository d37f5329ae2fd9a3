"""Train the decoder on what the denoisers make of clips: it learns to mend their errors. The encoder stays as it is.

A drawn clip is encoded, covered with some noise, and walked back by a denoiser that is told its caption. What comes
out is the same clip with a denoiser's own mistakes, and the decoder is asked for what was drawn.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import logging
from pathlib import Path
from typing import Any

import numpy
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor

from train_mini import checkpoint
from train_mini.captions import caption
from train_mini.denoising import Words
from train_mini.latents import encode
from train_mini.optimizer import Average, Trainer
from train_mini.parallel import Ranks
from train_mini.renderer import draw_clip
from train_mini.scene import draw_scene
from train_mini.vae import CHANNELS, NOISE, as_input, decode_freely, distance, is_kernel

log = logging.getLogger(__name__)

_STAGE = 10
_TOKENS = 64

#: The denoisers whose errors are learned: the last word in a clip is theirs.
_DENOISERS = ("ti2v", "low")

#: From how much noise a clip is walked back: enough for mistakes, too little for another clip to come out.
_SIGMAS = (0.25, 0.6)
_WALK_STEPS = 5
_GUIDANCE = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train, and the share of clips that a denoiser has walked back."""

    steps: int = 1000
    lr: float = 6e-4
    walked: float = 0.7
    seed: int = 0


def train(folder: Path, plan: Plan, ranks: Ranks, device: torch.device) -> None:
    """Train until *plan* is done, resuming what *folder* holds; leave the whole autoencoder in `folder/decoder`."""
    run = _Run(folder, plan, ranks, device)
    path = folder / "decoder.pt"
    for step in range(run.restore(checkpoint.load(path)), plan.steps):
        run.step(step)
        done = step + 1
        is_last = done == plan.steps
        if ranks.is_first and (done % 100 == 0 or is_last):
            log.info("decoder step %d of %d: loss %.5f", done, plan.steps, run.loss)
        if ranks.is_first and (done % checkpoint.EVERY_STEPS == 0 or is_last):
            checkpoint.save(path, run.state(done))
            run.average.model.save_pretrained(folder / "decoder")


@torch.no_grad()
def walked_back(
    model: WanTransformer3DModel, latents: Tensor, noise: Tensor, sigma: float, text: Tensor, empty: Tensor
) -> Tensor:
    """Return *latents* covered with *noise* up to *sigma*, and brought back by *model* in five guided steps."""
    x = (1 - sigma) * latents + sigma * noise
    beside = torch.zeros(2 * len(x), model.config.in_channels - CHANNELS, *x.shape[2:], device=x.device)
    said = torch.cat([text, empty])
    levels = numpy.linspace(sigma, 0, _WALK_STEPS + 1)
    for now, then in itertools.pairwise(levels):
        time = torch.full((2 * len(x),), 1000 * float(now), device=x.device)
        seen = torch.cat([x.repeat(2, 1, 1, 1, 1), beside], 1)
        guided, unguided = model(seen, time, said, return_dict=False)[0].chunk(2)
        x = x + float(then - now) * (unguided + _GUIDANCE * (guided - unguided))
    return x


class _Run:
    def __init__(self, folder: Path, plan: Plan, ranks: Ranks, device: torch.device) -> None:
        self._plan, self._ranks, self._device = plan, ranks, device
        self._vae = AutoencoderKLWan.from_pretrained(folder / "vae").to(device)
        self._vae.requires_grad_(False)
        for part in (self._vae.post_quant_conv, self._vae.decoder):
            part.requires_grad_(True)
        self.average = Average(self._vae, copy.deepcopy(self._vae), 0.99)
        self._trainer = Trainer(self._vae, is_kernel, lr=plan.lr)
        self._words = Words(folder, device)
        self._denoisers = [WanTransformer3DModel.from_pretrained(folder / name).to(device) for name in _DENOISERS]
        self.loss: float | None = None

    def step(self, step: int) -> None:
        rng = numpy.random.default_rng([self._plan.seed, _STAGE, step, self._ranks.rank])
        scene = draw_scene(rng)
        drawn = draw_clip(scene, rng)
        clip = as_input(drawn.pixels[None]).to(self._device)
        latents = self._spoiled(encode(self._vae, clip), caption(scene, rng), rng)
        mask = torch.from_numpy(drawn.mask)[None, None].to(self._device)
        loss = distance(decode_freely(self._vae, latents), clip, mask)
        loss.backward()
        self._ranks.average(each.grad for each in self._trainer.parameters if each.grad is not None)
        self._trainer.step(step / self._plan.steps, step)
        self.average.follow(step)
        self.loss = loss.item() if self.loss is None else 0.98 * self.loss + 0.02 * loss.item()

    def _spoiled(self, latents: Tensor, said: str, rng: numpy.random.Generator) -> Tensor:
        """Return *latents* with a denoiser's mistakes, or with plain noise."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(latents.shape, generator=generator).to(self._device)
        if rng.random() >= self._plan.walked:
            return latents + rng.uniform(0, 2 * NOISE) * noise  # as in the autoencoder's own training
        model = self._denoisers[int(rng.integers(len(self._denoisers)))]
        text, empty = self._words([said], _TOKENS), self._words([""], _TOKENS)
        return walked_back(model, latents, noise, float(rng.uniform(*_SIGMAS)), text, empty)

    def state(self, step: int) -> dict[str, object]:
        return {
            "step": step, "vae": self._vae.state_dict(), "average": self.average.model.state_dict(),
            "trainer": self._trainer.state(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any] | None) -> int:
        if state is None:
            return 0
        self._vae.load_state_dict(state["vae"])
        self.average.model.load_state_dict(state["average"])
        self._trainer.restore(state["trainer"])
        return int(state["step"])
