"""What a denoiser makes of a clip that is covered with noise and walked back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from train_mini import dit
from train_mini.vae import CHANNELS
from train_mini.walking import walked_back

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


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("in_channels", [TI2V, EXPERT])
def test_a_denoiser_who_knows_the_clip_brings_it_back(
    clip: Tensor, noise: Tensor, in_channels: int, *, is_given: bool
) -> None:
    model = Knowing(clip, in_channels)
    # Half as loud without a text, so 0.5 + 4 * 0.5 times the way in all, and 2.5 of it is the way.
    back = walked_back(model, clip, noise, SIGMA, TEXTS, clip if is_given else None)

    assert torch.allclose(clip, back, atol=1e-4)
    assert in_channels == model.seen[0].shape[1]
    # Each clip is covered as much as it is told, and walks in five equal steps; the last frame is never given.
    assert torch.allclose(0.5 * clip[0, :, 1] + 0.5 * noise[0, :, 1], model.seen[0][0, :CHANNELS, 1])
    last = [time.view(4, -1)[:2, -1].tolist() for time in model.times]
    assert [[500, 250], [400, 200], [300, 150], [200, 100], [100, 50]] == [pytest.approx(each) for each in last]


def test_the_one_network_is_given_a_first_frame_without_noise(clip: Tensor, noise: Tensor) -> None:
    model = Knowing(clip, TI2V)
    walked_back(model, clip, noise, SIGMA, TEXTS, clip)
    tokens = 2 * 2

    assert all(torch.equal(clip.repeat(2, 1, 1, 1, 1)[:, :, 0], seen[:, :, 0]) for seen in model.seen)
    assert [0] * tokens + [500] * tokens == model.times[0][0].tolist()


def test_an_expert_is_given_the_picture_beside_the_noise(clip: Tensor, noise: Tensor) -> None:
    model, picture = Knowing(clip, EXPERT), torch.full_like(clip, 3)
    walked_back(model, clip, noise, SIGMA, TEXTS, picture)
    alone = Knowing(clip, EXPERT)
    walked_back(alone, clip, noise, SIGMA, TEXTS)

    assert torch.equal(dit.beside(picture, torch.tensor([True, True])), model.seen[0][:2, CHANNELS:])
    assert not alone.seen[0][:, CHANNELS:].any()
    assert (500, 250) == tuple(model.times[0][:2].tolist())  # one time a clip, as A14B's
