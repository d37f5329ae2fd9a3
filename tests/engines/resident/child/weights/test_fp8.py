"""A float8 layer by itself: exact by default, and multiplied in float8 where that is wanted and allowed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fakes.peak_memory import fake_peak
from fakes.weight_files import quantised
from wanworker.engines.resident.child.weights._fp8 import Fp8Linear, multiply_in_float8, rounded


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


@pytest.mark.parametrize("in_float8", [False, True], ids=["exact", "fast"])
def test_a_product_takes_little_beside_its_input_and_output(*, in_float8: bool) -> None:
    """The widest layer of A14B at 1280*720 and 81 frames: its input alone has 2 GB."""
    tokens, columns, rows = 75_600, 13_824, 5_120
    with fake_peak() as peak:
        plain = torch.nn.Linear(columns, rows, dtype=torch.bfloat16)
        fp8 = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
        linear = Fp8Linear(plain, fp8, torch.empty(()), torch.bfloat16)
        del plain
        assert in_float8 == linear.multiply_in_float8(wanted=in_float8)
        given = torch.empty(1, tokens, columns, dtype=torch.bfloat16)
        before_bytes = peak.live_bytes
        peak.restart()
        made = linear(given)
        beside_bytes = peak.peak_bytes - before_bytes - made.untyped_storage().nbytes()

    as_float8_bytes = tokens * columns if in_float8 else 0
    assert beside_bytes < as_float8_bytes + 2**30


def test_rounding_piece_by_piece_gives_what_rounding_at_once_gives() -> None:
    rows, scale = activations(dtype=torch.float32).view(-1, 64), torch.tensor(0.001)
    at_once = rounded(rows, scale)

    assert at_once.dtype == torch.float8_e4m3fn
    assert torch.equal(at_once.float(), rounded(rows, scale, piece_numbers=3 * 64).float())
    assert torch.equal(at_once.float(), rounded(rows, scale, piece_numbers=1).float())
    assert 448.0 == at_once.float().abs().max(), "numbers beyond the largest become the largest, not NaN"
