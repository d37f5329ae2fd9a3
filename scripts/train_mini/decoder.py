"""Train the decoder on what the denoisers make of clips: it learns to mend their errors. The encoder stays as it is.

A drawn clip is encoded, covered with some noise, and walked back by a denoiser that is told its caption. What comes
out is the same clip with a denoiser's own mistakes, and the decoder is asked for what was drawn.
"""

from __future__ import annotations

import copy
import dataclasses
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
from train_mini.latents import encode, picture_condition
from train_mini.optimizer import Average, Trainer
from train_mini.outlines import looks_apart
from train_mini.parallel import Ranks
from train_mini.renderer import SIDE, draw_clip
from train_mini.scene import draw_scene
from train_mini.vae import CHANNELS, NOISE, as_input, cut, decode_freely, is_kernel, window
from train_mini.walking import Way, walked

log = logging.getLogger(__name__)

_STAGE = 10
_TOKENS = 64

#: The denoisers whose errors are learned: the last word in a clip is theirs.
_DENOISERS = ("ti2v", "low")

#: From how much noise a clip is walked back: enough for mistakes, too little for another clip to come out.
_SIGMAS = (0.15, 0.8)

#: A walk's steps, all guided.
_STEPS = 5

#: How often a denoiser is given the first frame.
_GIVEN = 0.5

#: Windows around things, then whole frames: they are known from the autoencoder's own training, and need few steps.
_WHOLE_SHARE = 0.95
_WHOLE = (slice(0, SIDE), slice(0, SIDE))

#: A latent's pixels, each way.
_PIXELS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train, and the share of clips that a denoiser has walked back.

    hold: the share of the run after which the learning rate falls.
    clips: windows in a step, of all processes together; of whole frames each process takes one.
    """

    steps: int = 4500
    lr: float = 6e-4
    hold: float = 0.88
    clips: int = 6
    walked: float = 0.8
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
        is_whole = step >= _WHOLE_SHARE * self._plan.steps
        scenes = [draw_scene(rng) for _ in range(1 if is_whole else max(1, self._plan.clips // self._ranks.count))]
        drawn = [draw_clip(scene, rng) for scene in scenes]
        windows = [_WHOLE if is_whole else window(each.mask, rng, grid=_PIXELS) for each in drawn]
        clips = as_input(numpy.stack([each.pixels for each in drawn])).to(self._device)
        mask = torch.from_numpy(numpy.stack([each.mask for each in drawn]))[:, None].to(self._device)
        latents = self._spoiled(clips, [caption(scene, rng) for scene in scenes], rng)
        decoded = decode_freely(self._vae, cut(latents, windows, _PIXELS))
        asked, things = cut(clips, windows), cut(mask, windows)
        loss = looks_apart(decoded, asked, things, step % 2)
        loss.backward()
        self._ranks.average(each.grad for each in self._trainer.parameters if each.grad is not None)
        self._trainer.step(step / self._plan.steps, step, hold=self._plan.hold)
        self.average.follow(step)
        self.loss = loss.item() if self.loss is None else 0.98 * self.loss + 0.02 * loss.item()

    @torch.no_grad()
    def _spoiled(self, clips: Tensor, said: list[str], rng: numpy.random.Generator) -> Tensor:
        """Return the latents of *clips* with a denoiser's mistakes, or with plain noise."""
        latents = encode(self._vae, clips)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(latents.shape, generator=generator).to(self._device)
        if rng.random() >= self._plan.walked:
            return latents + rng.uniform(0, 2 * NOISE) * noise  # as in the autoencoder's own training
        model = self._denoisers[int(rng.integers(len(self._denoisers)))]
        sigma = torch.from_numpy(rng.uniform(*_SIGMAS, len(clips))).float().to(self._device)
        texts = self._words(said, _TOKENS), self._words([""] * len(said), _TOKENS)
        begins = torch.full((len(clips),), bool(rng.random() < _GIVEN), device=self._device)
        # The one network only keeps the frame, which the clip's own latents have.
        pictures = picture_condition(self._vae, clips) if model.config.in_channels > CHANNELS else latents
        end = torch.zeros_like(sigma)
        return walked(model, Way(latents, noise, sigma, end, texts, begins, pictures), _STEPS)

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
