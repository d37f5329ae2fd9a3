"""Muon for the matrices and kernels, AdamW for the rest, one warm-up and cosine for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

#: Coefficients of the quintic Newton-Schulz iteration: https://kellerjordan.github.io/posts/muon/
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5

#: Scales an orthogonal update to the size of AdamW's: https://arxiv.org/abs/2502.16982, section 2.2.
_RMS = 0.2

_WARM_UP_STEPS = 60
_LAST = 0.02
_LARGEST_NORM = 1.0


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal; a kernel counts as a matrix of its output channels."""

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ARG002 - torch's signature
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - group["momentum"])
        update = orthogonal(gradient.lerp(momentum, group["momentum"]).flatten(1))
        parameter.mul_(1 - group["lr"] * group["decay"])
        parameter.add_(update.view_as(parameter), alpha=-group["lr"] * _RMS * math.sqrt(max(update.shape)))


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the nearly orthogonal matrix nearest to *matrix*."""
    a, b, c = _QUINTIC
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if is_tall else x


class Trainer:
    """Move a model's parameters along a schedule."""

    def __init__(self, model: nn.Module, is_matrix: Callable[[str, Tensor], bool], *, lr: float, decay: float = 0.0):
        named = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
        self.parameters = [each for _, each in named]
        matrices = [each for name, each in named if is_matrix(name, each)]
        chosen = {id(each) for each in matrices}
        others = [each for each in self.parameters if id(each) not in chosen]
        self._lr = lr
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0)
        ]
        if matrices:
            self._optimizers.append(Muon(matrices, lr=lr, decay=decay))

    def step(self, share: float, step: int, *, hold: float = 0.0) -> None:
        """Apply the gradients at *share* (0 to 1) of the run, then clear them."""
        rate = self._lr * min(1, (step + 1) / _WARM_UP_STEPS) * cosine(share, hold)
        nn.utils.clip_grad_norm_(self.parameters, _LARGEST_NORM)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()

    def state(self) -> list[dict[str, Any]]:
        """Return what resuming needs."""
        return [each.state_dict() for each in self._optimizers]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Take back what `state` returned."""
        for optimizer, each in zip(self._optimizers, state, strict=True):
            optimizer.load_state_dict(each)


class Average:
    """An exponential average of a model's parameters: what is measured and kept."""

    def __init__(self, model: nn.Module, average: nn.Module, decay: float) -> None:
        self.model = average.requires_grad_(False)
        self._pairs = [
            (mine, live)
            for mine, live in zip(average.parameters(), model.parameters(), strict=True)
            if live.requires_grad
        ]
        self._decay = decay

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the parameters after *step*; the first steps count for more."""
        decay = min(self._decay, (step + 1) / (step + 10))
        mine, live = zip(*self._pairs, strict=True)
        torch._foreach_lerp_(list(mine), list(live), 1 - decay)


def cosine(share: float, hold: float = 0.0) -> float:
    """Return the learning rate's factor: 1 until *hold*, then a cosine down to 2 %. Pure."""
    if share <= hold:
        return 1.0
    return _LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * (share - hold) / (1 - hold)))
