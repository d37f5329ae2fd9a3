"""The autoencoder's training: what is folded in, what is resumed, and that it decodes as diffusers does."""

from __future__ import annotations

import copy
import math
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from train_mini import checkpoint, vae
from train_mini.parallel import Ranks
from train_mini.renderer import SIDE, draw_clip
from train_mini.scene import Scene, Thing, draw_scene
from train_mini.vae import CHANNELS, Plan, _batch, _Run, as_input, decode_freely, distance, window

#: Two steps, each of a window of one clip.
SHORT = Plan(steps=2, clips=1, seed=5)
AXES = (0, 2, 3, 4)


def channels(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)


@pytest.fixture(scope="module")
def clips() -> Tensor:
    rng = numpy.random.default_rng(0)
    return as_input(numpy.stack([draw_clip(draw_scene(rng), rng, frames=5, side=64).pixels for _ in range(2)]))


@pytest.fixture(scope="module")
def run(clips: Tensor) -> _Run:
    """Return a run whose running statistics are those of *clips*."""
    torch.manual_seed(0)
    run = _Run(SHORT)
    with torch.no_grad():
        run._normalised(run.vae.encode(clips).latent_dist.mean, 0, Ranks())
    return run


@pytest.fixture(scope="module")
def folded(run: _Run) -> AutoencoderKLWan:
    return run.folded()


@torch.no_grad()
def test_a_folded_autoencoder_gives_latents_of_mean_zero_and_spread_one(
    run: _Run, folded: AutoencoderKLWan, clips: Tensor
) -> None:
    before = run.vae.encode(clips).latent_dist.mean
    after = folded.encode(clips).latent_dist
    wanted = (before - before.mean(AXES, keepdim=True)) / (before.var(AXES, keepdim=True) + 1e-5).sqrt()

    assert torch.allclose(wanted, after.mean, atol=1e-3)
    assert after.mean.mean(AXES).abs().max() < 1e-3
    assert (before.var(AXES) / (before.var(AXES) + 1e-5)).sqrt().tolist() == pytest.approx(
        after.mean.std(AXES).tolist(), abs=1e-3
    )


@torch.no_grad()
def test_a_folded_autoencoder_blurs_its_latents_by_the_noise_that_it_learned_from(
    folded: AutoencoderKLWan, clips: Tensor
) -> None:
    spread = folded.encode(clips).latent_dist.std

    assert [0.07, 0.07] == pytest.approx([float(spread.min()), float(spread.max())])
    assert -2 * math.log(1 / 0.07) == pytest.approx(float(folded.encode(clips).latent_dist.logvar.mean()))


@torch.no_grad()
def test_folding_leaves_the_decoder_and_the_run_alone(run: _Run, folded: AutoencoderKLWan, clips: Tensor) -> None:
    latents = folded.encode(clips).latent_dist.mean

    assert torch.equal(run.vae.eval().decode(latents).sample, folded.decode(latents).sample)
    assert not torch.equal(run.vae.quant_conv.weight, folded.quant_conv.weight)
    assert torch.equal(run.vae.quant_conv.weight, run.average.model.quant_conv.weight)


@torch.no_grad()
def test_it_decodes_as_diffusers_does_where_nothing_is_clamped(folded: AutoencoderKLWan, clips: Tensor) -> None:
    latents = folded.encode(clips).latent_dist.mean
    freely = decode_freely(folded, latents)
    louder = decode_freely(folded, 40 * latents)

    assert clips.shape == freely.shape
    assert torch.equal(freely.clamp(-1, 1), folded.decode(latents).sample)
    assert float(freely.std()) > 0
    assert torch.equal(louder.clamp(-1, 1), folded.decode(40 * latents).sample)


def test_gradients_pass_where_diffusers_clamps(folded: AutoencoderKLWan) -> None:
    bright = copy.deepcopy(folded)
    bright.decoder.conv_out.bias.data.add_(9)
    latents = torch.randn(1, CHANNELS, 1, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    decoded = decode_freely(bright, latents)
    decoded.sum().backward()

    assert decoded.min() > 1
    assert (latents.grad != 0).any()


def test_running_statistics_take_over_once_they_are_settled(run: _Run) -> None:
    values = torch.randn(2, CHANNELS, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 3 + 5
    normalised = {}
    for step in (299, 300):
        settled = copy.copy(run)
        settled.mean, settled.variance = torch.full((CHANNELS,), 2.0), torch.full((CHANNELS,), 4.0)
        normalised[step] = settled._normalised(values, step, Ranks())
    # What the batch says has moved the running statistics by a hundredth.
    mean, variance = 2 + 0.01 * (values.mean(AXES) - 2), 4 + 0.01 * (values.var(AXES) - 4)

    assert normalised[299].mean(AXES).abs().max() < 1e-5
    assert mean.tolist() == pytest.approx(settled.mean.tolist(), rel=1e-4)
    assert variance.tolist() == pytest.approx(settled.variance.tolist(), rel=1e-4)
    assert torch.allclose((values - channels(mean)) / channels(variance).sqrt(), normalised[300], atol=1e-3)


@pytest.mark.slow
def test_a_run_that_was_ended_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    run = _Run(SHORT)
    run.step(0, Ranks())
    checkpoint.save(tmp_path / "vae.pt", run.state(1))
    run.step(1, Ranks())
    whole = run.folded().state_dict()
    vae.train(tmp_path, SHORT, Ranks())
    resumed = AutoencoderKLWan.from_pretrained(tmp_path / "vae")
    shutil.rmtree(tmp_path / "vae")
    vae.train(tmp_path, SHORT, Ranks())

    assert whole.keys() == resumed.state_dict().keys()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.state_dict().items())
    assert not (tmp_path / "vae").exists(), "a run that is done trains no more"


def test_a_batch_is_of_windows_around_things_and_later_of_whole_frames() -> None:
    windows, mask = _batch(numpy.random.default_rng(0), 2, is_whole=False)
    frames, whole = _batch(numpy.random.default_rng(0), 1, is_whole=True)

    assert ((2, 3, 17, 64, 64), (2, 1, 17, 64, 64)) == (windows.shape, mask.shape)
    assert ((1, 3, 17, SIDE, SIDE), (1, 1, 17, SIDE, SIDE)) == (frames.shape, whole.shape)
    assert mask.amax((1, 2, 3, 4)).min() > 0
    assert 1 >= windows.abs().max() > 0.5


@pytest.mark.parametrize("grid", [1, 16])
def test_a_window_has_a_thing_in_it_wherever_that_is(grid: int) -> None:
    scene = Scene((Thing("red", "ball", "small"),), "circle", "sea")
    for seed in range(20):
        rng = numpy.random.default_rng(seed)
        mask = draw_clip(scene, rng, frames=3).mask
        rows, columns = window(mask, rng, grid=grid)

        assert 0 == rows.start % grid == columns.start % grid
        assert (64, 64) == (rows.stop - rows.start, columns.stop - columns.start)
        assert 0 <= min(rows.start, columns.start) <= max(rows.stop, columns.stop) <= SIDE
        assert mask[:, rows, columns].max() > 0


def test_pixels_become_values_from_minus_one_to_one() -> None:
    pixels = numpy.zeros((2, 5, 6, 7, 3), numpy.uint8)
    pixels[1, 2, 3, 4] = (255, 0, 255)
    values = as_input(pixels)

    assert (2, 3, 5, 6, 7) == values.shape
    assert ([1, -1, 1], [-1, -1, -1]) == (values[1, :, 2, 3, 4].tolist(), values[0, :, 0, 0, 0].tolist())


def test_an_error_in_a_thing_costs_more_than_one_behind_it() -> None:
    clip, mask = torch.zeros(1, 3, 1, 8, 8), torch.zeros(1, 1, 1, 8, 8)
    mask[..., :4] = 1
    inside, outside = clip.clone(), clip.clone()
    inside[..., 2, 1], outside[..., 2, 6] = 0.5, 0.5

    assert 0 == distance(clip, clip, mask)
    assert 4 == pytest.approx(float(distance(inside, clip, mask) / distance(outside, clip, mask)), rel=0.01)
