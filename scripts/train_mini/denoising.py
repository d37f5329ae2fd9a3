"""Train the denoiser: first one network for everything (ti2v), then from it the two experts."""

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
from transformers import AutoTokenizer, UMT5EncoderModel

from train_mini import checkpoint, dit, seeing, walking
from train_mini.captions import caption, forget
from train_mini.latents import Cache, read
from train_mini.obedience import ignored_words
from train_mini.optimizer import Average, Trainer
from train_mini.parallel import Ranks
from train_mini.scene import Scene
from train_mini.text_encoder import encode

log = logging.getLogger(__name__)

#: Kept from training, for the losses that are logged.
_VALIDATION_CLIPS = 128

#: How often a caption is left out (guidance needs that), and how often the first frame is given.
_EMPTY = 0.1
_BEGINS = 0.3

#: Where a walk ends, as a share of the noise that it began with.
_LEFT = (0.15, 0.8)

#: What walked clips look like is looked at in so many a step, of all processes together, for decoding takes time; and
#: under less noise than this, for what is believed under more is a mean of many clips, and rightly blunt.
_SEEN_CLIPS = 4
_SEEN_SIGMA = 0.5

#: How much a network as it was before it walked counts in what is kept. Walking takes wobbles away and blunts corners;
#: the mean of both weights has neither fault (as between a network and its fine-tuned self: arXiv 2109.01903).
_BEFORE = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """One network's training: which noise levels it sees, how long, and how fast."""

    name: str
    steps: int
    lr: float = 2e-3
    clips: int = 64
    low: float = 0.0
    high: float = 1.0
    begins: float = _BEGINS
    #: How far given first frames go astray, as a spread; 20 steps of an expert end about as far from the picture.
    astray: float = 0.0
    #: This share of each batch the network has walked to itself, from this share of the run on: its own mistakes.
    walked: float = 0.0
    walked_from: float = 0.0
    #: How much it counts what walked clips look like (`seeing`); 0: they are compared as latents alone.
    seen: float = 0.0
    hold: float = 0.3
    stage: int = 4
    seed: int = 0


class Words:
    """Captions in, text embeddings out, by the frozen encoder."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        self._encoder = UMT5EncoderModel.from_pretrained(folder / "text_encoder").to(device).eval()
        self._device = device

    @torch.no_grad()
    def __call__(self, captions: list[str], tokens: int) -> Tensor:
        return encode(self._tokenizer, self._encoder, captions, tokens).to(self._device)


class Source:
    """Batches of the latent cache, the same for the same step."""

    def __init__(self, cache: Cache, words: Words, plan: Plan, ranks: Ranks, device: torch.device) -> None:
        self.cache, self.words = cache, words
        self._plan, self._ranks, self._device = plan, ranks, device
        self._usable = len(cache.pictures) if plan.low > 0 or plan.high < 1 else len(cache.scenes)
        self._usable = min(self._usable, len(cache.scenes) - _VALIDATION_CLIPS)

    def batch(self, step: int) -> tuple[dit.Batch, Tensor]:
        """Return the batch of *step*, and which clips it holds."""
        plan = self._plan
        rng = numpy.random.default_rng([plan.seed, plan.stage, step, self._ranks.rank])
        chosen = torch.from_numpy(rng.integers(0, self._usable, plan.clips // self._ranks.count))
        said = ["" if rng.random() < _EMPTY else caption(forget(self.cache.scenes[i], rng), rng) for i in chosen]
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        latents = self.cache.latents[chosen].float()
        batch = dit.Batch(
            latents.to(self._device),
            torch.randn(latents.shape, generator=generator).to(self._device),
            self.words(said, dit.pad_tokens(rng)),
            dit.spread_sigmas(rng, len(chosen), plan.low, plan.high).to(self._device),
            torch.from_numpy(rng.random(len(chosen)) < plan.begins).to(self._device),
            torch.from_numpy(rng.normal(0, plan.astray, len(chosen))).float().to(self._device) if plan.astray else None,
            self._walks(rng, step).to(self._device),
            torch.ones(len(chosen), device=self._device),
        )
        return batch, chosen

    def _walks(self, rng: numpy.random.Generator, step: int) -> Tensor:
        """Return what is left of each walked clip's noise; the first clips of a batch are the walked ones."""
        plan = self._plan
        share = plan.walked if step >= plan.walked_from * plan.steps else 0.0
        return torch.from_numpy(rng.uniform(*_LEFT, round(share * plan.clips / self._ranks.count))).float()

    def validation(self) -> tuple[Tensor, list[Scene]]:
        """Return the latents and scenes that no batch holds."""
        return self.cache.latents[-_VALIDATION_CLIPS:].float(), self.cache.scenes[-_VALIDATION_CLIPS:]


def train(folder: Path, plan: Plan, ranks: Ranks, device: torch.device, start_from: Path | None = None) -> None:
    """Train one network, resuming what *folder* holds; leave its average in `folder/<plan.name>`.

    With *start_from*, the folder of a finished network, it becomes one of the two experts that begin there.
    """
    torch.manual_seed(plan.seed)
    run = _Run(folder, plan, ranks, device, start_from)
    path = folder / f"{plan.name}.pt"
    for step in range(run.restore(checkpoint.load(path)), plan.steps):
        run.step(step)
        done = step + 1
        if not ranks.is_first:
            continue
        if done % 100 == 0:
            log.info("%s step %d of %d: loss %.4f", plan.name, done, plan.steps, run.loss)
        if done % checkpoint.EVERY_STEPS == 0 or done == plan.steps:
            checkpoint.save(path, run.state(done))
        if done % 1000 == 0 or done == plan.steps:
            run.show(done)


class _Run:
    def __init__(self, folder: Path, plan: Plan, ranks: Ranks, device: torch.device, start_from: Path | None) -> None:
        self._folder, self._plan, self._ranks, self._device = folder, plan, ranks, device
        self._is_expert = start_from is not None
        self._model = (_expert(start_from) if start_from else dit.build()).to(device).train()
        self._source = Source(read(folder), Words(folder, device), plan, ranks, device)
        self._average = Average(self._model, copy.deepcopy(self._model), 0.998)
        self._trainer = Trainer(self._model, dit.is_matrix, lr=plan.lr, decay=0.05)
        self._autoencoder = AutoencoderKLWan.from_pretrained(folder / "vae").to(device) if plan.seen else None
        if self._autoencoder is not None:
            self._autoencoder.requires_grad_(False)
        self._before: dict[str, Tensor] | None = None
        self.loss: float | None = None

    def step(self, step: int) -> None:
        batch, chosen = self._source.batch(step)
        pictures = self._source.cache.pictures[chosen].float().to(self._device) if self._is_expert else batch.latents
        if len(batch.left):
            if self._before is None:
                self._before = copy.deepcopy(self._average.model.state_dict())
            batch = walking.strayed(self._average.model, batch, pictures, self._nothing(batch))
        loss = self._loss(batch, pictures)
        loss.backward()
        self._ranks.average(each.grad for each in self._trainer.parameters if each.grad is not None)
        self._trainer.step(step / self._plan.steps, step, hold=self._plan.hold)
        self._average.follow(step)
        self.loss = loss.item() if self.loss is None else 0.98 * self.loss + 0.02 * loss.item()

    def _loss(self, batch: dit.Batch, pictures: Tensor) -> Tensor:
        is_expert = self._is_expert
        guess = dit.expert_guess_of(self._model, batch, pictures) if is_expert else dit.guess_of(self._model, batch)
        loss = (guess.loss * batch.weight).mean()
        count = max(1, _SEEN_CLIPS // self._ranks.count)
        shown = (batch.sigma[: len(batch.left)] < _SEEN_SIGMA).nonzero()[:count, 0]
        if self._autoencoder is None or not len(shown):
            return loss
        apart = seeing.apart(self._autoencoder, guess.clean[shown], batch.latents[shown])
        return loss + self._plan.seen * apart * len(shown) / count

    def _nothing(self, batch: dit.Batch) -> Tensor:
        """Return the empty caption, padded as the batch's are."""
        return self._source.words([""], batch.text.shape[1])

    def show(self, step: int) -> None:
        """Leave the network as it is now, and say what it ignores; an expert alone cannot be asked that."""
        model = self._kept()
        model.save_pretrained(self._folder / self._plan.name)
        if not self._is_expert:
            log.info("%s step %d: %s", self._plan.name, step, ignored_words(model, self._source))

    def _kept(self) -> WanTransformer3DModel:
        if self._before is None:
            return self._average.model
        model = copy.deepcopy(self._average.model)
        with torch.no_grad():
            for name, value in model.state_dict().items():
                value.lerp_(self._before[name], _BEFORE)
        return model

    def state(self, step: int) -> dict[str, object]:
        return {
            "step": step, "model": self._model.state_dict(), "average": self._average.model.state_dict(),
            "trainer": self._trainer.state(), "before": self._before,
        }  # fmt: skip

    def restore(self, state: dict[str, Any] | None) -> int:
        """Take back what `state` returned; return the step to go on with."""
        if state is None:
            return 0
        self._model.load_state_dict(state["model"])
        self._average.model.load_state_dict(state["average"])
        self._trainer.restore(state["trainer"])
        before = state.get("before")
        self._before = before and {name: value.to(self._device) for name, value in before.items()}
        return int(state["step"])


def _expert(start_from: Path) -> WanTransformer3DModel:
    """Return the network in *start_from* with room for mask and picture, whose weights are zero at first."""
    base = WanTransformer3DModel.from_pretrained(start_from)
    model = dit.build(base.config.in_channels + dit.PICTURE_CHANNELS)
    state = base.state_dict()
    weight = torch.zeros_like(model.patch_embedding.weight)
    weight[:, : base.config.in_channels] = state["patch_embedding.weight"]
    model.load_state_dict(state | {"patch_embedding.weight": weight})
    return model
