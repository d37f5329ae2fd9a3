"""The decoder as a stream, on small random VAEs of both kinds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wanworker.engines.resident.child._decoding import decoded

CHANNELS = {"base_dim": 8, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [False, True, True]}
KINDS: dict[str, dict[str, Any]] = {
    "2.1": {"z_dim": 16},
    "2.2": {
        "z_dim": 48, "decoder_base_dim": 12, "in_channels": 12, "out_channels": 12, "is_residual": True,
        "patch_size": 2, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
    },
}  # fmt: skip


@pytest.fixture(params=sorted(KINDS))
def vae(request: pytest.FixtureRequest) -> Any:
    from diffusers import AutoencoderKLWan

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return AutoencoderKLWan(**CHANNELS, **KINDS[request.param]).eval()


@pytest.fixture
def latents(vae: Any) -> torch.Tensor:
    return torch.randn(1, vae.config.z_dim, 4, 4, 6)


def held_bytes(vae: Any) -> int:
    return sum(kept.nbytes for kept in vae._feat_map if isinstance(kept, torch.Tensor))


@torch.no_grad()
def test_all_pieces_together_are_the_whole_decode_bit_for_bit(vae: Any, latents: torch.Tensor) -> None:
    pieces = list(decoded(vae, latents))

    assert [1, 4, 4, 4] == [piece.shape[1] for piece in pieces]
    assert torch.equal(torch.cat(pieces, 1), vae.decode(latents, return_dict=False)[0][0])


@torch.no_grad()
def test_tiles_come_in_the_same_pieces(vae: Any, latents: torch.Tensor) -> None:
    vae.enable_tiling(32, 32, 24, 24)
    pieces = list(decoded(vae, latents))

    assert [1, 4, 4, 4] == [piece.shape[1] for piece in pieces]
    assert torch.equal(torch.cat(pieces, 1), vae.decode(latents, return_dict=False)[0][0])


@torch.no_grad()
def test_a_stream_that_is_left_or_fails_keeps_nothing_of_the_clip(
    vae: Any, latents: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = decoded(vae, latents)
    next(left)
    next(left)
    while_decoding = held_bytes(vae)
    left.close()
    after_leaving = held_bytes(vae)
    failing = decoded(vae, latents)
    next(failing)
    forward = vae.decoder.forward

    def run_out(*given: Any, **named: Any) -> Any:
        forward(*given, **named)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(vae.decoder, "forward", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        next(failing)

    assert while_decoding > 0
    assert (0, 0) == (after_leaving, held_bytes(vae))
