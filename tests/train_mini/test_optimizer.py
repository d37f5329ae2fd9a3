"""Muon beside AdamW, their schedule, and the average of the weights."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from train_mini.optimizer import Average, Muon, Trainer, cosine, orthogonal


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))


def is_first(name: str, parameter: Tensor) -> bool:
    return name == "0.weight"


def walk(net: nn.Module, trainer: Trainer, steps: range) -> None:
    for step in steps:
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        (net(x) - x[:, :2]).pow(2).mean().backward()
        trainer.step(step / 10, step)


def weights(net: nn.Module) -> list[list[Any]]:
    return [each.tolist() for each in net.parameters()]


@pytest.mark.parametrize("shape", [(24, 96), (96, 24), (8, 9 * 16)])
def test_an_update_is_made_orthogonal(shape: tuple[int, int]) -> None:
    singular = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(1))))

    assert 0.6 < float(singular.min()) <= float(singular.max()) < 1.3


def test_the_orthogonal_update_keeps_the_directions_of_the_gradient() -> None:
    generator = torch.Generator().manual_seed(2)
    left, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator))
    turned = left.T @ orthogonal(left @ torch.diag(torch.tensor([5.0, 4, 3, 2, 1])) @ right.T) @ right

    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-3
    assert turned.diagonal().min() > 0.6


def test_no_gradient_makes_no_update() -> None:
    assert 0 == float(orthogonal(torch.zeros(3, 4)).abs().max())


def test_muon_moves_a_kernel_by_the_size_of_adamws_steps() -> None:
    kernel = nn.Parameter(torch.zeros(16, 4, 3, 3))
    kernel.grad = 1e-4 * torch.randn(kernel.shape, generator=torch.Generator().manual_seed(3))
    untouched = nn.Parameter(torch.ones(2, 2))
    Muon([kernel, untouched], lr=0.1).step()

    assert 0.1 * 0.2 == pytest.approx(float(kernel.detach().pow(2).mean().sqrt()), rel=0.25)
    assert {1.0} == set(untouched.flatten().tolist())


def test_muon_decays_what_it_moves() -> None:
    parameter = nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], lr=0.1, decay=0.5).step()

    assert [0.95] * 16 == pytest.approx(parameter.flatten().tolist())


def test_the_rate_begins_whole_and_ends_at_two_percent() -> None:
    assert (1, 0.51, 0.02) == tuple(pytest.approx(cosine(share)) for share in (0, 0.5, 1))
    assert (1, 1, 0.51, 0.02) == tuple(pytest.approx(cosine(share, 0.3)) for share in (0, 0.3, 0.65, 1))
    falling = [cosine(index / 50, 0.2) for index in range(51)]
    assert falling == sorted(falling, reverse=True)


def test_matrices_move_by_muon_and_the_rest_by_adamw() -> None:
    net = model()
    before = [each.detach().clone() for each in net.parameters()]
    walk(net, Trainer(net, is_first, lr=0.6), range(1))
    first, *others = [(now - was).detach() for was, now in zip(before, net.parameters(), strict=True)]
    # The first of sixty steps that warm up: a sixtieth of the rate. AdamW's own first step is one rate in each weight.
    rate = 0.6 / 60
    singular = torch.linalg.svdvals(first) / (rate * 0.2 * math.sqrt(12))

    assert 0.3 < float(singular.min()) <= float(singular.max()) < 1.3
    assert all(rate == pytest.approx(float(each.abs().max()), rel=0.01) for each in others)


def test_what_is_frozen_stays() -> None:
    net = model()
    net[0].requires_grad_(False)
    before = net[0].weight.detach().clone()
    trainer = Trainer(net, is_first, lr=0.1)
    walk(net, trainer, range(2))

    assert torch.equal(before, net[0].weight)
    assert 2 == len(trainer.parameters)


def test_gradients_are_clipped_and_cleared() -> None:
    net, other = model(), model()
    for each, factor in ((net, 1e3), (other, 1e6)):
        trainer = Trainer(each, lambda _name, _each: False, lr=0.1)
        (factor * each(torch.ones(4, 6)).pow(2).sum()).backward()
        trainer.step(0, 60)

        assert {None} == {parameter.grad for parameter in each.parameters()}

    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_run_that_was_ended_goes_on_alike() -> None:
    whole, ended, resumed = model(), model(), model(seed=1)
    walk(whole, Trainer(whole, is_first, lr=0.1), range(6))
    trainer = Trainer(ended, is_first, lr=0.1)
    walk(ended, trainer, range(3))
    resumed.load_state_dict(ended.state_dict())
    taken_up = Trainer(resumed, is_first, lr=0.1)
    taken_up.restore(trainer.state())
    walk(resumed, taken_up, range(3, 6))
    forgetful = model(seed=1)
    forgetful.load_state_dict(ended.state_dict())
    walk(forgetful, Trainer(forgetful, is_first, lr=0.1), range(3, 6))

    assert weights(whole) == weights(resumed)
    assert weights(whole) != weights(forgetful)


def test_the_average_follows_quickly_at_first_and_slowly_later() -> None:
    live, mean = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    average = Average(live, mean, 0.75)
    for parameter, value in ((live.weight, 1.0), (mean.weight, 0.0)):
        parameter.data.fill_(value)
    average.follow(0)
    first = float(mean.weight)
    average.follow(10_000)

    assert 0.9 == pytest.approx(first)
    assert 0.9 + 0.25 * 0.1 == pytest.approx(float(mean.weight))
    assert not average.model.weight.requires_grad


def test_the_average_leaves_what_is_frozen() -> None:
    live, mean = model(), model(seed=1)
    live[0].requires_grad_(False)
    kept = mean[0].weight.detach().clone()
    Average(live, mean, 0.5).follow(0)

    assert torch.equal(kept, mean[0].weight)
    assert torch.allclose(mean[2].weight, 0.1 * model(seed=1)[2].weight + 0.9 * live[2].weight)
