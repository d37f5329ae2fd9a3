"""The denoiser's training: an expert begins as the network before it, batches follow from the step, runs resume."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from train_mini import checkpoint, denoising, dit
from train_mini.denoising import Plan, Source, Words, _expert, _Run
from train_mini.latents import Cache, read
from train_mini.parallel import Ranks
from train_mini.scene import draw_scene
from train_mini.vae import CHANNELS

CPU = torch.device("cpu")
CLIPS = 150
#: What batches may be drawn from: all but the 128 that are kept for the losses.
TRAINED = CLIPS - 128
SMALL = Plan("ti2v", 2, clips=4, seed=3)
EXPERT = Plan("high", 2, clips=4, low=0.875, high=1.0, begins=0.5, hold=0.0, stage=8, seed=3)


class Rank(Ranks):
    """One of several processes, without the others."""

    def __init__(self, rank: int, count: int) -> None:
        super().__init__()
        self.rank, self.count = rank, count


@pytest.fixture(scope="module")
def folder(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with words and a cache of clips as small as can be."""
    folder = tmp_path_factory.mktemp("denoising")
    for name in ("text_encoder", "tokenizer"):
        (folder / name).symlink_to(work / name)
    rng, generator = numpy.random.default_rng(0), torch.Generator().manual_seed(0)
    scenes = json.dumps([dataclasses.asdict(draw_scene(rng)) for _ in range(CLIPS)])
    latents = torch.randn(CLIPS, CHANNELS, 1, 2, 2, generator=generator)
    checkpoint.save(folder / "latents" / "0000.pt", {"latents": latents.half(), "scenes": scenes})
    pictures = torch.randn(10, CHANNELS, 1, 2, 2, generator=generator)
    checkpoint.save(folder / "pictures" / "0000.pt", {"pictures": pictures.half()})
    return folder


@pytest.fixture(scope="module")
def cache(folder: Path) -> Cache:
    return read(folder)


@pytest.fixture(scope="module")
def words(folder: Path) -> Words:
    return Words(folder, CPU)


def parts(batch: dit.Batch) -> list[list[float]]:
    return [each.flatten().tolist() for each in (batch.latents, batch.noise, batch.text, batch.sigma, batch.begins)]


@torch.no_grad()
def test_an_expert_says_at_first_what_its_base_says_whatever_is_beside_the_noise(work: Path) -> None:
    base, expert = WanTransformer3DModel.from_pretrained(work / "ti2v").eval(), _expert(work / "ti2v").eval()
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, CHANNELS, 2, 4, 4, generator=generator)
    text, time = torch.randn(2, 48, dit.TEXT_WIDTH, generator=generator), torch.tensor([100.0, 900.0])
    said = base(noisy, time, text, return_dict=False)[0]

    assert float(said.std()) > 0.1
    for beside in (torch.zeros(2, 28, 2, 4, 4), torch.randn(2, 28, 2, 4, 4, generator=generator)):
        assert torch.allclose(said, expert(torch.cat([noisy, beside], 1), time, text, return_dict=False)[0], atol=1e-5)


def test_an_expert_learns_from_what_is_beside_the_noise(work: Path) -> None:
    expert = _expert(work / "ti2v")
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, CHANNELS + dit.PICTURE_CHANNELS, 1, 2, 2, generator=generator)
    text = torch.randn(1, 48, dit.TEXT_WIDTH, generator=generator)
    expert(noisy, torch.tensor([900.0]), text, return_dict=False)[0].pow(2).sum().backward()

    assert CHANNELS + dit.PICTURE_CHANNELS == expert.config.in_channels
    assert expert.patch_embedding.weight.grad[:, CHANNELS:].abs().amax((0, 2, 3, 4)).min() > 0


def test_a_batch_follows_from_its_step_and_its_process_alone(cache: Cache, words: Words) -> None:
    one, again = (Source(cache, words, SMALL, Ranks(), CPU) for _ in range(2))
    one.batch(5)
    batch, chosen = one.batch(1)
    same, same_chosen = again.batch(1)
    others = [
        one.batch(2)[0],
        Source(cache, words, SMALL, Rank(1, 2), CPU).batch(1)[0],
        Source(cache, words, dataclasses.replace(SMALL, seed=4), Ranks(), CPU).batch(1)[0],
        Source(cache, words, dataclasses.replace(SMALL, stage=8), Ranks(), CPU).batch(1)[0],
    ]

    assert parts(batch) == parts(same)
    assert torch.equal(chosen, same_chosen)
    assert all(batch.sigma.tolist() != each.sigma.tolist() for each in others)


def test_processes_share_a_batch(cache: Cache, words: Words) -> None:
    batch, chosen = Source(cache, words, SMALL, Rank(1, 2), CPU).batch(0)

    assert (2, 2, 2) == (len(chosen), len(batch.latents), len(batch.text))


def test_a_batch_holds_the_clips_that_it_names(cache: Cache, words: Words) -> None:
    batch, chosen = Source(cache, words, SMALL, Ranks(), CPU).batch(0)

    assert torch.equal(cache.latents[chosen].float(), batch.latents)
    assert (torch.float32, batch.latents.shape) == (batch.noise.dtype, batch.noise.shape)
    assert batch.text.shape[1] in {48, 64, 96, 512}


def test_no_batch_holds_a_clip_that_is_kept_for_the_losses(cache: Cache, words: Words) -> None:
    source = Source(cache, words, dataclasses.replace(SMALL, clips=200), Ranks(), CPU)
    held, scenes = source.validation()

    assert set(range(TRAINED)) == set(source.batch(0)[1].tolist())
    assert 128 == len(held) == len(scenes)
    assert torch.equal(cache.latents[TRAINED:].float(), held)
    assert cache.scenes[TRAINED:] == scenes


def test_an_experts_batch_holds_clips_whose_picture_is_there_and_its_own_noise_levels(
    cache: Cache, words: Words
) -> None:
    batch, chosen = Source(cache, words, dataclasses.replace(EXPERT, clips=100), Ranks(), CPU).batch(0)

    assert set(range(10)) == set(chosen.tolist())
    assert batch.sigma.min() >= 0.875
    assert 0.5 == pytest.approx(float(batch.begins.float().mean()), abs=0.15)


def test_only_an_experts_first_frames_go_astray(cache: Cache, words: Words) -> None:
    plan = dataclasses.replace(EXPERT, clips=200, astray=0.1)
    astray = Source(cache, words, plan, Ranks(), CPU).batch(0)[0].astray

    assert Source(cache, words, SMALL, Ranks(), CPU).batch(0)[0].astray is None
    assert astray is not None
    assert 0.1 == pytest.approx(float(astray.std()), abs=0.02)
    assert 0 == pytest.approx(float(astray.mean()), abs=0.03)


def test_some_clips_walk_from_some_step_on(cache: Cache, words: Words) -> None:
    plan = dataclasses.replace(EXPERT, steps=100, clips=200, walked=0.4, walked_from=0.5)
    source = Source(cache, words, plan, Ranks(), CPU)
    left = source.batch(50)[0].left

    assert 0 == len(source.batch(49)[0].left)
    assert 80 == len(left)
    assert 40 == len(Source(cache, words, plan, Rank(1, 2), CPU).batch(50)[0].left)
    assert 0.15 <= left.min() < 0.2
    assert 0.75 < left.max() <= 0.8


@pytest.mark.parametrize("start_from", [None, "ti2v"])
def test_a_run_learns_from_where_its_own_average_leads(folder: Path, work: Path, start_from: str | None) -> None:
    plan = dataclasses.replace(EXPERT if start_from else SMALL, walked=0.5)
    run = _Run(folder, plan, Ranks(), CPU, work / start_from if start_from else None)
    seen: list[dit.Batch] = []
    loss = run._loss

    def noted(batch: dit.Batch, pictures: Tensor) -> Tensor:
        seen.append(batch)
        return loss(batch, pictures)

    run._loss = noted  # type: ignore[method-assign]
    run.step(0)
    plain, _ = run._source.batch(0)

    assert (seen[0].sigma < plain.sigma).tolist() == [True, True, False, False]
    assert run.loss is not None


@pytest.fixture
def looking(folder: Path, work: Path, tmp_path: Path) -> _Run:
    """Return a run that asks what walked clips look like."""
    for each in (*folder.iterdir(), work / "vae"):
        (tmp_path / each.name).symlink_to(each)
    return _Run(tmp_path, dataclasses.replace(SMALL, walked=0.5, seen=0.5, clips=20), Ranks(), CPU, None)


def looks(run: _Run, walked: list[float], others: float) -> Tensor:
    """Return what looking at clips adds to the loss of *run*, where the first ones walked to these levels."""
    batch, _ = run._source.batch(0)
    wide = {name: getattr(batch, name).repeat(1, 1, 1, 2, 2) for name in ("latents", "noise")}
    sigma = torch.full_like(batch.sigma, others)
    sigma[: len(walked)] = torch.tensor(walked)
    batch = dataclasses.replace(batch, **wide, sigma=sigma, begins=torch.zeros_like(batch.begins))
    return run._loss(batch, batch.latents) - dit.guess_of(run._model, batch).loss.mean()


def test_walked_clips_under_little_noise_are_looked_at(looking: _Run) -> None:
    none, one, four, ten = (
        looks(looking, [0.4] * count + [0.6] * (10 - count), others=0.6).item() for count in (0, 1, 4, 10)
    )

    assert none == 0
    assert 0.01 < one < four
    assert ten == pytest.approx(four, abs=1e-6), "four of them are enough"


def test_clips_that_did_not_walk_are_not_looked_at(looking: _Run) -> None:
    assert looks(looking, [0.6] * 10, others=0.4).item() == 0


def test_each_process_looks_at_its_share_of_the_clips(looking: _Run) -> None:
    both = looks(looking, [0.4, 0.4] + [0.6] * 8, others=0.6).item()
    looking._ranks = Rank(0, 2)
    mine = looks(looking, [0.4] * 10, others=0.6).item()

    assert mine == pytest.approx(2 * both, rel=1e-4), "the mean over the processes is that of all clips"


def test_the_autoencoder_that_looks_stays_as_it_is(looking: _Run) -> None:
    looks(looking, [0.4] * 10, others=0.6).backward()

    assert looking._autoencoder is not None
    assert all(each.grad is None for each in looking._autoencoder.parameters())
    assert looking._model.proj_out.weight.grad is not None


def test_half_of_what_is_kept_is_the_network_before_it_walked(folder: Path, work: Path) -> None:
    plan = dataclasses.replace(EXPERT, walked=0.5, walked_from=0.5, lr=0.02)
    run = _Run(folder, plan, Ranks(), CPU, work / "ti2v")
    run.step(0)
    before = {name: value.clone() for name, value in run._average.model.state_dict().items()}
    assert run._kept() is run._average.model
    run.step(1)
    resumed = _Run(folder, plan, Ranks(), CPU, work / "ti2v")
    resumed.restore(run.state(2))
    after = run._average.model.state_dict()
    name = "blocks.0.ffn.net.2.weight"

    assert not torch.equal(before[name], after[name])
    for each in (run, resumed):
        assert torch.allclose((before[name] + after[name]) / 2, each._kept().state_dict()[name], atol=1e-7)
    assert not torch.equal(after[name], run._kept().state_dict()[name]), "what goes on learning stays as it is"


def test_captions_and_first_frames_are_left_out_as_often_as_guidance_needs(cache: Cache, words: Words) -> None:
    batch, _ = Source(cache, words, dataclasses.replace(SMALL, clips=240), Ranks(), CPU).batch(0)
    nothing = words([""], batch.text.shape[1])
    is_empty = (batch.text - nothing).abs().amax((1, 2)) < 1e-5

    assert 0.3 == pytest.approx(float(batch.begins.float().mean()), abs=0.08)
    # A caption that forgets everything is empty too, and counts to the tenth.
    assert 0.1 == pytest.approx(float(is_empty.float().mean()), abs=0.05)


@pytest.mark.slow
def test_a_run_that_was_ended_goes_on_to_the_same_weights(folder: Path, work: Path) -> None:
    name = "high/diffusion_pytorch_model.safetensors"
    run = _Run(folder, EXPERT, Ranks(), CPU, work / "ti2v")
    run.step(0)
    checkpoint.save(folder / "high.pt", run.state(1))
    run.step(1)
    run.show(2)
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    denoising.train(folder, EXPERT, Ranks(), CPU, start_from=work / "ti2v")
    resumed = (folder / name).read_bytes()
    (folder / name).unlink()
    denoising.train(folder, EXPERT, Ranks(), CPU, start_from=work / "ti2v")

    assert whole == resumed
    assert not (folder / name).exists(), "a run that is done trains no more"
    assert 2 == (checkpoint.load(folder / "high.pt") or {})["step"]


@pytest.mark.slow
def test_the_network_says_what_it_ignores(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "train_mini.denoising"):
        denoising.train(folder, dataclasses.replace(SMALL, steps=1), Ranks(), CPU)

    assert (folder / "ti2v" / "diffusion_pytorch_model.safetensors").is_file()
    assert "ti2v step 1: 0.3:" in caplog.text
    assert " | wrong color " in caplog.text


def test_a_step_lowers_the_loss_of_its_own_batch(folder: Path, work: Path) -> None:
    plan = dataclasses.replace(EXPERT, steps=1000, lr=0.02)
    torch.manual_seed(0)
    run = _Run(folder, plan, Ranks(), CPU, work / "ti2v")
    batch, chosen = run._source.batch(0)
    pictures = run._source.cache.pictures[chosen].float()
    before = run._loss(batch, pictures).item()
    run.step(0)

    assert before == pytest.approx(run.loss)
    assert run._loss(batch, pictures).item() < before
