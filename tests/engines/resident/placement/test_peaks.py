"""The figures of peaks.py against counts of the true architectures, on torch's fake tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from fakes.peak_memory import fake_peak
from wanworker.engines.resident.child._decoding import decoded
from wanworker.engines.resident.child.lora._changes import LowRank, beside
from wanworker.engines.resident.child.weights._fp8 import Fp8Linear
from wanworker.engines.resident.placement.peaks import TEXT_BYTES, Shape, decode_bytes, encode_bytes, step_bytes
from wanworker.engines.resident.protocol import Placement
from wanworker.models.sources.configs import UMT5_XXL

pytestmark = pytest.mark.slow

GIB = 2**30
A14B = {"num_attention_heads": 40, "in_channels": 16, "out_channels": 16, "ffn_dim": 13_824, "num_layers": 40}
SMALL = {"num_attention_heads": 24, "in_channels": 48, "out_channels": 48, "ffn_dim": 14_336, "num_layers": 30}
VAE_2_1: dict[str, Any] = {}
VAE_2_2: dict[str, Any] = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "in_channels": 12, "out_channels": 12, "is_residual": True,
    "patch_size": 2, "scale_factor_spatial": 16, "temperal_downsample": [False, True, True],
    "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
}  # fmt: skip
SHAPES = [
    Shape("t2v-A14B", 1280, 720, 81), Shape("t2v-A14B", 832, 480, 81),
    Shape("ti2v-5B", 1280, 704, 121), Shape("ti2v-5B", 832, 480, 49),
]  # fmt: skip
EXACT = Placement("cuda")
FAST = Placement("cuda", "fast", vae_dtype="bfloat16")


def made(kind: Any, dtype: torch.dtype, config: dict[str, Any]) -> Any:
    torch.set_default_dtype(dtype)
    try:
        return kind(**config).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def transformer(config: dict[str, Any]) -> Any:
    whole = {
        "patch_size": (1, 2, 2), "attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256,
        "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", **config,
    }  # fmt: skip
    return made(WanTransformer3DModel, torch.bfloat16, whole)


def vae_of(shape: Shape) -> dict[str, Any]:
    return VAE_2_2 if shape.task == "ti2v-5B" else VAE_2_1


def keep_float8(blocks: Any, *, multiplied: bool) -> None:
    """Keep the matrices of *blocks* in float8, as a file that ComfyUI quantised has them."""
    for name, linear in list(blocks.named_modules()):
        if type(linear) is torch.nn.Linear:
            fp8 = torch.empty(linear.weight.shape, dtype=torch.float8_e4m3fn)
            kept = Fp8Linear(linear, fp8, torch.empty(()), torch.bfloat16)
            assert multiplied == kept.multiply_in_float8(wanted=multiplied)
            blocks.set_submodule(name, kept)


def add_lora(blocks: Any) -> None:
    """Hang a LoRA of rank 64 beside every matrix of *blocks*, as lightx2v's have it."""
    for linear in list(blocks.modules()):
        if isinstance(linear, torch.nn.Linear):
            down, up = torch.empty(64, linear.in_features), torch.empty(linear.out_features, 64)
            beside(linear).changes.append(LowRank(down.bfloat16(), up.bfloat16(), 1.0))


@pytest.mark.parametrize("form", ["bfloat16", "float8 with a LoRA", "float8 multiplied as such"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_step_takes_what_the_table_says(shape: Shape, form: str) -> None:
    is_small = shape.task == "ti2v-5B"
    with fake_peak() as peak:
        model = transformer(SMALL if is_small else A14B)
        if form != "bfloat16":
            keep_float8(model.blocks, multiplied=form.endswith("as such"))
        if form.endswith("LoRA"):
            add_lora(model.blocks)
        side = 16 if is_small else 8
        latents = (shape.latent_frames, shape.height // side, shape.width // side)
        clip = torch.zeros(1, model.config.in_channels, *latents, dtype=torch.bfloat16)
        text = torch.zeros(1, 512, 4096, dtype=torch.bfloat16)
        tokens = latents[0] * (latents[1] // 2) * (latents[2] // 2)
        # The 5B pipeline passes a time for each token, for its picture's are clean.
        times = torch.zeros(1, tokens) if is_small else torch.zeros(1)
        weights_bytes = peak.live_bytes
        peak.restart()
        model(hidden_states=clip, timestep=times, encoder_hidden_states=text, return_dict=False)
        counted = peak.peak_bytes - weights_bytes

    assert step_bytes(shape) - 2 * GIB < counted <= step_bytes(shape)


@pytest.mark.parametrize("placement", [EXACT, FAST], ids=["exact", "fast"])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[2]], ids=str)
def test_the_streamed_decoder_takes_what_the_table_says(shape: Shape, placement: Placement) -> None:
    with fake_peak() as peak:
        vae = made(AutoencoderKLWan, getattr(torch, placement.vae_dtype), vae_of(shape))
        side = vae.config.scale_factor_spatial
        weights_bytes = peak.live_bytes
        latents = torch.zeros(1, vae.config.z_dim, 4, shape.height // side, shape.width // side, dtype=vae.dtype)
        peak.restart()
        for _ in decoded(vae, latents):
            pass
        counted = peak.peak_bytes - weights_bytes

    assert 0.9 * decode_bytes(shape, placement) < counted <= 1.03 * decode_bytes(shape, placement)


@pytest.mark.parametrize(
    "shape", [Shape("i2v-A14B", 1280, 720, 81, True), Shape("ti2v-5B", 1280, 704, 121, True)], ids=str
)
def test_the_encoder_takes_what_the_table_says(shape: Shape) -> None:
    frames = 1 if shape.task == "ti2v-5B" else shape.frames
    with fake_peak() as peak:
        vae = made(AutoencoderKLWan, torch.float32, vae_of(shape))
        weights_bytes = peak.live_bytes
        picture = torch.zeros(1, 3, frames, shape.height, shape.width)
        vae.encode(picture)
        counted = peak.peak_bytes - weights_bytes

    assert 0.9 * encode_bytes(shape, EXACT) < counted <= 1.03 * encode_bytes(shape, EXACT)


@pytest.mark.parametrize("form", ["bfloat16", "float8"])
def test_a_text_takes_what_the_table_says(form: str) -> None:
    with fake_peak() as peak:
        config = UMT5Config.from_dict(dict(UMT5_XXL))
        model = made(UMT5EncoderModel, torch.bfloat16, {"config": config})
        if form == "float8":
            keep_float8(model.encoder.block, multiplied=False)
        weights_bytes = peak.live_bytes
        tokens = torch.zeros(1, 512, dtype=torch.long)
        peak.restart()
        model(tokens, torch.ones_like(tokens))
        counted = peak.peak_bytes - weights_bytes

    assert 0.1 * TEXT_BYTES < counted <= TEXT_BYTES
