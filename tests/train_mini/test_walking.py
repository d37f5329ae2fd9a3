"""What a denoiser makes of a clip that is covered with noise and walked back."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from train_mini import dit
from train_mini.vae import CHANNELS
from train_mini.walking import Way, strayed, walked

TI2V, EXPERT = CHANNELS, 2 * CHANNELS + 4
TEXTS = torch.ones(2, 3, 8), torch.zeros(2, 3, 8)
SIGMA = torch.tensor([0.5, 0.25])


class Knowing(nn.Module):
    """A denoiser who knows the clip, and says so twice as loud with a text as without."""

    def __init__(self, clip: Tensor, in_channels: int) -> None:
        super().__init__()
        self.clip, self.seen, self.times = clip, [], []
        self.config = type("Config", (), {"in_channels": in_channels})

    def forward(self, seen: Tensor, time: Tensor, text: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        self.seen.append(seen)
        self.times.append(time)
        frames = time.view(len(seen), -1, 1) if time.ndim == 1 else time.unflatten(1, (seen.shape[2], -1))
        sigma = frames[:, :, 0].view(len(seen), 1, -1, 1, 1) / dit.NUM_TIMESTEPS
        way = (seen[:, :CHANNELS] - self.clip.repeat(2, 1, 1, 1, 1)) / sigma.clamp(min=1e-9)
        return (way * (0.5 + 0.5 * text.any((1, 2)).float()).view(-1, 1, 1, 1, 1) / 2.5,)


@pytest.fixture
def clip() -> Tensor:
    return torch.randn(2, CHANNELS, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(2, CHANNELS, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def way(clip: Tensor, noise: Tensor, begins: bool = True, end: Tensor | None = None) -> Way:
    given = torch.full((2,), begins)
    return Way(clip, noise, SIGMA, torch.zeros(2) if end is None else end, TEXTS, given, torch.full_like(clip, 3))


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("in_channels", [TI2V, EXPERT])
def test_a_denoiser_who_knows_the_clip_brings_it_back(
    clip: Tensor, noise: Tensor, in_channels: int, *, is_given: bool
) -> None:
    model = Knowing(clip, in_channels)
    # Half as loud without a text, so 0.5 + 4 * 0.5 times the way in all, and 2.5 of it is the way.
    back = walked(model, way(clip, noise, is_given), 5)

    assert torch.allclose(clip, back, atol=1e-4)
    assert in_channels == model.seen[0].shape[1]
    # Each clip is covered as much as it is told, and walks in five equal steps; the last frame is never given.
    assert torch.allclose(0.5 * clip[0, :, 1] + 0.5 * noise[0, :, 1], model.seen[0][0, :CHANNELS, 1], atol=1e-5)
    last = [time.view(4, -1)[:2, -1].tolist() for time in model.times]
    assert [[500, 250], [400, 200], [300, 150], [200, 100], [100, 50]] == [pytest.approx(each) for each in last]


@pytest.mark.parametrize("in_channels", [TI2V, EXPERT])
def test_a_walk_ends_where_it_is_told(clip: Tensor, noise: Tensor, in_channels: int) -> None:
    model, end = Knowing(clip, in_channels), torch.tensor([0.2, 0.1])
    x = walked(model, way(clip, noise, False, end), 3)
    there = end.view(-1, 1, 1, 1, 1)

    assert torch.allclose((1 - there) * clip + there * noise, x, atol=1e-4)
    last = [time.view(4, -1)[:2, -1].tolist() for time in model.times]
    assert [[500, 250], [400, 200], [300, 150]] == [pytest.approx(each, abs=0.01) for each in last]


def test_the_one_network_is_given_a_first_frame_without_noise(clip: Tensor, noise: Tensor) -> None:
    model = Knowing(clip, TI2V)
    x = walked(model, way(clip, noise), 5)
    tokens = 2 * 2

    assert all(torch.equal(clip.repeat(2, 1, 1, 1, 1)[:, :, 0], seen[:, :, 0]) for seen in model.seen)
    assert torch.equal(clip[:, :, 0], x[:, :, 0])
    assert [0] * tokens + [500] * tokens == model.times[0][0].tolist()


def test_an_expert_is_given_the_picture_beside_the_noise(clip: Tensor, noise: Tensor) -> None:
    model, alone = Knowing(clip, EXPERT), Knowing(clip, EXPERT)
    walked(model, way(clip, noise), 5)
    walked(alone, way(clip, noise, False), 5)

    assert torch.equal(dit.beside(torch.full_like(clip, 3), torch.tensor([True, True])), model.seen[0][:2, CHANNELS:])
    assert not alone.seen[0][:, CHANNELS:].any()
    assert (500, 250) == tuple(model.times[0][:2].tolist())  # one time a clip, as A14B's


def batch(clip: Tensor, noise: Tensor, left: Tensor, *, sigma: float = 0.8, begins: bool = False) -> dit.Batch:
    return dit.Batch(
        clip, noise, torch.ones(2, 3, 8), torch.full((2,), sigma), torch.full((2,), begins), torch.ones(2), left,
        torch.ones(2),
    )  # fmt: skip


def seen_of(batch: dit.Batch) -> Tensor:
    sigma = batch.sigma.view(-1, 1, 1, 1, 1)
    return (1 - sigma) * batch.latents + sigma * batch.noise


NOTHING = torch.zeros(1, 3, 8)


def test_a_strayed_clip_is_seen_where_the_network_led_it_and_asked_for_as_it_was_drawn(
    clip: Tensor, noise: Tensor
) -> None:
    elsewhere = clip + 1
    plain = batch(clip, noise, torch.tensor([0.5]))
    found = strayed(Knowing(elsewhere[:1], EXPERT), plain, clip, NOTHING)
    end = 0.4

    # The network believes in another clip: half of the way there is gone, and what covers the drawn one says so.
    assert torch.allclose(0.5 * (0.2 * clip + 0.8 * noise)[:1] + 0.5 * elsewhere[:1], seen_of(found)[:1], atol=1e-4)
    assert torch.equal(clip, found.latents)
    assert [end, 0.8] == pytest.approx(found.sigma.tolist())
    assert found.astray is not None
    assert [0, 1] == found.astray.tolist()
    assert [1, 1] == found.weight.tolist()
    # What does not walk stays as it is, and so does what was given.
    assert torch.equal(noise[1], found.noise[1])
    assert torch.equal(noise, plain.noise)


def test_the_noise_of_a_network_that_makes_no_mistake_stays_what_it_was(clip: Tensor, noise: Tensor) -> None:
    found = strayed(Knowing(clip, TI2V), batch(clip, noise, torch.tensor([0.5, 0.25])), clip, NOTHING)

    assert torch.allclose(noise, found.noise, atol=1e-3)


def test_a_walk_begins_under_no_more_noise_than_leads_back(clip: Tensor, noise: Tensor) -> None:
    model = Knowing(clip, EXPERT)
    found = strayed(model, batch(clip, noise, torch.tensor([0.5, 0.5]), sigma=1.0), clip, NOTHING)

    assert [900, 900] == pytest.approx(model.times[0][:2].tolist())
    assert [0.45, 0.45] == pytest.approx(found.sigma.tolist())


def test_mistakes_under_little_noise_count_as_they_are_seen(clip: Tensor, noise: Tensor) -> None:
    found = strayed(Knowing(clip, EXPERT), batch(clip, noise, torch.tensor([0.25, 0.01]), sigma=0.6), clip, NOTHING)

    assert [0.15, 0.05] == pytest.approx(found.sigma.tolist())
    assert [(0.15 / 0.3) ** 2, (0.05 / 0.3) ** 2] == pytest.approx(found.weight.tolist())


def test_a_batch_of_which_nothing_walks_is_left_alone(clip: Tensor, noise: Tensor) -> None:
    model, plain = Knowing(clip, EXPERT), batch(clip, noise, torch.zeros(0))

    assert strayed(model, plain, clip, NOTHING) is plain
    assert [] == model.seen


def test_a_network_without_frames_that_go_astray_has_none_after_a_walk(clip: Tensor, noise: Tensor) -> None:
    plain = dataclasses.replace(batch(clip, noise, torch.tensor([0.5])), astray=None)

    assert strayed(Knowing(clip[:1], TI2V), plain, clip, NOTHING).astray is None
