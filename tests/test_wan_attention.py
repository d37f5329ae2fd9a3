"""docker/wan_path/flash_attn.py against attention written out: one query, one head, one sum at a time."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SOURCE = Path(__file__).resolve().parent.parent / "docker" / "wan_path" / "flash_attn.py"


def load() -> ModuleType:
    """Import the module by its path: in this environment it stands on none."""
    spec = importlib.util.spec_from_file_location("wan_flash_attn", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


flash = load()


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)


def written_out(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    scale: float | None = None,
    causal: bool = False,
    window: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """Return the attention of one sequence, (length, heads, dim), in float64 and without any of torch's own."""
    length, heads, dim = q.shape
    keys, key_heads, _ = k.shape
    out = torch.zeros(length, heads, v.shape[-1], dtype=torch.float64)
    for head in range(heads):
        shared = head // (heads // key_heads)
        for i in range(length):
            place = i + keys - length  # the last query stands at the last key
            low = place - window[0] if window[0] >= 0 else 0
            high = place if causal else place + window[1] if window[1] >= 0 else keys
            visible = [j for j in range(keys) if low <= j <= high]
            scores = [float(q[i, head].double() @ k[j, shared].double()) for j in visible]
            weights = [math.exp(score * (scale if scale is not None else dim**-0.5)) for score in scores]
            for j, weight in zip(visible, weights, strict=True):
                out[i, head] += weight / sum(weights) * v[j, shared].double()
    return out


def some(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape).to(dtype)


def places(lengths: Sequence[int]) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)


def varlen(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lq: Sequence[int], lk: Sequence[int], **more: Any
) -> torch.Tensor:
    result: torch.Tensor = flash.flash_attn_varlen_func(q, k, v, places(lq), places(lk), max(lq), max(lk), **more)
    return result


def expected_varlen(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lq: Sequence[int], lk: Sequence[int], **more: Any
) -> torch.Tensor:
    parts = zip(q.split(list(lq)), k.split(list(lk)), v.split(list(lk)), strict=True)
    return torch.cat([written_out(*part, **more) for part in parts])


@pytest.mark.parametrize(
    ("lq", "lk"),
    [((5, 5), (5, 5)), ((6, 6), (9, 9)), ((3, 7, 1), (3, 7, 1)), ((4, 4), (2, 6)), ((2, 5), (5, 0)), ((3, 0), (2, 4))],
    ids=["self", "cross", "padded", "keys of two lengths", "no keys", "no queries"],
)
def test_each_sequence_sees_its_own_keys_and_no_other(lq: Sequence[int], lk: Sequence[int]) -> None:
    q, k, v = some(sum(lq), 2, 8), some(sum(lk), 2, 8), some(sum(lk), 2, 8)

    seen = varlen(q, k, v, lq, lk)

    torch.testing.assert_close(seen.double(), expected_varlen(q, k, v, lq, lk), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("lq", "lk"), [(6, 6), (3, 7), (7, 3)], ids=["square", "more keys", "more queries"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [(-1, -1), (2, -1), (-1, 1), (2, 1), (0, 0)])
def test_causal_and_window_are_aligned_to_the_lower_right(
    lq: int, lk: int, causal: bool, window: tuple[int, int]
) -> None:
    q, k, v = some(1, lq, 2, 8), some(1, lk, 2, 8), some(1, lk, 2, 8)

    seen = flash.flash_attn_func(q, k, v, causal=causal, window_size=window)[0]

    expected = written_out(q[0], k[0], v[0], causal=causal, window=window)
    torch.testing.assert_close(seen.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_causal_batch_of_sequences_of_their_own_lengths() -> None:
    lq, lk = (2, 5, 3), (4, 5, 1)
    q, k, v = some(sum(lq), 2, 8), some(sum(lk), 2, 8), some(sum(lk), 2, 8)

    seen = varlen(q, k, v, lq, lk, causal=True)

    torch.testing.assert_close(seen.double(), expected_varlen(q, k, v, lq, lk, causal=True), atol=1e-5, rtol=1e-5)


def test_the_scale_is_the_callers_and_the_values_may_be_of_another_width() -> None:
    q, k, v = some(5, 2, 8), some(6, 2, 8), some(6, 2, 4)

    seen = varlen(q, k, v, (5,), (6,), softmax_scale=0.7)

    assert (5, 2, 4) == tuple(seen.shape)
    torch.testing.assert_close(seen.double(), written_out(q, k, v, scale=0.7), atol=1e-5, rtol=1e-5)


def test_heads_share_keys_in_neighbouring_groups() -> None:
    q, k, v = some(5, 6, 8), some(5, 2, 8), some(5, 2, 8)

    seen = varlen(q, k, v, (2, 3), (2, 3))

    torch.testing.assert_close(seen.double(), expected_varlen(q, k, v, (2, 3), (2, 3)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("lengths", [(16, 16), (5, 27)], ids=["all as long", "of their own lengths"])
def test_half_precision_comes_back_as_it_went_in(
    dtype: torch.dtype, tolerance: float, lengths: tuple[int, int]
) -> None:
    q, k, v = (some(32, 2, 16, dtype=dtype) for _ in range(3))

    seen = varlen(q, k, v, lengths, lengths)

    assert dtype is seen.dtype
    expected = expected_varlen(q, k, v, lengths, lengths)
    torch.testing.assert_close(seen.double(), expected, atol=tolerance, rtol=tolerance)


def test_the_result_has_the_shape_that_wan_unfolds() -> None:
    # wan/modules/attention.py: `.unflatten(0, (b, lq))`; animate/face_blocks.py: `.view(...)`, so it is contiguous.
    q, k, v = (some(3, 4, 2, 8) for _ in range(3))

    flat = varlen(*(part.flatten(0, 1) for part in (q, k, v)), lq=(4, 4, 4), lk=(4, 4, 4))
    folded = flash.flash_attn_func(q, k, v)

    assert torch.equal(folded, flat.unflatten(0, (3, 4)))
    assert (3, 4, 2, 8) == tuple(folded.view(3, 4, 2, 8).shape)


def test_the_packed_form_is_the_same_attention() -> None:
    q, k, v = (some(2, 4, 2, 8) for _ in range(3))

    packed = flash.flash_attn_qkvpacked_func(torch.stack((q, k, v), dim=2), causal=True)

    assert torch.equal(flash.flash_attn_func(q, k, v, causal=True), packed)


def test_lengths_are_not_looked_at_when_all_are_as_long() -> None:
    # On a GPU a look waits for all that was queued. These places are on no device at all: a look would raise.
    q, k, v = (some(8, 2, 8) for _ in range(3))
    nowhere = torch.empty(3, dtype=torch.int32, device="meta")

    seen = flash.flash_attn_varlen_func(q, k, v, nowhere, nowhere, 4, 4)

    torch.testing.assert_close(seen.double(), expected_varlen(q, k, v, (4, 4), (4, 4)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("unknown", ["alibi_slopes", "softcap", "block_table", "return_attn_probs"])
def test_what_is_not_built_is_refused_and_not_ignored(unknown: str) -> None:
    q = some(1, 2, 1, 8)

    with pytest.raises(TypeError, match=unknown):
        flash.flash_attn_func(q, q, q, **{unknown: None})
