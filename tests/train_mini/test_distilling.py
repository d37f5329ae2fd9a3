"""The 4-step pair: noise and clip are kept, and each half learns at its own noise levels only."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor, nn

from train_mini import checkpoint, distilling, dit
from train_mini.distilling import NODES, Plan, _Half, _walk, _with_lora
from train_mini.export import BOUNDARY
from train_mini.latents import read
from train_mini.parallel import Ranks
from train_mini.scene import draw_scene
from train_mini.vae import CHANNELS
from train_mini.words import tokens_of

CPU = torch.device("cpu")
SHARD_CLIPS = 64
#: Latents of two frames and two tokens each: one alone would have nothing to attend to.
CLIP = (CHANNELS, 2, 2, 4)
PLAN = Plan(pairs=SHARD_CLIPS, steps={"high": 2, "low": 2}, clips=4, seed=1)
PAIR = {half: f"loras/mini_4steps_{half}_noise.safetensors" for half in ("high", "low")}


def thin_expert(seed: int) -> WanTransformer3DModel:
    """Return an expert of one thin layer: its pairs cost no time."""
    torch.manual_seed(seed)
    return WanTransformer3DModel(
        patch_size=dit.PATCH, num_attention_heads=1, attention_head_dim=16, in_channels=CHANNELS + dit.PICTURE_CHANNELS,
        out_channels=CHANNELS, text_dim=dit.TEXT_WIDTH, freq_dim=16, ffn_dim=16, num_layers=1, rope_max_seq_len=16,
        cross_attn_norm=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with thin experts, words, a small cache, and the pairs that were made of them."""
    folder = tmp_path_factory.mktemp("distilling")
    for name in ("text_encoder", "tokenizer"):
        (folder / name).symlink_to(work / name)
    for seed, name in enumerate(("high", "low")):
        thin_expert(seed).save_pretrained(folder / name)
    rng, generator = numpy.random.default_rng(0), torch.Generator().manual_seed(0)
    scenes = json.dumps([dataclasses.asdict(draw_scene(rng)) for _ in range(20)])
    latents, pictures = (torch.randn(20, *CLIP, generator=generator).half() for _ in range(2))
    checkpoint.save(folder / "latents" / "0000.pt", {"latents": latents, "scenes": scenes})
    checkpoint.save(folder / "pictures" / "0000.pt", {"pictures": pictures})
    distilling.fill(folder, PLAN, Ranks(), CPU)
    return folder


@pytest.fixture(scope="module")
def shard(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "pairs" / "0000.pt", weights_only=True)


class Recording(nn.Module):
    """Remember the times and the texts that were seen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.times: set[float] = set()
        self.seen: list[Tensor] = []

    def forward(self, seen: Tensor, time: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        self.times |= set(time.tolist())
        self.seen.append(seen)
        return (self.weight * seen[:, :CHANNELS],)


class Straight(nn.Module):
    """An expert who knows one clip, and walks straight there; with no text, nowhere."""

    def __init__(self, clip: Tensor, guided: float) -> None:
        super().__init__()
        self.clip, self.guided, self.times = clip, guided, []

    def forward(self, seen: Tensor, time: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        self.times.append(float(time[0]))
        noisy = seen[:, :CHANNELS]
        way = (noisy - self.clip) / (time.view(-1, 1, 1, 1, 1) / 1000)
        return ((self.guided if text.any() else 1) * way,)


def test_pairs_are_of_noise_and_of_the_clip_that_the_experts_make_of_it(folder: Path, shard: dict[str, Tensor]) -> None:
    experts = [WanTransformer3DModel.from_pretrained(folder / name).eval() for name in ("high", "low")]
    words = distilling.Words(folder, CPU)
    said = json.loads(shard["captions"])
    beside = dit.beside(shard["pictures"].float(), shard["begins"])
    clips = _walk(experts, shard["noise"].float(), beside, words(said, 64), words([""] * SHARD_CLIPS, 64))

    assert [(SHARD_CLIPS, *CLIP)] * 3 == [shard[name].shape for name in ("noise", "clips", "pictures")]
    assert SHARD_CLIPS == len(said)
    begins = shard["begins"]
    # The noise is kept as halves: the way from it ends near the way from what it was.
    assert torch.allclose(shard["clips"][:, :, 1].float(), clips[:, :, 1], atol=0.05)
    assert torch.allclose(shard["clips"][~begins].float(), clips[~begins], atol=0.05)
    assert torch.equal(shard["clips"][begins, :, 0], shard["pictures"][begins, :, 0])
    assert 0.5 == pytest.approx(float(shard["begins"].float().mean()), abs=0.2)


def test_pictures_and_captions_are_of_one_clip(folder: Path, shard: dict[str, Tensor]) -> None:
    cache = read(folder)
    scene_of = {
        tuple(picture.flatten().tolist()): scene for picture, scene in zip(cache.pictures, cache.scenes, strict=True)
    }
    shown = [scene_of[tuple(picture.flatten().tolist())] for picture in shard["pictures"]]
    said = [set(tokens_of(each)) for each in json.loads(shard["captions"])]
    pairs = [(scene, {"heart", "hearts"} & words) for scene, words in zip(shown, said, strict=True)]

    assert 5 < sum(1 for _, hearts in pairs if hearts)
    assert all("heart" in {thing.shape for thing in scene.things} for scene, hearts in pairs if hearts)


def test_pairs_that_are_written_are_not_made_again(folder: Path) -> None:
    path = folder / "pairs" / "0000.pt"
    before = (path.stat().st_mtime_ns, path.read_bytes())
    distilling.fill(folder, PLAN, Ranks(), CPU)

    assert before == (path.stat().st_mtime_ns, path.read_bytes())
    assert [path] == list(path.parent.iterdir())


@torch.no_grad()
def test_the_teacher_walks_with_guidance_and_changes_the_expert_at_the_boundary() -> None:
    generator = torch.Generator().manual_seed(0)
    clip, noise = (torch.randn(1, CHANNELS, 1, 2, 2, generator=generator) for _ in range(2))
    text, empty = torch.ones(1, 4, 64), torch.zeros(1, 4, 64)
    experts = [Straight(clip, 1), Straight(clip, 1)]
    ends = _walk(experts, noise, torch.zeros(1, 28, 1, 2, 2), text, empty)

    assert torch.allclose(clip, ends, atol=0.01)
    assert 2 * 20 == len(experts[0].times) + len(experts[1].times)
    assert min(experts[0].times) >= 1000 * BOUNDARY > max(experts[1].times)
    # Guidance of 4: what the text adds to the empty one counts four times.
    one = _walk([Straight(clip, 1.1)] * 2, noise, torch.zeros(1, 28, 1, 2, 2), text, empty)
    four = _walk([Straight(clip, 1.4)] * 2, noise, torch.zeros(1, 28, 1, 2, 2), empty + 1, empty + 1)
    assert torch.allclose(one, four, atol=1e-3)


@pytest.mark.parametrize(("expert", "nodes"), [("high", {1000.0, 937.5}), ("low", {833.3, 625.0})])
def test_a_half_learns_at_its_own_nodes_only(shard: dict[str, Tensor], expert: str, nodes: set[float]) -> None:
    model = Recording()
    half = _Half(model, dataclasses.replace(PLAN, steps={expert: 8}), expert, Ranks(), CPU)
    for step in range(8):
        half.step(step, [shard], lambda said, tokens: torch.zeros(len(said), tokens, 64))

    assert nodes == {round(each, 1) for each in model.times}
    assert 8 == len(model.seen)
    assert {(4, CHANNELS + dit.PICTURE_CHANNELS, *CLIP[1:])} == {each.shape for each in model.seen}
    assert 1 != float(model.weight.detach())


def test_the_nodes_are_those_of_four_steps_shifted_by_five() -> None:
    even = (1, 0.75, 0.5, 0.25)

    assert [5 * each / (1 + 4 * each) for each in even] == pytest.approx(NODES, abs=1e-4)


def test_both_halves_are_trained_and_the_same_each_time(folder: Path) -> None:
    distilling.train(folder, PLAN, Ranks(), CPU)
    first = {half: (folder / name).read_bytes() for half, name in PAIR.items()}
    for half in PAIR:
        (folder / f"lora_{half}.pt").unlink()
    distilling.train(folder, PLAN, Ranks(), CPU)
    weights = {half: load_file(folder / name) for half, name in PAIR.items()}
    up = {half: {name: each for name, each in found.items() if "lora_up" in name} for half, found in weights.items()}

    assert first == {half: (folder / name).read_bytes() for half, name in PAIR.items()}
    assert weights["high"].keys() == weights["low"].keys()
    alphas = {
        half: float(next(each for name, each in found.items() if "alpha" in name)) for half, found in weights.items()
    }
    assert pytest.approx({"high": 8, "low": 10.8}) == alphas
    # A LoRA's upper half is zero until it has learned.
    assert all(each.any() for found in up.values() for each in found.values())
    assert 10 == len(up["high"])
    assert any(not torch.equal(each, up["low"][name]) for name, each in up["high"].items())


def test_a_half_that_was_ended_goes_on_to_the_same_weights(folder: Path, shard: dict[str, Tensor]) -> None:
    plan, words = dataclasses.replace(PLAN, steps={"high": 3, "low": 3}), distilling.Words(folder, CPU)
    whole, early, late = (_with_lora(folder / "high", 1) for _ in range(3))
    one, two, three = (_Half(model, plan, "high", Ranks(), CPU) for model in (whole, early, late))
    for step in range(3):
        one.step(step, [shard], words)
    two.step(0, [shard], words)
    for step in range(three.restore(two.state(1)), 3):
        three.step(step, [shard], words)

    assert all(torch.equal(each, late.state_dict()[name]) for name, each in whole.state_dict().items())


def test_a_pair_that_is_trained_is_not_trained_again(folder: Path) -> None:
    distilling.train(folder, PLAN, Ranks(), CPU)
    before = [(folder / f"lora_{half}.pt").stat().st_mtime_ns for half in PAIR]
    distilling.train(folder, PLAN, Ranks(), CPU)

    assert before == [(folder / f"lora_{half}.pt").stat().st_mtime_ns for half in PAIR]
