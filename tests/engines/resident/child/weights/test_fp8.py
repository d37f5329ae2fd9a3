"""A float8 layer by itself: exact by default, and multiplied in float8 where that is wanted and allowed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fakes.weight_files import quantised
from wanworker.engines.resident.child.weights._fp8 import Fp8Linear, multiply_in_float8


def layer(rows: int = 32, columns: int = 64, *, dtype: torch.dtype = torch.bfloat16) -> Any:
    plain = torch.nn.Linear(columns, rows).to(dtype).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    fp8, scale = quantised(torch.randn(rows, columns, generator=generator))
    return Fp8Linear(plain, fp8, scale.reshape(()), dtype)


def activations(columns: int = 64, dtype: torch.dtype = torch.bfloat16) -> Any:
    return torch.randn(2, 5, columns, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_float8_products_are_near_the_exact_ones_and_go_back_to_them() -> None:
    linear = layer()
    exact = linear(activations())

    assert 1 == multiply_in_float8(torch.nn.Sequential(linear, torch.nn.Linear(2, 2)), wanted=True)
    rounded = linear(activations())
    assert 0 == multiply_in_float8(linear, wanted=False)

    error = ((rounded.float() - exact.float()).norm() / exact.float().norm()).item()
    assert 0 < error < 0.05
    assert (exact.shape, exact.dtype) == (rounded.shape, rounded.dtype)
    assert torch.equal(exact, linear(activations()))


@pytest.mark.parametrize("why", ["the file forbids it", "odd sides", "a scale for each row"])
def test_a_layer_that_cannot_or_must_not_stays_exact(why: str) -> None:
    linear = layer(columns=24 if why == "odd sides" else 64)
    linear.needs_full_precision = why == "the file forbids it"
    if why == "a scale for each row":
        linear.scale = linear.scale.expand(32, 1).clone()
    exact = linear(activations(linear.in_features))

    assert not linear.multiply_in_float8(wanted=True)
    assert torch.equal(exact, linear(activations(linear.in_features)))


def test_nothing_but_zeros_gives_the_bias() -> None:
    linear = layer()
    linear.multiply_in_float8(wanted=True)

    assert torch.equal(linear.bias.expand(1, 32), linear(torch.zeros(1, 64, dtype=torch.bfloat16)))
