"""The denoiser's losses by hand, and the noise levels that it is shown."""

from __future__ import annotations

import dataclasses

import numpy
import pytest
import torch
from torch import Tensor, nn

from train_mini import dit
from train_mini.dit import Batch
from train_mini.vae import CHANNELS

CLIPS, FRAMES, SIDE = 3, 2, 4
#: Of a frame of 4x4 latents, in patches of 2x2.
TOKENS = 4


class Wrong(nn.Module):
    """Say what is asked for, less some error; remember what was seen."""

    def __init__(self, right: Tensor, error: Tensor) -> None:
        super().__init__()
        self.said = right - error

    def forward(self, seen: Tensor, time: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        self.seen, self.time, self.text = seen, time, text
        return (self.said,)


def batch(begins: list[bool], sigma: tuple[float, ...] = (0.25, 0.5, 1.0)) -> Batch:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(CLIPS, CHANNELS, FRAMES, SIDE, SIDE, generator=generator) for _ in range(2))
    text = torch.randn(CLIPS, 5, dit.TEXT_WIDTH, generator=generator)
    return Batch(latents, noise, text, torch.tensor(sigma), torch.tensor(begins))


def wrong_by(given: Batch, first: float, later: float) -> Wrong:
    """Return a model that is wrong by *first* in the first frame, and by *later* in the others."""
    error = torch.full_like(given.latents, later)
    error[:, :, 0] = first
    return Wrong(given.noise - given.latents, error)


def test_a_given_first_frame_is_clean_has_time_zero_and_no_error() -> None:
    given = batch([True, False, True])
    model = wrong_by(given, first=3, later=2)
    loss = dit.guess_of(model, given).loss
    times = model.time.view(CLIPS, FRAMES, TOKENS)

    assert [4, (9 + 4) / 2, 4] == pytest.approx(loss.tolist())
    assert torch.equal(given.latents[[0, 2], :, 0], model.seen[[0, 2], :, 0])
    assert [[0, 250], [500, 500], [0, 1000]] == times[..., 0].tolist()
    assert torch.equal(times, times[..., :1].expand_as(times))


def test_the_noise_comes_in_by_its_level() -> None:
    given = batch([False] * CLIPS)
    model = wrong_by(given, 0, 0)
    loss = dit.guess_of(model, given).loss

    assert [0] * CLIPS == pytest.approx(loss.tolist(), abs=1e-9)
    assert torch.allclose(0.75 * given.latents[0] + 0.25 * given.noise[0], model.seen[0])
    assert torch.equal(given.noise[2], model.seen[2])
    assert model.text is given.text


def test_an_expert_sees_mask_and_picture_and_errs_most_in_the_frame_that_is_given() -> None:
    given = batch([True, False, True])
    pictures = torch.randn(given.latents.shape, generator=torch.Generator().manual_seed(1))
    model = wrong_by(given, first=3, later=2)
    loss = dit.expert_guess_of(model, given, pictures).loss
    noisy, mask, shown = model.seen.split([CHANNELS, 4, CHANNELS], 1)

    assert [(4 * 9 + 4) / 5, (9 + 4) / 2, (4 * 9 + 4) / 5] == pytest.approx(loss.tolist())
    assert [250, 500, 1000] == model.time.tolist()
    assert torch.allclose(0.5 * given.latents[1] + 0.5 * given.noise[1], noisy[1])
    assert torch.allclose(0.75 * given.latents[0] + 0.25 * given.noise[0], noisy[0])
    assert [[1, 0], [0, 0], [1, 0]] == mask.mean((1, 3, 4)).tolist()
    assert torch.equal(pictures[[0, 2]], shown[[0, 2]])
    assert 0 == shown[1].abs().max()


def test_a_given_first_frame_that_went_astray_is_asked_to_come_back() -> None:
    plain = batch([True, False, True], (0.5, 0.5, 0.05))
    given = dataclasses.replace(plain, astray=torch.full((3,), 0.1))
    model = Wrong(torch.zeros_like(plain.latents), torch.zeros_like(plain.latents))
    loss = dit.expert_guess_of(model, given, plain.latents).loss
    seen, x = model.seen[:, :CHANNELS], 0.5 * plain.latents + 0.5 * plain.noise
    other = plain.latents[2, :, 0] - plain.latents[0, :, 0]

    assert torch.allclose(x[0, :, 0] + 0.1 * other, seen[0, :, 0], atol=1e-5)
    assert torch.allclose(x[0, :, 1], seen[0, :, 1])
    assert torch.allclose(x[1], seen[1])
    # Where it is and where it belongs, over the noise that is left: nothing else leads there.
    way = (seen - plain.latents) / torch.tensor([0.5, 0.5, 0.05]).view(-1, 1, 1, 1, 1)
    weight = torch.tensor([[4.0, 1.0], [1.0, 1.0], [4.0, 1.0]])
    expected = (way.pow(2).mean((1, 3, 4)) * weight).sum(1) / weight.sum(1)
    assert expected.tolist() == pytest.approx(loss.tolist(), rel=1e-4)


@pytest.mark.parametrize("is_expert", [False, True])
def test_what_is_believed_under_the_noise_is_wrong_by_the_noises_share_of_the_error(is_expert: bool) -> None:
    given = batch([True, False, True])
    model = wrong_by(given, first=3, later=2)
    guess = dit.expert_guess_of(model, given, given.latents) if is_expert else dit.guess_of(model, given)
    error = torch.full_like(given.latents, 2)
    error[:, :, 0] = 3
    if not is_expert:
        error[[0, 2], :, 0] = 0  # what is given is known

    assert torch.allclose(given.latents + given.sigma.view(-1, 1, 1, 1, 1) * error, guess.clean, atol=1e-5)


def test_a_frame_that_went_astray_is_believed_where_it_belongs() -> None:
    plain = batch([True, False, True])
    given = dataclasses.replace(plain, astray=torch.full((3,), 0.1))
    seen = Wrong(torch.zeros_like(plain.latents), torch.zeros_like(plain.latents))
    dit.expert_guess_of(seen, given, plain.latents)
    way = (seen.seen[:, :CHANNELS] - plain.latents) / plain.sigma.view(-1, 1, 1, 1, 1)

    guess = dit.expert_guess_of(Wrong(way, torch.zeros_like(way)), given, plain.latents)

    assert torch.allclose(plain.latents, guess.clean, atol=1e-5)


def test_beside_the_noise_are_zeros_where_nothing_is_given() -> None:
    pictures = torch.ones(2, CHANNELS, FRAMES, SIDE, SIDE)
    beside = dit.beside(pictures, torch.tensor([False, True]))

    assert (2, dit.PICTURE_CHANNELS, FRAMES, SIDE, SIDE) == beside.shape
    assert 0 == beside[0].abs().max()
    assert torch.equal(torch.ones(4, SIDE, SIDE), beside[1, :4, 0])
    assert 0 == beside[1, :4, 1:].abs().max()
    assert torch.equal(pictures[1], beside[1, 4:])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.875, 1.0), (0.0, 0.875), (0.3, 0.4)])
def test_noise_levels_keep_within_their_bounds(low: float, high: float) -> None:
    rng = numpy.random.default_rng(0)
    drawn = torch.stack([dit.spread_sigmas(rng, 64, low, high) for _ in range(50)])

    assert torch.float32 == drawn.dtype
    assert low <= drawn.min() <= low + 0.02
    assert high - 0.02 <= drawn.max() <= high


def test_noise_levels_lie_towards_noise_as_the_sampler_shifts_them() -> None:
    sigmas = dit.spread_sigmas(numpy.random.default_rng(1), 1000)

    # The middle of an even draw, shifted by 4: 4 * 0.5 / (1 + 3 * 0.5).
    assert 0.8 == pytest.approx(float(sigmas.median()), abs=0.01)


def test_a_batch_has_one_noise_level_from_each_equal_part_in_random_order() -> None:
    rng = numpy.random.default_rng(2)
    sigmas = dit.spread_sigmas(rng, 16).double()
    even = sigmas / (4 - 3 * sigmas)

    assert list(range(16)) == sorted((even * 16).floor().int().tolist())
    assert sigmas.tolist() != sorted(sigmas.tolist())


def test_an_untrained_denoiser_says_nothing() -> None:
    model = dit.build().eval()
    given = batch([False] * CLIPS)
    with torch.no_grad():
        said = model(given.latents, given.sigma * 1000, given.text, return_dict=False)[0]

    assert (given.latents.shape, 0) == (said.shape, said.abs().max())


def test_the_first_step_moves_every_part_of_the_denoiser() -> None:
    """Gates that are shut at first would leave the layers behind them without a gradient."""
    model = dit.build()
    torch.nn.init.normal_(model.proj_out.weight, std=0.1)
    dit.guess_of(model, batch([True, False, False])).loss.mean().backward()
    still = [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()]

    assert [] == still
    assert 1.6e6 < sum(each.numel() for each in model.parameters()) < 1.8e6


def test_muon_moves_the_blocks_matrices_only() -> None:
    named = dict(dit.build().named_parameters())
    matrices = {name for name, each in named.items() if dit.is_matrix(name, each)}

    assert {f"blocks.{index}.attn1.to_q.weight" for index in range(4)} <= matrices
    assert {2} == {named[name].ndim for name in matrices}
    assert {"blocks"} == {name.split(".")[0] for name in matrices}
    assert not matrices & {"blocks.0.scale_shift_table", "blocks.0.attn1.to_q.bias", "proj_out.weight"}


def test_prompts_are_padded_to_several_lengths() -> None:
    rng = numpy.random.default_rng(3)
    lengths = [dit.pad_tokens(rng) for _ in range(3000)]

    assert {48, 64, 96, 512} == set(lengths)
    assert lengths.count(512) < 60
