"""The text encoder: Wan's own class, three small layers, trained until each of its outputs tells the whole scene.

A word-level tokenizer reads captions; linear probes read every output token. The probes are thrown away, and the last
norm is scaled so that the denoiser reads values of unit spread.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from train_mini import checkpoint
from train_mini.captions import FORGOTTEN, caption, forget
from train_mini.optimizer import Average, Trainer
from train_mini.parallel import Ranks
from train_mini.probes import ATTRIBUTES, Reader, roles_of, values_of
from train_mini.scene import Scene, draw_scene
from train_mini.words import VOCABULARY

log = logging.getLogger(__name__)

WIDTH = 64
#: No caption is longer than this in tokens, its end included.
MAX_TOKENS = 48

_PAD, _END, _UNKNOWN = _SPECIAL = ("<pad>", "</s>", "<unk>")
_STAGE = 1

#: Some captions say little or nothing at all, and some pairs are of one look, as short prompts are.
_SHARES = (FORGOTTEN, 0.4, 1.0)
_SHARE_CHANCES = (0.84, 0.15, 0.01)
_LIKES = 0.03

#: Layers that begin by looking near and far, each of two heads to the left and two to the right: how fast a head's view
#: fades with distance, and what is behind it. Places are learned slowly from nothing.
_LOOKING_LAYERS = 2
_FADES = (0.7, 0.1)
_BEHIND = -3.0
#: Distances that the encoder tells apart on each side: half of them one by one, the others ever coarser.
_PLACES = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train."""

    steps: int = 2000
    lr: float = 1e-2
    captions: int = 64
    checked: int = 10_000
    seed: int = 0


def build_tokenizer() -> Any:
    """Return the tokenizer: NFKC, lower case, words and marks, `</s>` at the end; 0 is `<pad>`."""
    ids = {token: index for index, token in enumerate((*_SPECIAL, *VOCABULARY))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_END, unk_token=_UNKNOWN, model_max_length=512
    )


def build_encoder() -> Any:
    """Return an untrained encoder of 0.16 million parameters."""
    encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(_SPECIAL) + len(VOCABULARY), d_model=WIDTH, d_kv=16, num_heads=4, d_ff=160, num_layers=3,
            feed_forward_proj="gated-gelu", dropout_rate=0.0, pad_token_id=0, eos_token_id=1,
            relative_attention_num_buckets=2 * _PLACES, relative_attention_max_distance=MAX_TOKENS,
        )
    )  # fmt: skip
    for layer in encoder.encoder.block[:_LOOKING_LAYERS]:
        layer.layer[0].SelfAttention.relative_attention_bias.weight.data.copy_(_first_look())
    return encoder


def _first_look() -> Tensor:
    """Return the bias of places, (2 * places, heads): the left's by distance, itself first, then the right's. Pure."""
    distance = torch.arange(_PLACES, dtype=torch.float32)
    behind = torch.full_like(distance, _BEHIND)
    heads = []
    for fade in _FADES:
        near = -fade * distance
        # A word that looks near has no need to see itself.
        near[0] = -1.0 if fade > 0.5 else 0.0
        behind[0] = near[0]
        heads += [torch.cat([near, behind]), torch.cat([behind, near])]
    return torch.stack(heads, 1)


@torch.no_grad()
def encode(tokenizer: Any, encoder: Any, captions: list[str], tokens: int = MAX_TOKENS) -> Tensor:
    """Return (captions, *tokens*, 64), zero after each caption's end, as diffusers' WanPipeline pads."""
    batch = tokenizer(captions, padding=True, max_length=tokens, truncation=True, return_tensors="pt")
    batch = batch.to(encoder.device)
    states: Tensor = encoder(batch.input_ids, batch.attention_mask).last_hidden_state
    ended = states.masked_fill(batch.attention_mask[..., None] == 0, 0)
    # What follows the longest caption is masked and costs time: it is added, not computed.
    return nn.functional.pad(ended, (0, 0, 0, tokens - ended.shape[1]))


def token_counts(tokenizer: Any, captions: list[str]) -> list[int]:
    """Return each caption's length in tokens, its end included."""
    return [len(ids) for ids in tokenizer(captions).input_ids]


def train(folder: Path, plan: Plan, ranks: Ranks | None = None) -> None:
    """Train until *plan* is done, resuming what *folder* holds; leave `text_encoder` and `tokenizer` in *folder*."""
    ranks = ranks or Ranks()
    torch.manual_seed(plan.seed)
    run = _Run(plan, ranks)
    state = checkpoint.load(folder / "text_encoder.pt")
    start = run.restore(state) if state else 0
    for step in range(start, plan.steps):
        loss = run.step(step)
        is_last = step + 1 == plan.steps
        if ranks.is_first and (step % 100 == 0 or is_last):
            log.info("text encoder step %d of %d: loss %.5f", step, plan.steps, loss)
        if ranks.is_first and (step + 1) % 1000 == 0 and not is_last:
            log.info("text encoder step %d: %s", step + 1, _percent(run.accuracy(200)))
        if ranks.is_first and is_last:
            run.finish(folder)
        if ranks.is_first and ((step + 1) % checkpoint.EVERY_STEPS == 0 or is_last):
            checkpoint.save(folder / "text_encoder.pt", run.state(step + 1))


class _Run:
    def __init__(self, plan: Plan, ranks: Ranks) -> None:
        self.plan, self.ranks = plan, ranks
        self.tokenizer = build_tokenizer()
        self.reader, average = Reader(build_encoder(), WIDTH), Reader(build_encoder(), WIDTH)
        average.load_state_dict(self.reader.state_dict())
        self.average = Average(self.reader, average, 0.995)
        self.trainer = Trainer(self.reader, _is_matrix, lr=plan.lr)

    def step(self, step: int) -> float:
        rng = numpy.random.default_rng([self.plan.seed, _STAGE, step, self.ranks.rank])
        loss = self.reader.loss(*self._batch([draw_said(rng) for _ in range(self.plan.captions)], rng))
        loss.backward()
        self.ranks.average(each.grad for each in self.trainer.parameters if each.grad is not None)
        self.trainer.step(step / self.plan.steps, step)
        self.average.follow(step)
        return loss.item()

    def _batch(self, scenes: list[Scene], rng: numpy.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return ids and mask, (captions, tokens), the scenes' values and the tokens' roles."""
        batch = self.tokenizer([caption(each, rng) for each in scenes], padding=True, return_tensors="pt")
        said = [self.tokenizer.convert_ids_to_tokens(ids) for ids in batch.input_ids.tolist()]
        roles = torch.tensor([roles_of(*each) for each in zip(scenes, said, strict=True)])
        return batch.input_ids, batch.attention_mask, torch.tensor([values_of(each) for each in scenes]), roles

    @torch.no_grad()
    def accuracy(self, captions: int) -> dict[str, float]:
        """Return each attribute's share of tokens that tell it, over captions of combinations never trained on."""
        rng = numpy.random.default_rng([self.plan.seed, _STAGE, 99])
        right, total = torch.zeros(len(ATTRIBUTES)), 0
        for _ in range(0, captions, 100):
            ids, mask, values, _ = self._batch([forget(draw_scene(rng, held_out=True), rng) for _ in range(100)], rng)
            told = self.average.model.right(ids, mask, values)
            right += told.sum(0)
            total += len(told)
        return dict(zip(ATTRIBUTES, (right / total).tolist(), strict=True))

    def finish(self, folder: Path) -> None:
        log.info("text encoder, never trained on: %s", _percent(self.accuracy(self.plan.checked)))
        encoder = self.average.model.encoder
        before = spread(self.tokenizer, encoder)
        encoder.encoder.final_layer_norm.weight /= before
        log.info("text encoder: spread %.3f, was %.3f", spread(self.tokenizer, encoder), before)
        encoder.save_pretrained(folder / "text_encoder")
        build_tokenizer().save_pretrained(folder / "tokenizer")

    def state(self, step: int) -> dict[str, Any]:
        return {
            "step": step, "reader": self.reader.state_dict(), "average": self.average.model.state_dict(),
            "trainer": self.trainer.state(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> int:
        self.reader.load_state_dict(state["reader"])
        self.average.model.load_state_dict(state["average"])
        self.trainer.restore(state["trainer"])
        return int(state["step"])


def _is_matrix(name: str, parameter: Tensor) -> bool:
    """Say whether Muon moves the parameter: the layers' own matrices, not embeddings, biases of places or probes."""
    return ".block." in name and "relative" not in name and parameter.ndim == 2


def draw_said(rng: numpy.random.Generator) -> Scene:
    """Draw what a caption says: a trained scene, more or less of it left open."""
    scene = draw_scene(rng)
    if len(scene.things) > 1 and rng.random() < _LIKES:
        scene = dataclasses.replace(scene, things=(scene.things[0],) * 2)
    return forget(scene, rng, float(rng.choice(_SHARES, p=_SHARE_CHANCES)))


def spread(tokenizer: Any, encoder: Any, captions: int = 500) -> float:
    """Return the outputs' root mean square over the tokens of captions."""
    rng = numpy.random.default_rng([_STAGE, 98])
    texts = [caption(draw_said(rng), rng) for _ in range(captions)]
    states = encode(tokenizer, encoder, texts)
    return float((states.pow(2).sum() / (sum(token_counts(tokenizer, texts)) * WIDTH)).sqrt())


def _percent(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.2f} %" for name, share in shares.items())
