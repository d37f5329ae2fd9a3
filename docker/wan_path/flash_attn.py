"""
Stand in for flash-attn in Wan2.2's environment: the functions that Wan imports, on torch's own attention.

Wan calls flash-attn in every block (wan/modules/attention.py, animate/face_blocks.py, s2v/auxi_blocks.py at 42bf4cf)
and stops without it, after the whole load. Its index has flash-attn as source only, and building it for CUDA 13 and
the RTX 5090 (sm_120) may take longer than the 30 minutes that RunPod lets a build run. torch's attention has a flash
kernel for the same cards inside.

The semantics are flash-attn 2's: sequences of a batch lie end to end (`cu_seqlens`), a causal mask and a window are
aligned to the lower right corner, heads of k and v may be fewer (their number divides that of q), a query that sees
no key gets zeros. What Wan never uses (alibi, soft cap, paged keys) is not here, and asking for it is a TypeError.
A flash-attn that is installed wins: the folder of this file stands last on the path.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["flash_attn_func", "flash_attn_qkvpacked_func", "flash_attn_varlen_func"]

_NO_WINDOW = (-1, -1)


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = _NO_WINDOW,
    *,
    deterministic: bool = False,  # noqa: ARG001 - it is about the backward pass, and there is none
) -> torch.Tensor:
    """
    Return the attention of *q* (batch, length, heads, dim) to *k* and *v* (batch, keys, key heads, dim), shaped as q.

    *window_size* is (left, right): how many keys before and after its own place a query sees, -1 for all.
    """
    queries, keys, values = (part.transpose(1, 2) for part in (q, k, v))
    if keys.shape[2] == 0:
        return q.new_zeros(*q.shape[:-1], v.shape[-1])
    is_plain_causal = causal and window_size[0] < 0 and queries.shape[2] == keys.shape[2]
    mask = None if is_plain_causal else _mask(q.shape[1], k.shape[1], causal, window_size, q.device)
    seen = scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=mask,
        dropout_p=dropout_p,
        is_causal=is_plain_causal,
        scale=softmax_scale,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    if mask is not None:
        seen = seen.masked_fill(~mask.any(dim=1, keepdim=True), 0)
    return seen.transpose(1, 2)


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = _NO_WINDOW,
    *,
    deterministic: bool = False,
) -> torch.Tensor:
    """
    Return the attention within each sequence of a batch whose sequences lie end to end: (all tokens, heads, dim).

    Sequence i is `q[cu_seqlens_q[i]:cu_seqlens_q[i + 1]]`, its keys and values likewise by *cu_seqlens_k*; none is
    longer than *max_seqlen_q* and *max_seqlen_k*.
    """
    batch = cu_seqlens_q.numel() - 1

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return flash_attn_func(q, k, v, dropout_p, softmax_scale, causal, window_size, deterministic=deterministic)

    # None is longer than the longest: with this many tokens all are as long, which is how Wan calls it. One call then,
    # and no look at the lengths, for which the GPU would have to be waited for in every block.
    if q.shape[0] == batch * max_seqlen_q and k.shape[0] == batch * max_seqlen_k:
        return attend(*(part.unflatten(0, (batch, -1)) for part in (q, k, v))).flatten(0, 1)
    places_q, places_k = pairwise(cu_seqlens_q.tolist()), pairwise(cu_seqlens_k.tolist())
    return torch.cat([
        attend(q[None, start:end], k[None, first:last], v[None, first:last])[0]
        for (start, end), (first, last) in zip(places_q, places_k, strict=True)
    ])  # fmt: skip


def flash_attn_qkvpacked_func(
    qkv: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = _NO_WINDOW,
    *,
    deterministic: bool = False,
) -> torch.Tensor:
    """Return the attention of q, k and v stacked as (batch, length, 3, heads, dim). Wan imports it by name only."""
    q, k, v = qkv.unbind(2)
    return flash_attn_func(q, k, v, dropout_p, softmax_scale, causal, window_size, deterministic=deterministic)


def _mask(queries: int, keys: int, causal: bool, window: tuple[int, int], device: torch.device) -> torch.Tensor | None:
    """Return who sees whom, (queries, keys), None when all see all; costs a byte a pair, and Wan asks for none."""
    left, right = window[0], 0 if causal else window[1]
    if left < 0 and right < 0:
        return None
    own_place = torch.arange(queries, device=device)[:, None] + (keys - queries)
    distance = torch.arange(keys, device=device)[None, :] - own_place
    sees = torch.ones(queries, keys, dtype=torch.bool, device=device)
    if left >= 0:
        sees &= distance >= -left
    if right >= 0:
        sees &= distance <= right
    return sees
