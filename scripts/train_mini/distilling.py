"""The 4-step pair: a LoRA for each expert that walks straight to where the experts get in 20 guided steps.

Rectified flow's reflow (https://arxiv.org/abs/2209.03003): the experts turn noise into clips once; noise and clip then
are a pair, and the LoRA learns the straight line between the two. Guidance is in the clips, so that 4 steps need none.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy
import torch
from diffusers import UniPCMultistepScheduler, WanTransformer3DModel
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor

from train_mini import checkpoint, dit
from train_mini.captions import caption, forget
from train_mini.denoising import Words
from train_mini.export import BOUNDARY, export_loras
from train_mini.latents import read
from train_mini.optimizer import Trainer
from train_mini.parallel import Ranks

log = logging.getLogger(__name__)

RANK = 8
#: The low half is exported stronger than it was trained: the line that it learned is a mean of many, blunter than each.
#: It gave two things' shapes 5 points in 100, when it was chosen on the clips that are judged; the high half gained
#: nothing by it.
ALPHAS = {"high": float(RANK), "low": 1.35 * RANK}
_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
_STAGE = 6
_SHARD_CLIPS = 64
_TOKENS = 64

#: What the teacher does, and at which noise levels the student will be asked: four steps shifted by 5.
_TEACHER_STEPS = 20
_TEACHER_SHIFT = 3.0
_GUIDANCE = 4.0
NODES = (1.0, 0.9375, 0.8333, 0.625)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How many pairs of noise and clip, and how long to learn from them."""

    pairs: int = 2048
    #: The low half has more to say: two of the four steps, and the corners.
    steps: dict[str, int] = dataclasses.field(default_factory=lambda: {"high": 300, "low": 1200})
    lr: float = 2e-3
    clips: int = 64
    seed: int = 0


def fill(folder: Path, plan: Plan, ranks: Ranks, device: torch.device) -> None:
    """Let the experts make the clips, shard by shard, half of them from a first frame; resumes."""
    experts = [WanTransformer3DModel.from_pretrained(folder / name).to(device).eval() for name in ("high", "low")]
    words, cache = Words(folder, device), read(folder)
    for shard in range(ranks.rank, plan.pairs // _SHARD_CLIPS, ranks.count):
        path = folder / "pairs" / f"{shard:04d}.pt"
        if path.exists():
            continue
        rng = numpy.random.default_rng([plan.seed, _STAGE, shard])
        chosen = torch.from_numpy(rng.integers(0, len(cache.pictures), _SHARD_CLIPS))
        said = [caption(forget(cache.scenes[i], rng), rng) for i in chosen]
        begins = torch.from_numpy(rng.random(_SHARD_CLIPS) < 0.5)
        pictures = cache.pictures[chosen].float()
        noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
        beside = dit.beside(pictures, begins).to(device)
        clips = _walk(experts, noise.to(device), beside, words(said, _TOKENS), words([""] * len(said), _TOKENS)).cpu()
        clips[begins, :, 0] = pictures[begins, :, 0]  # known better than the experts drew it
        checkpoint.save(path, {
            "noise": noise.half(), "clips": clips.half(), "pictures": pictures.half(), "begins": begins,
            "captions": json.dumps(said),
        })  # fmt: skip
        log.info("pairs: shard %d of %d", shard + 1, plan.pairs // _SHARD_CLIPS)


@torch.no_grad()
def _walk(experts: list[WanTransformer3DModel], noise: Tensor, beside: Tensor, text: Tensor, empty: Tensor) -> Tensor:
    """Return the clips at the end of the guided way from *noise*."""
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=_TEACHER_SHIFT, num_train_timesteps=1000
    )
    scheduler.set_timesteps(_TEACHER_STEPS, device=noise.device)
    latents = noise
    for time in scheduler.timesteps:
        model = experts[0] if time >= BOUNDARY * 1000 else experts[1]
        seen, times = torch.cat([latents, beside], 1), time.expand(len(latents))
        guided = model(seen, times, text, return_dict=False)[0]
        unguided = model(seen, times, empty, return_dict=False)[0]
        latents = scheduler.step(unguided + _GUIDANCE * (guided - unguided), time, latents, return_dict=False)[0]
    return latents


def train(folder: Path, plan: Plan, ranks: Ranks, device: torch.device) -> None:
    """Train both halves of the pair, resuming what *folder* holds; leave them in `folder/loras`."""
    shards = [torch.load(path, weights_only=True) for path in sorted((folder / "pairs").glob("*.pt"))]
    words = Words(folder, device)
    halves = {}
    for expert in ("high", "low"):
        model = _with_lora(folder / expert, plan.seed).to(device)
        run = _Half(model, plan, expert, ranks, device)
        path = folder / f"lora_{expert}.pt"
        for step in range(run.restore(checkpoint.load(path)), run.steps):
            run.step(step, shards, words)
            done = step + 1
            if ranks.is_first and done % 100 == 0:
                log.info("%s half, step %d of %d: loss %.4f", expert, done, run.steps, run.loss)
            if ranks.is_first and (done % checkpoint.EVERY_STEPS == 0 or done == run.steps):
                checkpoint.save(path, run.state(done))
        halves[expert] = {name: value.cpu() for name, value in get_peft_model_state_dict(model).items()}
    if ranks.is_first:
        export_loras(halves, folder, alphas=ALPHAS)


def _with_lora(folder: Path, seed: int) -> WanTransformer3DModel:
    """Return the expert in *folder*, frozen, with a LoRA that changes nothing yet."""
    model = WanTransformer3DModel.from_pretrained(folder)
    model.requires_grad_(False)
    torch.manual_seed(seed)
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=_TARGETS))
    return model


class _Half:
    """One expert's LoRA in training."""

    def __init__(self, model: WanTransformer3DModel, plan: Plan, expert: str, ranks: Ranks, device: torch.device):
        self._model = model
        self._trainer = Trainer(model, lambda _name, _each: False, lr=plan.lr)
        self._nodes = torch.tensor([each for each in NODES if (each >= BOUNDARY) == (expert == "high")])
        self._plan, self._ranks, self._device = plan, ranks, device
        self.steps = plan.steps[expert]
        self.loss: float | None = None

    def step(self, step: int, shards: list[dict[str, Tensor]], words: Words) -> None:
        batch, pictures = self._batch(step, shards, words)
        loss = dit.expert_guess_of(self._model, batch, pictures).loss.mean()
        loss.backward()
        self._ranks.average(each.grad for each in self._trainer.parameters if each.grad is not None)
        self._trainer.step(step / self.steps, step)
        self.loss = loss.item() if self.loss is None else 0.98 * self.loss + 0.02 * loss.item()

    def _batch(self, step: int, shards: list[dict[str, Tensor]], words: Words) -> tuple[dit.Batch, Tensor]:
        rng = numpy.random.default_rng([self._plan.seed, _STAGE + 1, step, self._ranks.rank])
        shard = shards[int(rng.integers(len(shards)))]
        chosen = torch.from_numpy(rng.permutation(_SHARD_CLIPS)[: self._plan.clips // self._ranks.count])
        captions = json.loads(shard["captions"])
        batch = dit.Batch(
            shard["clips"][chosen].float().to(self._device),
            shard["noise"][chosen].float().to(self._device),
            words([captions[index] for index in chosen], _TOKENS),
            self._nodes[torch.from_numpy(rng.integers(0, len(self._nodes), len(chosen)))].to(self._device),
            shard["begins"][chosen].to(self._device),
        )
        return batch, shard["pictures"][chosen].float().to(self._device)

    def state(self, step: int) -> dict[str, object]:
        lora = {name: value for name, value in self._model.state_dict().items() if ".lora_" in name}
        return {"step": step, "lora": lora, "trainer": self._trainer.state()}

    def restore(self, state: dict[str, Any] | None) -> int:
        if state is None:
            return 0
        self._model.load_state_dict(state["lora"], strict=False)
        self._trainer.restore(state["trainer"])
        return int(state["step"])
